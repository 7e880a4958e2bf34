"""Removing an agent: first it is gone for everybody, in one commit; then its rows go, in bounded commits.

After the first commit nothing can find the agent, and a crash in the middle is taken up again by recovery,
because the first commit also leaves the mark of unfinished work.
"""

from kelpie.actor.call import ActorAddress
from kelpie.actor.directory import OWNERS
from kelpie.actor.outbox import Outbox
from kelpie.actor.recovery import begin_work, end_work
from kelpie.actor.tenure import Tenure
from kelpie.agent import inbox
from kelpie.agent.journal import Draft
from kelpie.agent.state import AGENT_RUNS, AGENTS, AGENTS_BY_TIME, RUNS, STATES, AgentState
from kelpie.memory.blocks import BLOCK_LINKS
from kelpie.memory.history import delete_all
from kelpie.storage.records import Batch, Found, Records

RUNS_PER_COMMIT = 100


async def begin(records: Records, draft: Draft) -> None:
    """Make the agent invisible: settings, index and links go; what ran and waited is forgotten."""
    agent_id = draft.state.id
    settings = await records.get(AGENTS.at(agent_id))
    if settings is not None:
        draft.batch.check(settings)
        draft.batch.delete(AGENTS.at(agent_id))
        draft.batch.delete(AGENTS_BY_TIME.at(settings.value.created_at_us, agent_id))
        for ref in settings.value.blocks:
            draft.batch.delete(BLOCK_LINKS.at(ref.id, agent_id))
    begin_work(draft.batch, ActorAddress(agent_id))
    draft.change(deleting=True, turn=None, queue=())


async def finish(records: Records, tenure: Tenure, found: Found[AgentState], outbox: Outbox) -> None:
    """Remove the rows. The last commit takes the state and the owner row with it."""
    agent_id = found.value.id
    assert found.value.deleting
    assert found.value.turn is None and not found.value.queue
    while True:
        runs = await records.scan(AGENT_RUNS, agent_id, limit=RUNS_PER_COMMIT)
        if not runs:
            break
        batch = Batch()
        batch.check(found)
        for run in runs:
            outbox.delete(batch, run.value.id)
            batch.delete(RUNS.at(run.value.id))
            batch.delete(AGENT_RUNS.at(agent_id, run.value.created_at_us, run.value.id))
        await tenure.commit(batch)
    batch = Batch()
    batch.check(found)
    delete_all(batch, agent_id)
    inbox.forget_all(batch, found.value)
    batch.delete(STATES.at(agent_id))
    batch.delete(OWNERS.at(agent_id))
    end_work(batch, ActorAddress(agent_id))
    await tenure.commit(batch)


async def disown(tenure: Tenure) -> None:
    """Of an agent whose removal elsewhere ended between our look and our claim not even the claim stays."""
    batch = Batch()
    batch.delete(OWNERS.at(tenure.address))
    await tenure.commit(batch)
