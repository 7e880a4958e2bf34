"""An index in memory is taken for true, whoever has written to its shelf meanwhile."""

from kelpie.memory.passages import Passages
from kelpie.memory.search_index import SearchIndex
from kelpie_sim.canaries.plant import Canary, replaced

index_of = Passages._index


async def index_at_hand(self: Passages, shelf_id: str) -> SearchIndex | None:
    """As Passages._index, without a look at the version."""
    kept = self.indexes.find(shelf_id)
    return await index_of(self, shelf_id) if kept is None else kept.index


CANARY = Canary(
    name="stale_index",
    breaks="an index says what the store says",
    workload="archives",
    checkers=("kept",),
    plants=(replaced(Passages, "_index", index_at_hand),),
)
