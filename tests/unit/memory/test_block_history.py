"""The values that a block had: kept by the commit that replaces them, the oldest let go, all gone with the block."""

import msgspec

from kelpie.ids import BlockId
from kelpie.limits import BLOCK_VERSIONS_MAX
from kelpie.memory.block_history import BLOCK_VERSIONS, list_versions
from kelpie.memory.blocks import BlockChanges, Blocks, put_changed, remove
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.records import Batch, Records
from kelpie.system import system_world


def rooms() -> tuple[Records, Blocks]:
    world = system_world()
    records = Records(CheckedStore(MemoryStore(world)))
    return records, Blocks(records, world)


async def said(records: Records, block_id: BlockId) -> list[tuple[int, str, str | None]]:
    return [(one.revision, one.value, one.replaced_by) for one in await list_versions(records, block_id)]


async def write(records: Records, blocks: Blocks, block_id: BlockId, value: str, by: str) -> None:
    found, batch = await blocks.get(block_id), Batch()
    put_changed(batch, found, msgspec.structs.replace(found.value, value=value), by)
    await records.commit(batch)


def test_a_value_that_is_replaced_is_kept_with_who_replaced_it(run) -> None:
    """The newest first; an edit of anything else keeps nothing."""

    async def play() -> None:
        records, blocks = rooms()
        block = await blocks.store(blocks.build(label="l", value="one"))
        await blocks.update(block.id, BlockChanges(description="d"))
        assert await said(records, block.id) == []
        await blocks.update(block.id, BlockChanges(value="two"))
        await write(records, blocks, block.id, "three", "agent-1")
        assert await said(records, block.id) == [(1, "two", "agent-1"), (0, "one", None)]

    run(play())


def test_the_oldest_values_go_and_all_go_with_the_block(run) -> None:
    """Of more than BLOCK_VERSIONS_MAX changes the last ones are kept."""

    async def play() -> None:
        records, blocks = rooms()
        block = await blocks.store(blocks.build(label="l", value="0"))
        for number in range(1, BLOCK_VERSIONS_MAX + 4):
            await blocks.update(block.id, BlockChanges(value=str(number)))
        kept = [value for _, value, _ in await said(records, block.id)]
        assert kept == [str(number) for number in range(BLOCK_VERSIONS_MAX + 2, 2, -1)]
        batch = Batch()
        remove(batch, await blocks.get(block.id))
        await records.commit(batch)
        assert await records.scan(BLOCK_VERSIONS, block.id, limit=10) == []

    run(play())
