"""What blocks said before, on the wire: listed, and said again. The retired server kept but did not serve it."""

from msgspec import Struct

from kelpie.api.letta.block_shapes import BlockOut, show_block
from kelpie.api.letta.house import House
from kelpie.api.letta.values import micros_date
from kelpie.api.route import Ask, Route
from kelpie.errors import NotFound
from kelpie.ids import BlockId
from kelpie.memory.block_history import list_versions
from kelpie.memory.blocks import BlockChanges


class BlockVersionOut(Struct, frozen=True, kw_only=True):
    """A value that was replaced. `replaced_by` is the agent that did; null: a person."""

    revision: int
    value: str
    replaced_at: str
    replaced_by: str | None


class RestoreIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which of the values that are kept; nothing said: the newest, which undoes the last change."""

    revision: int | None = None


async def list_block_history(house: House, ask: Ask[None, None]) -> list[BlockVersionOut]:
    """The values that are kept, the newest first."""
    block_id = BlockId(ask.path["block_id"])
    await house.blocks.get(block_id)
    return [
        BlockVersionOut(
            revision=one.revision,
            value=one.value,
            replaced_at=micros_date(one.replaced_at_us),
            replaced_by=one.replaced_by,
        )
        for one in await list_versions(house.records, block_id)
    ]


async def restore_block(house: House, ask: Ask[None, RestoreIn | None]) -> BlockOut:
    """Have the block say again what it said, for all agents that have it; what it says now is kept like any value."""
    block_id, wanted = BlockId(ask.path["block_id"]), (ask.body or RestoreIn()).revision
    await house.blocks.get(block_id)
    kept = await list_versions(house.records, block_id)
    chosen = [one for one in kept if wanted is None or one.revision == wanted]
    if not chosen:
        what = "an earlier value" if wanted is None else f"revision {wanted}"
        raise NotFound(f"Block '{block_id}' has not kept {what}", block_id=block_id)
    return show_block(await house.roster.update_block(block_id, BlockChanges(value=chosen[0].value)))


ROUTES = (
    Route(
        method="GET",
        path="/v1/blocks/{block_id}/history",
        name="list_block_history",
        summary="List what a block said before",
        tag="blocks",
        handler=list_block_history,
        answer=list[BlockVersionOut],
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/blocks/{block_id}/restore",
        name="restore_block",
        summary="Have a block say again what it said before",
        tag="blocks",
        handler=restore_block,
        body=RestoreIn | None,
        body_needed=False,
        answer=BlockOut,
        refusals=(404, 409),
    ),
)
