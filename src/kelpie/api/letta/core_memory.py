"""The blocks of an agent on the wire: listed, read and changed by label, attached and detached; its window."""

from typing import Literal

from msgspec import Struct

from kelpie.api.letta.agent_shapes import AGENT_SHAPES, AgentOut, MemoryOut, show_agent
from kelpie.api.letta.block_shapes import BlockEdit, BlockOut, read_block_edit, show_block
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_cursor
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId, BlockId
from kelpie.limits import BLOCKS_PER_AGENT_MAX


class PageOfBlocks(Struct, frozen=True, kw_only=True):
    """Which page of an agent's blocks."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = None
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"


async def retrieve_memory(house: House, ask: Ask[None, None]) -> MemoryOut:
    """All blocks of the agent, in the wire's older form."""
    view = await house.roster.get(AgentId(ask.path["agent_id"]))
    return MemoryOut(agent_type=view.settings.kind, blocks=[show_block(block) for block in view.blocks])


async def list_blocks(house: House, ask: Ask[PageOfBlocks, None]) -> list[BlockOut]:
    """The agent's blocks, the last attached first unless asked otherwise."""
    query = ask.query
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    blocks = list(await house.roster.blocks_of(settings))
    if query.order == "desc":
        blocks.reverse()
    ids: list[str] = [block.id for block in blocks]
    first, last = read_cursor("block", query.after, "after"), read_cursor("block", query.before, "before")
    start = ids.index(first) + 1 if first in ids else 0
    end = ids.index(last) if last in ids else len(ids)
    return [show_block(block) for block in blocks[start:end][: query.limit or BLOCKS_PER_AGENT_MAX]]


async def retrieve_block(house: House, ask: Ask[None, None]) -> BlockOut:
    """The agent's block of a label."""
    return show_block(await house.roster.get_block(AgentId(ask.path["agent_id"]), ask.path["block_label"]))


async def modify_block(house: House, ask: Ask[None, BlockEdit]) -> BlockOut:
    """Edit the agent's block of a label, for all agents that have it."""
    block = await house.roster.get_block(AgentId(ask.path["agent_id"]), ask.path["block_label"])
    return show_block(await house.roster.update_block(block.id, read_block_edit(ask.body)))


async def attach_block(house: House, ask: Ask[None, None]) -> AgentOut:
    """Give the agent a block."""
    view = await house.roster.attach_block(AgentId(ask.path["agent_id"]), BlockId(ask.path["block_id"]))
    await house.sleeptime.share(view)
    return await show_agent(house, view)


async def detach_block(house: House, ask: Ask[None, None]) -> AgentOut:
    """Take a block from the agent."""
    view = await house.roster.detach_block(AgentId(ask.path["agent_id"]), BlockId(ask.path["block_id"]))
    return await show_agent(house, view)


ROUTES = (
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/core-memory",
        name="retrieve_agent_memory",
        summary="Read all blocks of an agent",
        tag="agents",
        handler=retrieve_memory,
        answer=MemoryOut,
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/core-memory/blocks",
        name="list_core_memory_blocks",
        summary="List the blocks of an agent",
        tag="agents",
        handler=list_blocks,
        query=PageOfBlocks,
        answer=list[BlockOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/core-memory/blocks/{block_label}",
        name="retrieve_core_memory_block",
        summary="Read a block of an agent by label",
        tag="agents",
        handler=retrieve_block,
        answer=BlockOut,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/core-memory/blocks/{block_label}",
        name="modify_core_memory_block",
        summary="Change a block of an agent by label",
        tag="agents",
        handler=modify_block,
        body=BlockEdit,
        answer=BlockOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/core-memory/blocks/attach/{block_id}",
        name="attach_core_memory_block",
        summary="Give an agent a block",
        tag="agents",
        handler=attach_block,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/core-memory/blocks/detach/{block_id}",
        name="detach_core_memory_block",
        summary="Take a block from an agent",
        tag="agents",
        handler=detach_block,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(404, 409),
    ),
)
