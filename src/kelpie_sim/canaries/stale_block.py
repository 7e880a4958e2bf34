"""A memory tool's edit is written without a look at whether the block is still as it was read: an edit is lost."""

from kelpie.agent import memory_tools
from kelpie.memory.blocks import BLOCKS, Block
from kelpie.storage.records import Batch, Found
from kelpie_sim.canaries.plant import Canary, replaced


def put_blindly(batch: Batch, found: Found[Block], block: Block, by: str | None = None) -> Block:
    """As put_changed, without its check."""
    batch.put(BLOCKS.at(block.id), block)
    return block


CANARY = Canary(
    name="stale_block",
    breaks="no edit of a block is lost",
    workload="shared_memory",
    checkers=("linearizable",),
    plants=(replaced(memory_tools, "put_changed", put_blindly),),
)
