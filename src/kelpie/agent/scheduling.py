"""What an agent that is removed says to its schedules; how they live is in `schedules.py`."""

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import arm
from kelpie.storage.collection import Links
from kelpie.storage.records import Batch, Records

AGENT_SCHEDULES = "agent_schedule"  # links: the agent left
GONE = "gone"  # the reminder by which it says so


async def forget_schedules(records: Records, batch: Batch, agent_id: str) -> None:
    """The agent is removed by this commit, and its schedules are told."""
    for schedule_id in await Links(records, AGENT_SCHEDULES).rights_of(agent_id):
        arm(batch, ActorAddress(schedule_id), GONE, await records.store.now_ms())
