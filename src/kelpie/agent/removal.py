"""Removing an agent or a conversation: in one commit it is gone for everybody; then its rows go, in bounded commits.

A small agent that has nothing under way and never had a conversation goes with all its rows in that one commit. After
the first commit nothing can find it, and a crash in the middle is taken up again by recovery, because the first
commit also leaves the mark of unfinished work. An agent goes last: each of its conversations is an actor of its own,
maybe on another node, so it is marked as having unfinished work, is woken, finds its agent gone, and removes itself.
"""

from contextlib import suppress

from kelpie.actor.call import ActorAddress
from kelpie.actor.directory import OWNERS
from kelpie.actor.outbox import Outbox
from kelpie.actor.recovery import begin_work, end_work
from kelpie.actor.tenure import Tenure
from kelpie.agent import inbox, steps
from kelpie.agent.conversations import open_conversations
from kelpie.agent.file_desk import forget_agent
from kelpie.agent.groups import leave_groups
from kelpie.agent.identities import forget_identities
from kelpie.agent.journal import Draft
from kelpie.agent.origin import ORIGINS
from kelpie.agent.scheduling import forget_schedules
from kelpie.agent.state import (
    AGENT_RUNS,
    AGENT_THREADS,
    AGENTS,
    AGENTS_BY_TIME,
    CONVERSATION_RUNS,
    CONVERSATIONS,
    RUN_LOGPROBS,
    RUNS,
    RUNS_BY_TIME,
    STATES,
    AgentSettings,
    AgentState,
    Run,
)
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.errors import Conflict
from kelpie.ids import ConversationId, ThreadId
from kelpie.memory import blocks as block_rows
from kelpie.memory import history
from kelpie.memory.archive import release
from kelpie.memory.blocks import BLOCK_LINKS, BLOCKS
from kelpie.storage.records import Batch, Found, Records
from kelpie.world import Entropy

RUNS_PER_COMMIT = 100
MESSAGES_PER_COMMIT = 200
WRITES_PER_COMMIT = 1_000  # of runs; one more run has TURN_STEPS_MAX steps
THREADS_WOKEN_AT_ONCE = 100


async def at_once(records: Records, found: Found[AgentState], outbox: Outbox) -> Batch | None:
    """The commit that removes an agent with all its rows; None if these are too many, or if something has to end first.

    Nobody else adds rows meanwhile: runs and messages are its owner's, and a first conversation changes the settings.
    """
    state, thread = found.value, found.value.thread
    if thread.conversation_id is not None or state.turn is not None or state.queue:
        return None
    settings = await records.get(AGENTS.at(thread.agent_id))
    if settings is None or settings.value.conversations:
        return None
    batch = Batch()
    batch.check(found)
    runs = [] if state.last_message_at_us is None else await _some_runs(records, thread)
    if len(runs) == RUNS_PER_COMMIT or await _take_messages(records, thread, batch):
        return None
    for run in runs:
        remove_run(batch, run, outbox)
    if len(batch.writes) > WRITES_PER_COMMIT:
        return None
    await _hide_agent(records, batch, settings)
    _take_thread(batch, state)
    if state.shown is not None:
        batch.delete_below(steps.SHOWN, thread.agent_id)
    assert thread.id == thread.agent_id == settings.value.id
    assert len(batch.writes) <= 2 * WRITES_PER_COMMIT
    return batch


async def without_waking(records: Records, thread_id: ThreadId, outbox: Outbox) -> bool:
    """Whether it was an agent that nobody ever woke, and is removed: nobody owns it, and nobody did until the commit.

    Raises NotFound for an agent whose rows are being removed already.
    """
    found, owner = await records.get_two(STATES.at(thread_id), OWNERS.at(thread_id))
    if found is not None and found.value.agent_id is None and found.value.deleting:
        raise thread_not_found(thread_id)
    if found is None or owner is not None:
        return False
    batch = await at_once(records, found, outbox)
    if batch is None:
        return False
    batch.check_absent(OWNERS.at(thread_id))
    try:
        await records.commit(batch)
    except Conflict:
        return False
    return True


async def begin(records: Records, entropy: Entropy, draft: Draft) -> None:
    """Make it invisible: settings, index and links go; what ran and waited is forgotten."""
    thread = draft.state.thread
    if thread.conversation_id is None:
        settings = await records.get(AGENTS.at(thread.agent_id))
        if settings is not None:
            await _hide_agent(records, draft.batch, settings)
    else:
        await _hide_conversation(records, entropy, draft.batch, thread.conversation_id)
    if draft.state.turn is not None:
        steps.forget(draft.batch, (*draft.state.turn.past_steps, draft.state.turn.step_id))
    begin_work(draft.batch, ActorAddress(thread.id))
    draft.step = None
    draft.change(deleting=True, turn=None, queue=())


async def is_left_alone(records: Records, state: AgentState) -> bool:
    """Whether this is a conversation whose agent is gone."""
    return state.agent_id is not None and await records.get(AGENTS.at(state.agent_id)) is None


async def send_off(records: Records, tenure: Tenure, found: Found[AgentState]) -> bool:
    """Have the conversations of an agent that is gone woken; whether any are left.

    The mark is set again for as long as they are there: one that was at work has cleared it with its last step. What
    went between our look and our mark gets none: nobody would clear it any more.
    """
    assert found.value.deleting
    left = await records.scan(AGENT_THREADS, found.value.id, limit=THREADS_WOKEN_AT_ONCE)
    if left:
        batch = Batch()
        batch.check(found)
        for each in left:
            batch.check(each)
            begin_work(batch, ActorAddress(each.value.id))
        with suppress(Conflict):
            await tenure.commit(batch)
    return bool(left)


async def finish(records: Records, tenure: Tenure, found: Found[AgentState], outbox: Outbox) -> None:
    """Remove the rows. The last commit takes the state and the owner row with it."""
    thread = found.value.thread
    assert found.value.deleting
    assert found.value.turn is None and not found.value.queue
    batch = Batch()
    batch.check(found)
    while runs := await _some_runs(records, thread):
        for run in runs:
            remove_run(batch, run, outbox)
            if len(batch.writes) > WRITES_PER_COMMIT:
                await tenure.commit(batch)
                batch = Batch()
                batch.check(found)
        if batch.writes:  # before the next page is read
            await tenure.commit(batch)
            batch = Batch()
            batch.check(found)
    while await _take_messages(records, thread, batch):
        await tenure.commit(batch)
        batch = Batch()
        batch.check(found)
    _take_thread(batch, found.value)
    if thread.conversation_id is not None:
        batch.delete(AGENT_THREADS.at(thread.agent_id, thread.conversation_id))
    else:
        batch.delete_below(steps.SHOWN, thread.agent_id)
    end_work(batch, ActorAddress(thread.id))
    await tenure.commit(batch)


def remove_run(batch: Batch, run: Run, outbox: Outbox) -> None:
    """Remove a run that has ended: its record, its events and its steps, and its places in the lists."""
    outbox.delete(batch, run.id)
    steps.forget(batch, run.step_ids)
    batch.delete(RUNS.at(run.id))
    batch.delete(RUN_LOGPROBS.at(run.id))
    batch.delete(RUNS_BY_TIME.at(run.created_at_us, run.id))
    batch.delete(AGENT_RUNS.at(run.agent_id, run.created_at_us, run.id))
    if run.conversation_id is not None:
        batch.delete(CONVERSATION_RUNS.at(run.conversation_id, run.created_at_us, run.id))


async def disown(tenure: Tenure) -> None:
    """Of a thread whose removal elsewhere ended between our look and our claim not even the claim stays."""
    batch = Batch()
    batch.delete(OWNERS.at(tenure.address))
    await tenure.commit(batch)


async def _hide_agent(records: Records, batch: Batch, settings: Found[AgentSettings]) -> None:
    agent_id = settings.value.id
    batch.check(settings)
    await release(records, batch, agent_id)
    forget_agent(records, batch, settings.value)
    batch.delete(AGENTS.at(agent_id))
    batch.delete(AGENTS_BY_TIME.at(settings.value.created_at_us, agent_id))
    batch.delete_below(ORIGINS, agent_id)
    for ref in settings.value.blocks:
        batch.delete(BLOCK_LINKS.at(ref.id, agent_id))
    forget_identities(records, batch, settings.value)
    await leave_groups(records, batch, agent_id)
    await forget_schedules(records, batch, agent_id)


async def _hide_conversation(records: Records, entropy: Entropy, batch: Batch, conversation_id: ConversationId) -> None:
    """Its own blocks go with it."""
    own = await records.get(CONVERSATIONS.at(conversation_id))
    if own is None:
        return
    open_conversations(records, entropy).remove(batch, own)
    for block in await records.get_all([BLOCKS.at(ref.id) for ref in own.value.blocks]):
        if block is not None:
            block_rows.remove(batch, block)


def _take_thread(batch: Batch, state: AgentState) -> None:
    """Have the commit remove what is left of a thread without runs and messages."""
    inbox.forget_all(batch, state)
    batch.delete(STATES.at(state.id))
    batch.delete(OWNERS.at(state.id))


async def _take_messages(records: Records, thread: Thread, batch: Batch) -> bool:
    """Have the commit remove a page of the history; whether there may be more."""
    messages = await records.scan(history.MESSAGES, thread.id, limit=MESSAGES_PER_COMMIT)
    for message in messages:
        batch.trust(message)  # only the thread's owner writes it
        history.delete(batch, message.value)
    return len(messages) == MESSAGES_PER_COMMIT


async def _some_runs(records: Records, thread: Thread) -> list[Run]:
    """A page of the thread's runs; of an agent's default thread, whose conversations are gone by then, all are its."""
    if thread.conversation_id is None:
        found = await records.scan(AGENT_RUNS, thread.agent_id, limit=RUNS_PER_COMMIT)
    else:
        found = await records.scan(CONVERSATION_RUNS, thread.conversation_id, limit=RUNS_PER_COMMIT)
    runs = await records.get_all([RUNS.at(each.value.id) for each in found])
    assert all(run is not None for run in runs), "a run and its place go in one commit"
    return [run.value for run in runs if run is not None]
