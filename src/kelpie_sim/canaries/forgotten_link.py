"""A block that is taken from an agent keeps its link to it."""

from kelpie.ids import AgentId, BlockId
from kelpie.memory import blocks
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced

unlink = blocks.unlink


def keep_link(batch: Batch, block_id: BlockId, agent_id: AgentId) -> None:
    """The link stays, but for a removal of the block, which would otherwise never come to its end."""
    if not batch.writes:
        unlink(batch, block_id, agent_id)


CANARY = Canary(
    name="forgotten_link",
    breaks="derived data equals what a rebuild gives",
    workload="lifecycle",
    checkers=("derived",),
    plants=(replaced(blocks, "unlink", keep_link),),
)
