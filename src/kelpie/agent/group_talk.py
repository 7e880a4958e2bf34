"""How a group talks: who speaks next, what it is told, and when it is over; and who is told what another one did.

The group is an errand. A talk is a row with a row for each turn that is over, so the next speaker and what it is told
follow from what is committed. That is committed in turn before it is sent, under a key of the talk and the turn: so it
is sent once, whoever is renamed meanwhile, joins or leaves.

    round_robin   the members speak in their order, each told what was said since it last spoke
    dynamic       the manager says who speaks next, until it says that it is over
    supervisor    the manager alone answers, and may ask all members at once with a tool
    sleeptime     the manager alone answers; after some of its turns the members are told what was said, and keep
                  the memory in order that they share with it; of a manager with a voice, in numbered lines
"""

from collections.abc import Sequence
from typing import Literal, assert_never

import msgspec
from msgspec import Struct

from kelpie.actor.recovery import Done, Remind, take_reminder
from kelpie.actor.tenure import Tenure
from kelpie.agent.agent_tools import reply_text
from kelpie.agent.door import AgentDoor
from kelpie.agent.errand import Errand, Failed
from kelpie.agent.groups import BACKGROUND, GONE, GROUP_STATES, TURN_ENDED, Group, Groups, GroupState
from kelpie.agent.state import AGENTS, STATES, InputMessage, RunError, RunOptions
from kelpie.agent.voice_tools import number_lines
from kelpie.errors import AlreadyExists, Busy, NotFound
from kelpie.ids import AgentId, RunId, ThreadId
from kelpie.limits import (
    GROUP_TALKS_QUEUED_MAX,
    GROUP_TEXT_CHARS_MAX,
    GROUP_TURNS_MAX,
    RETRY_AFTER_MS,
    TRANSCRIPT_CHARS_MAX,
    TRANSCRIPT_MESSAGES_MAX,
)
from kelpie.llm.messages import TextPart
from kelpie.memory.history import History, StoredMessage, searchable_text
from kelpie.storage.records import Batch, Records, Space
from kelpie.world import World

BUFFER_MAX_DEFAULT = 30  # messages, when a voice agent's group names none
DONE_TOKEN = "DONE!"


class Question(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom a turn belongs to and what it is told. Names and rules may change; what was asked once stays asked."""

    agent_id: AgentId
    messages: tuple[InputMessage, ...]
    choice: bool = False


class Talk(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What a group was asked, and what came of it. Without input it is told of what its manager did."""

    id: str
    number: int
    input: tuple[InputMessage, ...] = ()
    steps_max: int
    from_seq: int = 0  # of the manager's history, what is told
    to_seq: int = 0
    turns: int = 0
    asked: Question | None = None  # of the turn that is under way
    status: Literal["waiting", "completed", "failed"] = "waiting"
    error: RunError | None = None
    created_at_us: int


class TalkTurn(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """One turn of an agent that is over. `choice`: the manager's, which only said who is next."""

    agent_id: AgentId
    name: str
    run_id: RunId
    text: str
    choice: bool = False


class TalkPlace(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """Under which number a talk is kept."""

    number: int


class Speak(Struct, frozen=True, kw_only=True):
    """Begin a talk; a talk of that id that there is already is the same one."""

    talk_id: str
    messages: tuple[InputMessage, ...]
    steps_max: int


class Begun(Struct, frozen=True, kw_only=True):
    """The talk is durable."""

    number: int


class Forget(Struct, frozen=True, kw_only=True):
    """Forget the talks that are over."""


class Close(Struct, frozen=True, kw_only=True):
    """Remove the group; members that only serve it may go too."""

    with_members: bool = False


class _Asked(Struct, frozen=True, kw_only=True):
    question: Question


class _Turn(Struct, frozen=True, kw_only=True):
    turn: TalkTurn


class _Over(Struct, frozen=True, kw_only=True):
    error: RunError | None = None


class _Closed(Struct, frozen=True, kw_only=True):
    pass


TALKS = Space("talk", Talk, large=True)  # at(group_id, number)
TALK_PLACES = Space("talk_place", TalkPlace)  # at(group_id, talk_id)
TALK_TURNS = Space("talk_turn", TalkTurn, large=True)  # at(group_id, number, turn)


class GroupTalk(Errand[GroupState]):
    """One group, awake."""

    def __init__(self, tenure: Tenure, records: Records, world: World, groups: Groups, door: AgentDoor) -> None:
        super().__init__(tenure, records, world, GROUP_STATES, "Group")
        self._groups = groups
        self._door = door
        self._history = History(records)

    def has_work(self, state: GroupState) -> bool:
        """A talk waits, or the group is being removed."""
        return bool(state.queue) or state.closing

    async def perform(self, state: GroupState) -> Struct:
        """Whose turn is next in the first talk; then the turn; or the talk's end; or the members go."""
        group = (await self._groups.all.get(state.id)).value
        if state.closing:
            for agent_id in group.agent_ids if state.with_members else ():
                await self._remove(agent_id)
            return _Closed()
        talk = await self._records.get(TALKS.at(state.id, state.queue[0]))
        assert talk is not None, "a talk that waits has a record"
        if talk.value.asked is not None:
            return await self._hear(group, talk.value, talk.value.asked)
        turns = await read_turns(self._records, state.id, talk.value.number)
        assert len(turns) == talk.value.turns, "a turn is counted with its row"
        speaker = next_speaker(group, talk.value, turns)
        if speaker is None:
            return _Over()
        if not await self._is_there(speaker):
            return _Over(error=RunError(code="not_found", sentence=f"Agent with id '{speaker}' not found"))
        choice = chooses(group, talk.value, turns)
        messages = await self._words(group, talk.value, turns, speaker, choice)
        return _Asked(question=Question(agent_id=speaker, messages=messages, choice=choice))

    async def note(self, state: GroupState, report: Struct, batch: Batch) -> GroupState | None:
        """One turn more, or the talk is over."""
        if isinstance(report, _Closed):
            _delete_talks(batch, state.id)
            self._groups.put_gone(batch, await self._groups.all.get(state.id))
            return None
        assert state.queue, "only a talk is reported on"
        found = await self._records.get(TALKS.at(state.id, state.queue[0]))
        assert found is not None
        talk = found.value
        if isinstance(report, _Asked):
            batch.put(TALKS.at(state.id, talk.number), msgspec.structs.replace(talk, asked=report.question))
            return msgspec.structs.replace(state)
        if isinstance(report, _Turn):
            batch.put(TALK_TURNS.at(state.id, talk.number, talk.turns + 1), report.turn)
            batch.put(TALKS.at(state.id, talk.number), msgspec.structs.replace(talk, turns=talk.turns + 1, asked=None))
            return msgspec.structs.replace(state)
        error = report.error if isinstance(report, _Over) else None
        if isinstance(report, Failed):
            error = RunError(code=report.code, sentence=report.sentence)
        status = "completed" if error is None else "failed"
        ended = msgspec.structs.replace(talk, status=status, error=error, asked=None)
        batch.put(TALKS.at(state.id, talk.number), ended)
        return msgspec.structs.replace(state, queue=state.queue[1:])

    async def answer(self, state: GroupState, body: Struct, batch: Batch) -> tuple[GroupState | None, Struct]:
        """A talk begins; somebody's turn has ended; somebody is gone; the group goes."""
        assert state.id == self._tenure.address
        match body:
            case Close():
                closing = msgspec.structs.replace(state, closing=True, with_members=body.with_members)
                return closing, Done()
            case _ if state.closing:
                raise NotFound(f"Group with id '{state.id}' not found", id=state.id)
            case Speak():
                return await self._begin(state, body, batch)
            case Forget():
                if state.queue:
                    raise Busy(f"'{state.id}' is busy with another active run", retry_after_ms=RETRY_AFTER_MS)
                _delete_talks(batch, state.id)
                return state, Done()
            case Remind():
                if not await take_reminder(self._records, batch, self._tenure.address, body):
                    return state, Done()
                what, _, of = body.name.partition(" ")
                assert what in (TURN_ENDED, GONE)
                if what == TURN_ENDED:
                    return await self._watch(state, batch), Done()
                return await self._leave(state, batch, of), Done()
            case _:
                raise AssertionError(f"a group is not asked {type(body).__name__}")

    # -- inside ----------------------------------------------------------------------------------------------

    async def _begin(self, state: GroupState, speak: Speak, batch: Batch) -> tuple[GroupState, Begun]:
        """The talk, durably; one of that id that is there already is the answer."""
        known = await self._records.get(TALK_PLACES.at(state.id, speak.talk_id))
        if known is not None:
            talk = await self._records.get(TALKS.at(state.id, known.value.number))
            if talk is not None and talk.value.input != speak.messages:
                raise AlreadyExists("the key was used for another request")
            return state, Begun(number=known.value.number)
        if len(state.queue) >= GROUP_TALKS_QUEUED_MAX:
            raise Busy(
                f"{GROUP_TALKS_QUEUED_MAX} messages wait for '{state.id}' already",
                limit="GROUP_TALKS_QUEUED_MAX",
                maximum=GROUP_TALKS_QUEUED_MAX,
                retry_after_ms=RETRY_AFTER_MS,
            )
        talk = self._new_talk(state, speak.talk_id, speak.steps_max, input=speak.messages)
        assert talk.input
        assert talk.number not in state.queue
        return _queued(state, talk, batch), Begun(number=talk.number)

    def _new_talk(self, state: GroupState, talk_id: str, steps_max: int, **fields: object) -> Talk:
        now_us = self._world.wall.now_us()
        talk = Talk(id=talk_id, number=state.next_talk, steps_max=steps_max, created_at_us=now_us)
        return msgspec.structs.replace(talk, **fields)

    async def _watch(self, state: GroupState, batch: Batch) -> GroupState:
        """A turn of the manager has ended: count it, and tell the members when it is time."""
        group = (await self._groups.all.get(state.id)).value
        manager = None if group.manager_id is None else await self._records.get(STATES.at(group.manager_id))
        if manager is None or group.pattern not in BACKGROUND:
            return state
        counter = (state.turns_counter + 1) % (group.frequency or 1)
        state = msgspec.structs.replace(state, turns_counter=counter)
        last = manager.value.next_seq - 1
        unknown = last - state.told_seq
        is_time = counter == 0 if group.pattern == "sleeptime" else unknown >= (group.buffer_max or BUFFER_MAX_DEFAULT)
        if not is_time or unknown <= 0 or not group.agent_ids or len(state.queue) >= GROUP_TALKS_QUEUED_MAX:
            return state
        steps_max = RunOptions().steps_max
        assert last >= 0
        assert unknown <= last + 1
        talk = self._new_talk(state, f"told-{last}", steps_max, from_seq=state.told_seq + 1, to_seq=last)
        messages = await self._history.get_many(ThreadId(manager.value.id), [last])
        told = msgspec.structs.replace(state, told_seq=last, told_message_id=messages[0].id)
        return _queued(told, talk, batch)

    async def _leave(self, state: GroupState, batch: Batch, agent_id: str) -> GroupState:
        """A member or the manager is gone; without its manager a group is nothing."""
        found = await self._groups.all.get(state.id)
        if found.value.manager_id == agent_id:
            return msgspec.structs.replace(state, closing=True, with_members=found.value.pattern in BACKGROUND)
        if agent_id in found.value.agent_ids:
            self._groups.put_without(batch, found, agent_id)
        return state

    async def _hear(self, group: Group, talk: Talk, asked: Question) -> Struct:
        """Send the speaker what it is told, and wait for what it says."""
        options = RunOptions(background=True, steps_max=talk.steps_max)
        key = f"talk:{group.id}:{talk.number}:{talk.turns + 1}"
        run_id = await self._door.send(asked.agent_id, asked.messages, options, key=key)
        said, finished = await self._door.finish(run_id)
        if finished.error is not None:
            return _Over(error=finished.error)
        text = reply_text([event.message for event in said])[:GROUP_TEXT_CHARS_MAX]
        name = await self._name(asked.agent_id)
        turn = TalkTurn(agent_id=asked.agent_id, name=name, run_id=run_id, text=text, choice=asked.choice)
        return _Turn(turn=turn)

    async def _words(
        self, group: Group, talk: Talk, turns: Sequence[TalkTurn], speaker: AgentId, choice: bool
    ) -> tuple[InputMessage, ...]:
        assert choice == chooses(group, talk, turns)
        assert len(group.agent_ids) > 0
        if not talk.input:
            return (_note(await self._transcript(group, talk)),)
        last = max((at for at, turn in enumerate(turns) if turn.agent_id == speaker), default=None)
        new = [
            turn for turn in turns[0 if last is None else last + 1 :] if not turn.choice and turn.agent_id != speaker
        ]
        words = [] if last is not None else list(talk.input)
        words += [_note(f"[{turn.name} ({turn.agent_id}) said:]\n{turn.text}", turn.agent_id) for turn in new]
        if choice:
            token = group.termination_token or DONE_TOKEN
            names = "\n".join([f"- {agent_id}: {await self._name(agent_id)}" for agent_id in group.agent_ids])
            ask = (
                f"[You lead this talk: {group.description}\nWho is to speak next? Answer with the id of one of these"
                f" alone, or with {token} if the talk is to end:\n{names}]"
            )
            words.append(_note(ask))
        return tuple(words) or (_note("[It is your turn again; nobody else has spoken since.]"),)

    async def _transcript(self, group: Group, talk: Talk) -> str:
        """What the manager heard and said, as the members are told it."""
        assert group.manager_id is not None
        assert talk.from_seq <= talk.to_seq
        first = max(talk.from_seq, talk.to_seq + 1 - TRANSCRIPT_MESSAGES_MAX)
        stored = await self._history.list(
            ThreadId(group.manager_id),
            after_seq=first - 1 if first > 0 else None,
            before_seq=talk.to_seq + 1,
            limit=TRANSCRIPT_MESSAGES_MAX,
        )
        lines = [line for message in stored if (line := _line(message))]
        lines = number_lines(lines) if group.pattern == "voice_sleeptime" else lines
        text = "\n".join(lines)
        missing = first - talk.from_seq
        if len(text) > TRANSCRIPT_CHARS_MAX:
            left_out = len(text) - TRANSCRIPT_CHARS_MAX
            text = f"[... the first {left_out} characters are left out ...]\n{text[left_out:]}"
        if missing > 0:
            text = f"[... {missing} earlier messages are left out ...]\n{text}"
        name = await self._name(group.manager_id)
        return (
            f"[This is what '{name}' ({group.manager_id}) heard and said since you were last told. Nobody waits for an"
            " answer. Bring the memory blocks that you share with it up to date: add what is new and will matter,"
            f" correct what is no longer so, and leave out what will not matter.]\n\n{text}"
        )

    async def _name(self, agent_id: AgentId) -> str:
        found = await self._records.get(AGENTS.at(agent_id))
        return "somebody who is gone" if found is None else found.value.name

    async def _is_there(self, agent_id: AgentId) -> bool:
        return await self._records.get(AGENTS.at(agent_id)) is not None

    async def _remove(self, agent_id: AgentId) -> None:
        if await self._is_there(agent_id):
            try:
                await self._door.delete(ThreadId(agent_id))
            except NotFound:
                return


async def read_turns(records: Records, group_id: str, number: int) -> list[TalkTurn]:
    """The turns of a talk, in their order."""
    found = await records.scan(TALK_TURNS, group_id, number, limit=2 * GROUP_TURNS_MAX + 2)
    return [each.value for each in found]


def next_speaker(group: Group, talk: Talk, turns: Sequence[TalkTurn]) -> AgentId | None:
    """Who speaks next; None: the talk is over. Pure."""
    spoken = [turn for turn in turns if not turn.choice]
    members = group.agent_ids
    assert len(turns) <= 2 * GROUP_TURNS_MAX + 1
    if not talk.input:
        return members[len(turns)] if len(turns) < len(members) else None
    match group.pattern:
        case "supervisor" | "sleeptime" | "voice_sleeptime":
            return group.manager_id if not turns else None
        case "round_robin":
            turns_max = group.max_turns or len(members)
            return members[len(spoken) % len(members)] if members and len(spoken) < turns_max else None
        case "dynamic":
            if not members or len(spoken) >= (group.max_turns or len(members)):
                return None
            if not turns or not turns[-1].choice:
                return group.manager_id
            return chosen(group, turns[-1].text, len(spoken))
        case _:
            assert_never(group.pattern)


def chooses(group: Group, talk: Talk, turns: Sequence[TalkTurn]) -> bool:
    """Whether the next turn is the manager's, to say who speaks. Pure."""
    return bool(talk.input) and group.pattern == "dynamic" and (not turns or not turns[-1].choice)


def chosen(group: Group, said: str, spoken: int) -> AgentId | None:
    """Whom the manager names; nobody to be found in what it said: the next in order. None: it ends the talk. Pure."""
    if (group.termination_token or DONE_TOKEN) in said:
        return None
    for agent_id in group.agent_ids:
        if agent_id in said:
            return agent_id
    return group.agent_ids[spoken % len(group.agent_ids)]


def _delete_talks(batch: Batch, group_id: str) -> None:
    batch.delete_below(TALKS, group_id)
    batch.delete_below(TALK_TURNS, group_id)
    batch.delete_below(TALK_PLACES, group_id)


def _queued(state: GroupState, talk: Talk, batch: Batch) -> GroupState:
    batch.put(TALKS.at(state.id, talk.number), talk)
    batch.put(TALK_PLACES.at(state.id, talk.id), TalkPlace(number=talk.number))
    return msgspec.structs.replace(state, next_talk=talk.number + 1, queue=(*state.queue, talk.number))


def _note(text: str, sender_id: str | None = None) -> InputMessage:
    return InputMessage(kind="user", parts=(TextPart(text=text),), sender_id=sender_id)


def _line(message: StoredMessage) -> str:
    """A message as a transcript has it; what a system said is not a part of the talk."""
    if message.kind in ("system", "summary"):
        return ""
    text = searchable_text(message)
    return f"{message.kind}: {text}" if text else ""
