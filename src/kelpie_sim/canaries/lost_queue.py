"""An agent that wakes up has forgotten which accepted messages wait for it."""

import msgspec

from kelpie.agent.owner import ThreadOwner
from kelpie.storage.records import Found
from kelpie_sim.canaries.plant import Canary, replaced

load = ThreadOwner.load


async def load_without_queue(self: ThreadOwner) -> None:
    """As ThreadOwner.load, but nothing waits."""
    await load(self)
    found = self._found
    assert found is not None
    self._found = Found(found.key, msgspec.structs.replace(found.value, queue=()), found.version)


CANARY = Canary(
    name="lost_queue",
    breaks="every accepted message is served",
    workload="conversations",
    checkers=("liveness", "no_lost_turn"),
    plants=(replaced(ThreadOwner, "load", load_without_queue),),
)
