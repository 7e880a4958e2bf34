"""Gives the first shared block a history, by the retired server's own code: no route of it writes one.

Run by the server's own Python: `LETTA_PG_URI=... venv/bin/python history.py`.
"""

import asyncio

from letta.schemas.block import BlockUpdate
from letta.services.block_manager import BlockManager
from letta.services.user_manager import UserManager


async def main() -> None:
    """Three checkpoints, then one undone."""
    blocks, actor = BlockManager(), await UserManager().get_default_actor_async()
    block = (await blocks.get_blocks_async(actor=actor, label="company"))[0]
    for value in ("Acme. Makes anvils.", "Acme. Makes anvils and rockets.", "Acme. Makes everything."):
        await blocks.update_block_async(block.id, BlockUpdate(value=value), actor=actor)
        await blocks.checkpoint_block_async(block_id=block.id, actor=actor)
    await blocks.undo_checkpoint_block(block_id=block.id, actor=actor)


asyncio.run(main())
