"""One epoch has one owner, and only that owner commits (invariants 1 and 2), told from the store's history.

Every commit that touches what belongs to a thread's owner must carry the fence of the owner row as it stands, and
come from the very process that wrote that row; or it removes the thread, and checks that nobody ever owned it. Versions
of a state grow by one. Nobody takes over from a living node.
"""

from collections.abc import Iterator

from kelpie.actor.directory import OWNERS, Owner
from kelpie.actor.outbox import EVENTS
from kelpie.actor.recovery import REMINDERS, UNFINISHED
from kelpie.agent import groups, scheduling
from kelpie.agent.group_talk import TALK_PLACES, TALK_TURNS, TALKS
from kelpie.agent.groups import GROUP_STATES, GROUPS
from kelpie.agent.schedules import SCHEDULES
from kelpie.agent.state import (
    AGENT_RUNS,
    AGENT_THREADS,
    AGENTS,
    CONVERSATION_RUNS,
    INBOX,
    INBOX_BY_TIME,
    RUNS,
    STATES,
    AgentState,
)
from kelpie.cluster.lease import LEASES, NodeLease, is_dead
from kelpie.memory.history import AGENT_MESSAGES, MESSAGE_PLACES, MESSAGES, MESSAGES_BY_TIME
from kelpie.storage.store import ABSENT, Check, Delete, Put, Write
from kelpie.world import Marks
from kelpie_sim.checkers.rows import parts_of, put_records, space_of, touched
from kelpie_sim.store import Applied, SimStoreServer
from kelpie_sim.watch import Watch

NAME = "single_owner"
_OWNED = {  # which part of the key names the owner
    **dict.fromkeys(
        [space.name for space in (STATES, MESSAGES, CONVERSATION_RUNS, INBOX, INBOX_BY_TIME, UNFINISHED)], 0
    ),
    **dict.fromkeys([space.name for space in (GROUP_STATES, TALKS, TALK_TURNS, TALK_PLACES, SCHEDULES)], 0),
    **dict.fromkeys([MESSAGE_PLACES.name, REMINDERS.name], 1),
    MESSAGES_BY_TIME.name: 2,
    AGENT_MESSAGES.name: 3,
}
_BEGUN_WITH = (AGENTS, STATES, GROUPS, SCHEDULES)  # a commit that makes one of these needs no owner yet
_OF_OTHERS = (groups.TURN_ENDED, groups.GONE, scheduling.GONE)  # reminders that somebody arms for another one
_BY_RUN = {RUNS.name: 0, EVENTS.name: 0, AGENT_RUNS.name: 2}  # which part names the run
Process = tuple[str, int]  # host, life


class SingleOwner:
    """Shown every applied commit before anything else happens."""

    def __init__(self, server: SimStoreServer, watch: Watch, marks: Marks) -> None:
        self._server = server
        self._marks = marks
        self._watch = watch
        self._owners: dict[str, tuple[Owner, int, Process]] = {}  # address -> row, its version, who wrote it
        self._states: dict[str, AgentState] = {}
        self._leases: dict[str, tuple[NodeLease, Process]] = {}
        self._thread_of_run: dict[str, str] = {}
        self._agent_of: dict[str, str] = {}  # of a conversation
        server.observers.append(self.observe)

    def observe(self, applied: Applied) -> None:
        """Check one commit, then remember what it did."""
        for (run_id,), run in put_records(applied.writes, RUNS).items():
            self._thread_of_run[run_id] = run.thread_id
        for agent_id, conversation_id in put_records(applied.writes, AGENT_THREADS):
            self._agent_of[conversation_id] = agent_id
        for address in dict.fromkeys(self._addresses(applied)):
            self._check_fence(applied, address)
        self._note_states(applied)
        self._note_leases(applied)
        self._note_owners(applied)

    def _addresses(self, applied: Applied) -> Iterator[str]:
        """The threads whose owner's rows the commit touches, those that it makes left out."""
        made = {check.key for check in applied.checks if check.version == ABSENT}
        for write in applied.writes:
            address = self._address(write)
            if address is None or any(space.at(address).key in made for space in _BEGUN_WITH):
                continue
            woken = isinstance(write, Put) and space_of(write.key) == UNFINISHED.name
            yield self._agent_of[address] if woken and self._has_fence_of_agent(applied, address) else address

    def _address(self, write: Write) -> str | None:
        """Whose row it is."""
        key = touched(write)
        space, parts = space_of(key), parts_of(key.removeprefix(b"chunk "))
        if space in _BY_RUN:
            return self._thread_of_run.get(parts[_BY_RUN[space]])
        if space == REMINDERS.name and self._may_be_anybodys(write, parts[1], parts[2]):
            return None
        return parts[_OWNED[space]] if space in _OWNED else None

    def _may_be_anybodys(self, write: Write, address: str, name: str) -> bool:
        """A reminder by which one actor wakes another; or one of an errand that is no more, which any node drops."""
        if isinstance(write, Put):
            return name.split(" ")[0] in _OF_OTHERS
        errands = [space.at(address).key for space in (SCHEDULES, GROUP_STATES)]
        return address.startswith(("schedule-", "group-")) and not any(
            self._server.peek(key, key + b"\0") for key in errands
        )

    def _has_fence_of_agent(self, applied: Applied, conversation_id: str) -> bool:
        """Whether the commit is one of the agent, which wakes its conversations when it goes."""
        held = self._owners.get(self._agent_of.get(conversation_id, ""))
        agent_id = self._agent_of.get(conversation_id, "")
        return held is not None and Check(OWNERS.at(agent_id).key, held[1]) in applied.checks

    def _check_fence(self, applied: Applied, address: str) -> None:
        held = self._owners.get(address)
        process = (applied.host, applied.life)
        if held is None and _removes_unowned(applied, address):
            self._marks.reached("sim: an agent that nobody woke was removed")
            return
        if held is None:
            self._blame(applied, f"{process} wrote to {address}, which nobody owns")
            return
        _, version, owner = held
        if Check(OWNERS.at(address).key, version) not in applied.checks:
            self._blame(applied, f"{process} wrote to {address} without the fence of its owner {owner}")
        if owner != process:
            self._blame(applied, f"{process} wrote to {address}, which {owner} owns")

    def _note_states(self, applied: Applied) -> None:
        for (address,), state in put_records(applied.writes, STATES).items():
            before = self._states.get(address)
            expected = 1 if before is None else before.version + 1
            if state.version != expected:
                self._blame(applied, f"the state of {address} has version {state.version} after {expected - 1}")
            if before is not None and state.next_seq < before.next_seq:
                self._blame(applied, f"the history of {address} went back to {state.next_seq}")
            self._states[address] = state
        for write in applied.writes:
            if isinstance(write, Delete) and space_of(write.key) == STATES.name:
                self._states.pop(parts_of(write.key)[0], None)

    def _note_leases(self, applied: Applied) -> None:
        process = (applied.host, applied.life)
        for (node,), lease in put_records(applied.writes, LEASES).items():
            before = self._leases.get(node)
            if before is not None:
                same = before[1] == process
                if lease.epoch < before[0].epoch or (lease.epoch == before[0].epoch and not same):
                    self._blame(applied, f"{process} renewed epoch {lease.epoch}, which {before[1]} holds")
            self._leases[node] = (lease, process)

    def _note_owners(self, applied: Applied) -> None:
        process = (applied.host, applied.life)
        for (address,), owner in put_records(applied.writes, OWNERS).items():
            held = self._owners.get(address)
            before = None if held is None else held[0]
            if owner.epoch != (1 if before is None else before.epoch + 1):
                self._blame(applied, f"{address} was claimed with epoch {owner.epoch} after {before}")
            if owner.node != applied.host:
                self._blame(applied, f"{process} claimed {address} for {owner.node}")
            if before is not None and before.node != owner.node:
                self._marks.reached("sim: a node took an agent over from another one")
                lease = self._leases.get(before.node)
                now_ms = self._server.tell_ms()
                if not is_dead(None if lease is None else lease[0], before.node_epoch, now_ms):
                    self._blame(applied, f"{process} took {address} from {before}, whose lease {lease} is good")
            self._owners[address] = (owner, applied.version, process)
        for write in applied.writes:
            if isinstance(write, Delete) and space_of(write.key) == OWNERS.name:
                self._owners.pop(parts_of(write.key)[0], None)

    def _blame(self, applied: Applied, sentence: str) -> None:
        self._watch.blame(NAME, sentence, applied.at_ms)


def _removes_unowned(applied: Applied, address: str) -> bool:
    """Whether the commit removes the thread, and checks that nobody owns it."""
    gone = Delete(STATES.at(address).key) in applied.writes
    return gone and Check(OWNERS.at(address).key, ABSENT) in applied.checks
