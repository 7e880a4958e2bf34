"""An agent that wakes up has forgotten which accepted messages wait for it."""

import msgspec

from kelpie.agent.actor import AgentActor
from kelpie.storage.records import Found
from kelpie_sim.canaries.plant import Canary, replaced

load = AgentActor.load


async def load_without_queue(self: AgentActor) -> None:
    """As AgentActor.load, but nothing waits."""
    await load(self)
    found = self._found
    assert found is not None
    self._found = Found(found.key, msgspec.structs.replace(found.value, queue=()), found.version)


CANARY = Canary(
    name="lost_queue",
    breaks="every accepted message is served",
    workload="conversations",
    checkers=("liveness", "no_lost_turn"),
    plants=(replaced(AgentActor, "load", load_without_queue),),
)
