"""Of many passages some are stored, then the store is away, and the client is told that nothing happened."""

from collections.abc import Callable, Sequence

from kelpie.memory import passages
from kelpie.memory.passages import Passage, Passages
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced


async def add_carelessly(
    self: Passages, shelf_id: str, new: Sequence[Passage], also: Callable[[Batch], None] | None = None
) -> list[Passage]:
    """As Passages.add, but the first error is the answer."""
    stored: list[Passage] = []
    async with self._lock(shelf_id):
        for some in passages._in_commits(new):
            stored += await self._add_some(shelf_id, some, also)
    return stored


CANARY = Canary(
    name="half_batch",
    breaks="nothing happened means that nothing happened",
    workload="archives",
    checkers=("kept",),
    plants=(replaced(Passages, "add", add_carelessly),),
)
