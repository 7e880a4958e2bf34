"""Groups: a talk comes to its end, in the order that its rule gives, and nobody's turn is lost or taken twice.

Who speaks next is worked out here anew from what was said. Every run of an agent that is in a group belongs to one turn
of one talk, or is the one with which a talk failed. Who is watched is told of once: each turn that ended is counted
once, and the stretches of its history that the others are told of follow upon each other without a gap.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from kelpie.actor.recovery import REMINDERS
from kelpie.agent.group_talk import DONE_TOKEN, TALK_TURNS, TALKS, Talk, TalkTurn
from kelpie.agent.groups import GROUP_STATES, GROUPS, TURN_ENDED, Group, GroupState
from kelpie.agent.state import RUNS, STATES, InputMessage, Run
from kelpie.llm.messages import TextPart
from kelpie.memory.history import MESSAGES, StoredMessage, searchable_text
from kelpie.storage.store import Delete
from kelpie_sim.checkers.rows import Rows, parts_of, put_records, space_of
from kelpie_sim.simulation import Simulation
from kelpie_sim.store import Applied
from kelpie_sim.watch import Watch

NAME = "talks"
OUR_OWN = ("invalid_input", "already_exists")  # a talk never fails by a request of its own that is refused


class Spoken(Struct):
    """What a client said to a group. `marker` is its first word."""

    group_id: str
    marker: str
    known: bool = False  # the client was told how the talk went
    undone: str = ""  # the client was told that nothing had happened


class Talks:
    """Shown every applied commit, for who is watched; the rest is told from the rows when all is over."""

    def __init__(self, sim: Simulation, watch: Watch) -> None:
        self._watch = watch
        self._states: dict[str, GroupState] = {}
        self._groups: dict[str, Group] = {}
        self._ended: dict[str, tuple[str, int]] = {}  # run -> whose, and where its history ended then
        self._counted: Counter[tuple[str, str]] = Counter()  # group, run
        sim.server.observers.append(self._observe)

    def check(self, rows: Rows, spoken: Sequence[Spoken], direct: Sequence[str]) -> None:
        """`direct`: the first words of what clients said to an agent without its group."""
        runs = {run_id: run for (run_id,), run in rows.space(RUNS).items()}
        histories: dict[str, list[StoredMessage]] = {}
        for message in rows.space(MESSAGES).values():
            histories.setdefault(message.thread_id, []).append(message)
        states = {id: state for (id,), state in rows.space(GROUP_STATES).items()}
        for (group_id,), group in rows.space(GROUPS).items():
            talks = {talk.number: talk for (of, _), talk in rows.space(TALKS).items() if of == group_id}
            turns: dict[int, list[TalkTurn]] = {number: [] for number in talks}
            for (of, number, _), turn in rows.space(TALK_TURNS).items():
                if of == group_id:
                    turns[int(number, 16)].append(turn)
            self._check_numbers(states[group_id], talks)
            for number, talk in talks.items():
                self._check_talk(group, talk, turns[number], runs, histories)
            self._check_runs(group, talks, turns, runs, direct)
            self._check_spoken(group, [each for each in spoken if each.group_id == group_id], talks)
            if group.frequency is not None:
                self._check_watched(group, states[group_id], talks, runs)

    def _check_numbers(self, state: GroupState, talks: dict[int, Talk]) -> None:
        expected = list(range(1, state.next_talk))
        self._expect(sorted(talks) == expected, f"{state.id} has the talks {sorted(talks)}, not {expected}")
        waiting = [number for number, talk in talks.items() if talk.status == "waiting"]
        self._expect(not waiting and not state.queue, f"the talks {waiting} of {state.id} are not over: {state.queue}")

    def _check_spoken(self, group: Group, spoken: Sequence[Spoken], talks: dict[int, Talk]) -> None:
        found = Counter(marker_of(talk.input) for talk in talks.values() if talk.input)
        for each in spoken:
            times = found.pop(each.marker, 0)
            wanted = (1,) if each.known else (0,) if each.undone else (0, 1)
            self._expect(times in wanted, f"{each} began {times} talks")
        self._expect(not found, f"nobody asked {group.id} for {found}")

    def _check_talk(
        self,
        group: Group,
        talk: Talk,
        turns: Sequence[TalkTurn],
        runs: dict[str, Run],
        histories: dict[str, list[StoredMessage]],
    ) -> None:
        what = f"talk {talk.number} of {group.id} ({group.pattern})"
        self._expect(len(turns) == talk.turns, f"{what} counts {talk.turns} turns and has {len(turns)}")
        done = [(turn.agent_id, turn.choice) for turn in turns]
        for at, each in enumerate(done):
            due = expected_next(group, talk, turns[:at])
            self._expect(each == due, f"{what}, turn {at + 1}: {each} spoke, not {due}")
            run = runs.get(turns[at].run_id)
            ended = run is not None and run.completed_at_us is not None and run.error is None
            self._expect(ended, f"{what}, turn {at + 1}: its run is {run and run.status}")
            if run is not None and talk.input:
                self._check_words(what, talk, turns[:at], turns[at], run)
        over = expected_next(group, talk, turns) is None
        if talk.error is None:
            self._expect(over, f"{what} ended after {done}")
        else:
            self._expect(talk.error.code not in OUR_OWN, f"{what} failed with {talk.error}")
        for agent_id in dict.fromkeys(turn.agent_id for turn in turns if talk.input):
            heard = [each for each in histories.get(agent_id, []) if each.kind == "user"]
            times = sum(searchable_text(each).split(" ", 1)[0] == marker_of(talk.input) for each in heard)
            self._expect(times == 1, f"{what}: {agent_id} heard {marker_of(talk.input)} {times} times")

    def _check_words(self, what: str, talk: Talk, before: Sequence[TalkTurn], turn: TalkTurn, run: Run) -> None:
        """What the speaker was told: the question, if it had not heard it, and what the others said since it spoke."""
        last = max((at for at, each in enumerate(before) if each.agent_id == turn.agent_id), default=None)
        since = before if last is None else before[last + 1 :]
        new = [each for each in since if not each.choice and each.agent_id != turn.agent_id]
        told = [message for message in run.input if message.sender_id is not None]
        senders = [message.sender_id for message in told]
        self._expect(
            senders == [each.agent_id for each in new], f"{what}: {run.id} was told of {senders}, not of {new}"
        )
        for message, each in zip(told, new, strict=False):
            self._expect(text_of(message).endswith(each.text), f"{what}: {run.id} was told {message}, not {each}")
        asked = marker_of(run.input) == marker_of(talk.input)
        self._expect(asked == (last is None), f"{what}: {run.id} begins with {marker_of(run.input)}")

    def _check_runs(
        self,
        group: Group,
        talks: dict[int, Talk],
        turns: dict[int, list[TalkTurn]],
        runs: dict[str, Run],
        direct: Sequence[str],
    ) -> None:
        """Each run of the group's agents is a turn's, or the one with which a talk failed, or a client's own."""
        taken = Counter(turn.run_id for each in turns.values() for turn in each)
        twice = [run_id for run_id, times in taken.items() if times > 1]
        self._expect(not twice, f"{twice} are turns of {group.id} more than once")
        led = [] if group.manager_id is None else [group.manager_id]
        agents = led if group.pattern == "supervisor" else [*group.agent_ids, *led]
        others = [run for run in runs.values() if run.agent_id in agents and run.id not in taken]
        rest = [run.id for run in others if marker_of(run.input) not in direct]
        failed = sum(talk.status == "failed" for talk in talks.values())
        self._expect(len(rest) <= failed, f"{rest} are turns of no talk of {group.id}, of which {failed} failed")

    def _check_watched(self, group: Group, state: GroupState, talks: dict[int, Talk], runs: dict[str, Run]) -> None:
        """How often the others were told, and of what."""
        assert group.frequency is not None
        ended = [run_id for run_id, (of, _) in self._ended.items() if of == group.manager_id]
        counted = Counter({run_id: times for (of, run_id), times in self._counted.items() if of == group.id})
        self._expect(counted == Counter(ended), f"{group.id} counted {counted}, ended have {ended}")
        counter = (len(ended) - 1) % group.frequency if ended else -1
        self._expect(state.turns_counter == counter, f"{group.id} counts {state.turns_counter}, not {counter}")
        told = [talk for talk in talks.values() if not talk.input]
        most = -(-len(ended) // group.frequency)
        self._expect(len(told) <= most, f"{group.id} told {len(told)} times of {len(ended)} turns, at most {most}")
        following = 0
        for talk in sorted(told, key=lambda talk: talk.number):
            self._expect(talk.from_seq == following, f"{group.id} told from {talk.from_seq}, not from {following}")
            following = talk.to_seq + 1
        self._expect(state.told_seq == following - 1, f"{group.id} told to {following - 1}, not to {state.told_seq}")

    def _observe(self, applied: Applied) -> None:
        self._groups.update({id: group for (id,), group in put_records(applied.writes, GROUPS).items()})
        states = {id: state for (id,), state in put_records(applied.writes, STATES).items()}
        for (run_id,), run in put_records(applied.writes, RUNS).items():
            state = states.get(run.agent_id)
            if run.completed_at_us is not None and state is not None and run_id not in self._ended:
                self._ended[run_id] = (run.agent_id, state.next_seq - 1)
        for (group_id,), state in put_records(applied.writes, GROUP_STATES).items():
            before = self._states.get(group_id)
            self._states[group_id] = state
            if before is not None:
                self._check_count(applied, before, state)

    def _check_count(self, applied: Applied, before: GroupState, state: GroupState) -> None:
        names = [
            parts_of(write.key)[2]
            for write in applied.writes
            if isinstance(write, Delete) and space_of(write.key) == REMINDERS.name
        ]
        counted = [name.partition(" ")[2] for name in names if name.startswith(f"{TURN_ENDED} ")]
        group = self._groups[state.id]
        if group.frequency is None:
            return
        counter = (before.turns_counter + len(counted)) % group.frequency if counted else before.turns_counter
        self._expect(state.turns_counter == counter, f"{state.id} went from {before} to {state} by {counted}")
        for run_id in counted:
            self._counted[state.id, run_id] += 1
            ended = self._ended.get(run_id, ("", 10**9))[1]
            if counter == 0:
                self._expect(state.told_seq >= ended, f"{state.id} was due at {ended} and told to {state.told_seq}")
            else:
                self._expect(state.told_seq == before.told_seq, f"{state.id} told at {counter} of {group.frequency}")

    def _expect(self, holds: bool, sentence: str) -> None:
        self._watch.expect(holds, NAME, sentence)


def expected_next(group: Group, talk: Talk, turns: Sequence[TalkTurn]) -> tuple[str | None, bool] | None:
    """Who speaks next, and whether only to choose; None: nobody."""
    members, said = group.agent_ids, [turn for turn in turns if not turn.choice]
    if not talk.input:
        return (members[len(said)], False) if len(said) < len(members) else None
    if group.pattern in ("supervisor", "sleeptime"):
        return None if turns else (group.manager_id, False)
    if len(said) >= (group.max_turns or len(members)):
        return None
    if group.pattern == "round_robin":
        return members[len(said) % len(members)], False
    if not turns or not turns[-1].choice:
        return group.manager_id, True
    if (group.termination_token or DONE_TOKEN) in turns[-1].text:
        return None
    named = [agent_id for agent_id in members if agent_id in turns[-1].text]
    return (named[0] if named else members[len(said) % len(members)]), False


def text_of(message: InputMessage) -> str:
    """All that it says."""
    return "\n".join(part.text for part in message.parts if isinstance(part, TextPart))


def marker_of(messages: Sequence[InputMessage]) -> str:
    """The first word."""
    return text_of(messages[0]).split(" ", 1)[0] if messages else ""
