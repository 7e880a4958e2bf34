"""Blocks on the wire: created, read, listed, changed, deleted; and which agents have one."""

from msgspec import Raw, Struct

from kelpie.api.letta.agent_pages import PageOfAgents, page_of_agents
from kelpie.api.letta.agent_shapes import AGENT_SHAPES, AgentOut
from kelpie.api.letta.block_shapes import (
    BlockEdit,
    BlockIn,
    BlockOut,
    list_page,
    read_block_edit,
    read_block_fields,
    show_block,
)
from kelpie.api.letta.house import House
from kelpie.api.letta.identity_shapes import owners_of
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.api.route import Ask, Route
from kelpie.ids import BlockId
from kelpie.memory.blocks import BlockFilter

LIMIT_DEFAULT = 50


class ListBlocks(Struct, frozen=True, kw_only=True):
    """Which blocks, and which page of them."""

    label: str | None = None
    name: str | None = None
    tags: list[str] | None = None
    match_all_tags: bool = False
    templates_only: bool = False
    label_search: str | None = None
    description_search: str | None = None
    value_search: str | None = None
    identity_id: str | None = None
    identifier_keys: list[str] | None = None
    project_id: str | None = None
    connected_to_agents_count_gt: int | None = None
    connected_to_agents_count_lt: int | None = None
    connected_to_agents_count_eq: list[int] | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    before: str | None = None
    after: str | None = None
    order: Order = "asc"
    order_by: str | None = None


class CountBlocks(Struct, frozen=True, kw_only=True):
    """Which blocks to count."""

    label: str | None = None
    name: str | None = None
    tags: list[str] | None = None
    match_all_tags: bool = False
    templates_only: bool = False
    project_id: str | None = None


async def list_blocks(house: House, ask: Ask[ListBlocks, None]) -> list[BlockOut]:
    """All blocks, or those that are asked for."""
    query = ask.query
    owners = await owners_of(house, query.identity_id, query.identifier_keys)
    wanted = BlockFilter(
        label=query.label,
        name=query.name,
        tags=tuple(query.tags or ()),
        all_tags=query.match_all_tags,
        templates_only=query.templates_only,
        label_search=query.label_search,
        description_search=query.description_search,
        value_search=query.value_search,
        project_id=query.project_id,
        among=None if owners is None else await house.identities.blocks_of(owners),
        agents_over=query.connected_to_agents_count_gt,
        agents_under=query.connected_to_agents_count_lt,
        agents_exactly=tuple(query.connected_to_agents_count_eq or ()),
    )
    page = read_page(
        "block",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )
    return [show_block(block) for block in (await list_page(house, wanted, page)).blocks]


async def count_blocks(house: House, ask: Ask[CountBlocks, None]) -> int:
    """How many blocks there are."""
    query = ask.query
    wanted = BlockFilter(
        label=query.label,
        name=query.name,
        tags=tuple(query.tags or ()),
        all_tags=query.match_all_tags,
        templates_only=query.templates_only,
        project_id=query.project_id,
    )
    return await house.blocks.count(wanted)


async def create_block(house: House, ask: Ask[None, BlockIn]) -> BlockOut:
    """A block of its own."""
    return show_block(await house.blocks.store(house.blocks.build(**read_block_fields(ask.body))))


async def retrieve_block(house: House, ask: Ask[None, None]) -> BlockOut:
    """One block."""
    return show_block((await house.blocks.get(BlockId(ask.path["block_id"]))).value)


async def modify_block(house: House, ask: Ask[None, BlockEdit]) -> BlockOut:
    """Edit a block, for all agents that have it."""
    return show_block(await house.roster.update_block(BlockId(ask.path["block_id"]), read_block_edit(ask.body)))


async def delete_block(house: House, ask: Ask[None, None]) -> None:
    """Take it from all agents that have it, and remove it."""
    await house.roster.delete_block(BlockId(ask.path["block_id"]))


async def list_agents_for_block(house: House, ask: Ask[PageOfAgents, None]) -> list[AgentOut | Raw]:
    """The agents that have the block."""
    block_id = BlockId(ask.path["block_id"])
    await house.blocks.get(block_id)
    return await page_of_agents(house, await house.blocks.agents_of(block_id), ask.query)


ROUTES = (
    Route(
        method="GET",
        path="/v1/blocks/",
        name="list_blocks",
        summary="List blocks",
        tag="blocks",
        handler=list_blocks,
        query=ListBlocks,
        answer=list[BlockOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/blocks/count",
        name="count_blocks",
        summary="Count blocks",
        tag="blocks",
        handler=count_blocks,
        query=CountBlocks,
        answer=int,
    ),
    Route(
        method="POST",
        path="/v1/blocks/",
        name="create_block",
        summary="Create a block",
        tag="blocks",
        handler=create_block,
        body=BlockIn,
        answer=BlockOut,
        refusals=(400,),
    ),
    Route(
        method="GET",
        path="/v1/blocks/{block_id}",
        name="retrieve_block",
        summary="Read a block",
        tag="blocks",
        handler=retrieve_block,
        answer=BlockOut,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/blocks/{block_id}",
        name="modify_block",
        summary="Change a block, for all agents that have it",
        tag="blocks",
        handler=modify_block,
        body=BlockEdit,
        answer=BlockOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/blocks/{block_id}",
        name="delete_block",
        summary="Delete a block",
        tag="blocks",
        handler=delete_block,
        answer=None,
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path="/v1/blocks/{block_id}/agents",
        name="list_agents_for_block",
        summary="List the agents that have a block",
        tag="blocks",
        handler=list_agents_for_block,
        query=PageOfAgents,
        answer=list[AgentOut],
        shapes=AGENT_SHAPES,
        refusals=(404,),
    ),
)
