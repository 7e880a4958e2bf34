"""Of the messages that wait the newest is served first."""

import msgspec

from kelpie.agent.actor import AgentActor
from kelpie.storage.records import Found
from kelpie_sim.canaries.plant import Canary, replaced

begin_queued = AgentActor._begin_queued


async def begin_newest(self: AgentActor) -> None:
    """As AgentActor._begin_queued, from the other end."""
    found = self._found
    assert found is not None
    queue = found.value.queue
    turned = msgspec.structs.replace(found.value, queue=(queue[-1], *queue[:-1]))
    self._found = Found(found.key, turned, found.version)
    await begin_queued(self)


CANARY = Canary(
    name="last_come_first",
    breaks="messages to one agent are served in order",
    workload="conversations",
    checkers=("no_lost_turn",),
    plants=(replaced(AgentActor, "_begin_queued", begin_newest),),
)
