"""Derived data equals what a rebuild from the rows gives, and nothing is left of what was removed (invariant 11)."""

from kelpie.actor.directory import OWNERS
from kelpie.actor.outbox import EVENTS
from kelpie.actor.recovery import REMINDERS, UNFINISHED
from kelpie.agent.group_talk import TALK_PLACES, TALK_TURNS, TALKS
from kelpie.agent.groups import GROUP_STATES, GROUPS, MANAGED, MEMBERS, WATCHED, Group
from kelpie.agent.inbox import SWEEP
from kelpie.agent.schedules import SCHEDULES
from kelpie.agent.scheduling import AGENT_SCHEDULES
from kelpie.agent.state import (
    AGENT_RUNS,
    AGENT_THREADS,
    AGENTS,
    AGENTS_BY_TIME,
    CONVERSATION_RUNS,
    CONVERSATIONS,
    INBOX,
    INBOX_BY_TIME,
    RUNS,
    RUNS_BY_TIME,
    STATES,
)
from kelpie.agent.steps import SHOWN, STEP_NOTES, STEPS
from kelpie.cluster.lease import LEASES
from kelpie.limits import BLOCK_VERSIONS_MAX
from kelpie.memory.archive import AGENT_ARCHIVE, ARCHIVE_AGENTS, ARCHIVES
from kelpie.memory.block_history import BLOCK_VERSIONS
from kelpie.memory.blocks import BLOCK_LINKS, BLOCKS, BLOCKS_BY_TIME
from kelpie.memory.history import AGENT_MESSAGES, MESSAGE_PLACES, MESSAGES, MESSAGES_BY_TIME
from kelpie.memory.passages import PASSAGES, PLACES, SHELVES
from kelpie.storage.collection import ById, Link
from kelpie.storage.records import Space
from kelpie_sim.checkers.rows import Parts, Rows
from kelpie_sim.watch import Watch

NAME = "derived"
_ERRANDS = ("schedule-", "group-")  # one that goes while a dying node claims it leaves the claim behind
_ARCHIVES_BY_TIME = Space(f"{ARCHIVES.name}_by_time", ById)
_GROUPS_BY_TIME = Space(f"{GROUPS.name}_by_time", ById)
_CONVERSATIONS_BY_TIME = Space(f"{CONVERSATIONS.name}_by_time", ById)
SPACES = tuple(
    space.name
    for space in (
        AGENTS, AGENTS_BY_TIME, CONVERSATIONS, _CONVERSATIONS_BY_TIME, AGENT_THREADS, STATES, RUNS, AGENT_RUNS,
        CONVERSATION_RUNS, EVENTS, RUNS_BY_TIME, STEPS, STEP_NOTES, SHOWN, INBOX, INBOX_BY_TIME, MESSAGES,
        MESSAGE_PLACES, MESSAGES_BY_TIME, AGENT_MESSAGES,
        BLOCKS, BLOCKS_BY_TIME, BLOCK_LINKS, BLOCK_VERSIONS, OWNERS, LEASES, UNFINISHED, REMINDERS,
        ARCHIVES, _ARCHIVES_BY_TIME, AGENT_ARCHIVE, ARCHIVE_AGENTS, SHELVES, PASSAGES, PLACES,
        GROUPS, _GROUPS_BY_TIME, GROUP_STATES, TALKS, TALK_TURNS, TALK_PLACES, SCHEDULES,
    )
)  # fmt: skip
SPACES += tuple(f"{name}_{way}" for name in (MEMBERS, MANAGED, WATCHED, AGENT_SCHEDULES) for way in ("link", "back"))


def check_derived(rows: Rows, watch: Watch) -> None:
    """Every index against its records, when all agents are idle."""
    for key in rows.unknown(SPACES):
        watch.blame(NAME, f"the row {key!r} belongs to nothing")
    agents, states = rows.space(AGENTS), rows.space(STATES)
    actors = {*states, *rows.space(GROUP_STATES), *rows.space(SCHEDULES)}
    conversations = rows.space(CONVERSATIONS)
    _same(watch, "states", set(states), set(agents) | set(conversations))
    talks = {(each.agent_id, each.id) for each in conversations.values()}
    timed = {(_number(each.created_at_us), each.id) for each in conversations.values()}
    _same(watch, _CONVERSATIONS_BY_TIME.name, set(rows.space(_CONVERSATIONS_BY_TIME)), timed)
    _same(watch, AGENT_THREADS.name, set(rows.space(AGENT_THREADS)), talks)
    for agent_id, conversation_id in sorted(talks):
        watch.expect((agent_id,) in agents, NAME, f"{conversation_id} belongs to {agent_id}, which is gone")
    lost = {key for key in rows.space(OWNERS) if key not in actors and not key[0].startswith(_ERRANDS)}
    _same(watch, "owners without a thread", lost, set())
    _same(watch, "unfinished work", set(rows.space(UNFINISHED)), set())
    built = {(_number(agent.created_at_us), agent.id) for agent in agents.values()}
    _same(watch, AGENTS_BY_TIME.name, set(rows.space(AGENTS_BY_TIME)), built)
    _check_blocks(rows, watch)
    _check_runs(rows, watch)
    _check_histories(rows, watch)
    _check_inboxes(rows, watch)
    _check_errands(rows, watch)
    _check_archives(rows, watch)


def _check_blocks(rows: Rows, watch: Watch) -> None:
    agents, blocks = rows.space(AGENTS), rows.space(BLOCKS)
    built = {(_number(block.created_at_us), block.id) for block in blocks.values()}
    kept = {(block.id, _number(at)) for block in blocks.values() for at in range(block.revision)[-BLOCK_VERSIONS_MAX:]}
    watch.expect(set(rows.space(BLOCK_VERSIONS)) == kept, NAME, "the values that blocks had are not those kept")
    _same(watch, BLOCKS_BY_TIME.name, set(rows.space(BLOCKS_BY_TIME)), built)
    refs = {(ref.id, agent.id): ref.label for agent in agents.values() for ref in agent.blocks}
    _same(watch, BLOCK_LINKS.name, set(rows.space(BLOCK_LINKS)), set(refs))
    for (block_id, agent_id), label in refs.items():
        block = blocks.get((block_id,))
        found = None if block is None else block.label
        watch.expect(found == label, NAME, f"{agent_id} knows {block_id} as '{label}', it is '{found}'")
    for agent in agents.values():
        labels = [ref.label for ref in agent.blocks]
        watch.expect(len(labels) == len(set(labels)), NAME, f"{agent.id} has two blocks of one label: {labels}")


def _check_runs(rows: Rows, watch: Watch) -> None:
    runs, agents = rows.space(RUNS), rows.space(AGENTS)
    built = {(run.agent_id, _number(run.created_at_us), run.id) for run in runs.values()}
    _same(watch, AGENT_RUNS.name, set(rows.space(AGENT_RUNS)), built)
    _same(watch, RUNS_BY_TIME.name, set(rows.space(RUNS_BY_TIME)), {parts[1:] for parts in built})
    talked = {
        (run.conversation_id, _number(run.created_at_us), run.id)
        for run in runs.values()
        if run.conversation_id is not None
    }
    _same(watch, CONVERSATION_RUNS.name, set(rows.space(CONVERSATION_RUNS)), talked)
    for run in runs.values():
        watch.expect((run.agent_id,) in agents, NAME, f"{run.id} is a run of {run.agent_id}, which is gone")
    left = {parts[0] for parts in rows.space(EVENTS) if (parts[0],) not in runs}
    _same(watch, "events of runs that are gone", left, set())
    for state in rows.space(STATES).values():
        idle = state.turn is None and not state.queue and not state.deleting
        watch.expect(idle, NAME, f"{state.id} is not idle: {state.turn} {state.queue}")


def _check_histories(rows: Rows, watch: Watch) -> None:
    messages, states = rows.space(MESSAGES), rows.space(STATES)
    places = {parts: place.seq for parts, place in rows.space(MESSAGE_PLACES).items()}
    built = {(message.id, message.thread_id): message.seq for message in messages.values()}
    _same(watch, MESSAGE_PLACES.name, set(places.items()), set(built.items()))
    for space, owner in ((MESSAGES_BY_TIME, False), (AGENT_MESSAGES, True)):
        times = {
            (*([each.agent_id] if owner else []), _number(each.created_at_us), _number(each.seq), each.thread_id)
            for each in messages.values()
        }
        _same(watch, space.name, set(rows.space(space)), times)
    seqs: dict[str, list[int]] = {thread_id: [] for (thread_id,) in states}
    for message in messages.values():
        seqs.setdefault(message.thread_id, []).append(message.seq)
    for thread_id, found in seqs.items():
        state = states.get((thread_id,))
        expected = [] if state is None else list(range(state.next_seq))
        watch.expect(found == expected, NAME, f"{thread_id} has the messages {found}, not {expected}")
    for (thread_id,), state in states.items():
        for entry in state.window:
            known = places.get((entry.id, thread_id))
            watch.expect(known == entry.seq, NAME, f"the window of {thread_id} names {entry}, which stands at {known}")


def _check_inboxes(rows: Rows, watch: Watch) -> None:
    inbox, runs = rows.space(INBOX), rows.space(RUNS)
    built = {(thread_id, _number(entry.at_ms), key) for (thread_id, key), entry in inbox.items()}
    _same(watch, INBOX_BY_TIME.name, set(rows.space(INBOX_BY_TIME)), built)
    for (_, key), entry in inbox.items():
        watch.expect((entry.run_id,) in runs, NAME, f"the key {key} names {entry.run_id}, which is gone")
    armed = {
        (_number(state.sweep_due_ms), state.id, SWEEP)
        for state in rows.space(STATES).values()
        if state.sweep_due_ms is not None
    }
    swept = {parts for parts, each in rows.space(REMINDERS).items() if each.name == SWEEP}
    _same(watch, REMINDERS.name, swept, armed)
    for thread_id in dict.fromkeys(thread_id for thread_id, _ in inbox):
        watch.expect(any(thread_id == each[1] for each in armed), NAME, f"nobody sweeps the inbox of {thread_id}")


def _check_errands(rows: Rows, watch: Watch) -> None:
    """Groups and schedules: their links from both sides, and a reminder for each schedule that waits."""
    groups, schedules, agents = rows.space(GROUPS), rows.space(SCHEDULES), rows.space(AGENTS)
    _same(watch, GROUP_STATES.name, set(rows.space(GROUP_STATES)), set(groups))
    built = {(_number(group.created_at_us), group.id) for group in groups.values()}
    _same(watch, _GROUPS_BY_TIME.name, set(rows.space(_GROUPS_BY_TIME)), built)
    _check_links(rows, watch, MEMBERS, {(member, each.id) for each in groups.values() for member in each.agent_ids})
    led = {(each.manager_id, each.id) for each in groups.values() if each.manager_id is not None}
    _check_links(rows, watch, MANAGED, led)
    _check_links(rows, watch, AGENT_SCHEDULES, {(each.agent_id, each.id) for each in schedules.values()})
    for each in [*schedules.values(), *[group for group in groups.values() if group.manager_id is not None]]:
        agent_id = each.manager_id if isinstance(each, Group) else each.agent_id
        watch.expect((agent_id,) in agents, NAME, f"{each.id} belongs to {agent_id}, which is gone")
    armed = [each.address for each in rows.space(REMINDERS).values() if (each.address,) in schedules]
    waiting = [each.id for each in schedules.values() if each.due_ms is not None]
    watch.expect(sorted(armed) == sorted(waiting), NAME, f"reminders wake {sorted(armed)}, not {sorted(waiting)}")
    said = {*rows.space(TALKS), *rows.space(TALK_TURNS), *rows.space(TALK_PLACES)}
    left = {parts for parts in said if parts[:1] not in groups}
    _same(watch, "talks of groups that are gone", left, set())


def _check_links(rows: Rows, watch: Watch, name: str, built: set) -> None:
    _same(watch, f"{name}_link", set(rows.space(Space(f"{name}_link", Link))), built)
    _same(watch, f"{name}_back", set(rows.space(Space(f"{name}_back", Link))), {(right, left) for left, right in built})


def _check_archives(rows: Rows, watch: Watch) -> None:
    """Archives: who has which, and how many passages are on which shelf at which places."""
    archives, passages, agents = rows.space(ARCHIVES), rows.space(PASSAGES), rows.space(AGENTS)
    built = {(_number(archive.created_at_us), archive.id) for archive in archives.values()}
    _same(watch, _ARCHIVES_BY_TIME.name, set(rows.space(_ARCHIVES_BY_TIME)), built)
    has = {(each.archive_id, agent_id) for (agent_id,), each in rows.space(AGENT_ARCHIVE).items()}
    _same(watch, ARCHIVE_AGENTS.name, set(rows.space(ARCHIVE_AGENTS)), has)
    lost = {pair for pair in has if (pair[0],) not in archives or (pair[1],) not in agents}
    _same(watch, "archives of agents, either of them gone", lost, set())
    counts = {archive_id: 0 for (archive_id,) in archives}
    for (shelf_id, _, passage_id), passage in passages.items():
        counts[shelf_id] = counts.get(shelf_id, 0) + 1
        watch.expect((passage.shelf_id, passage.id) == (shelf_id, passage_id), NAME, f"{passage} is at {shelf_id}")
    _same(watch, SHELVES.name, {(each.id, each.passages) for each in rows.space(SHELVES).values()}, set(counts.items()))
    places = {(shelf_id, _number(place.created_at_us), id) for (shelf_id, id), place in rows.space(PLACES).items()}
    _same(watch, PLACES.name, places, set(passages))


def _same(watch: Watch, what: str, found: set[Parts] | set[str] | set, built: set) -> None:
    if found != built:
        surplus, missing = sorted(found - built)[:5], sorted(built - found)[:5]
        watch.blame(NAME, f"{what}: too many {surplus}, missing {missing}")


def _number(value: int) -> str:
    return f"{value:016x}"
