"""Identities on the wire: made, read, listed, changed, removed; given to agents and blocks, and taken from them."""

from msgspec import Raw, Struct

from kelpie.agent.identities import Identity, IdentityChanges, IdentityKind
from kelpie.agent.listing import AgentFilter
from kelpie.api.letta.agent_shapes import AGENT_SHAPES, AgentOut, read_parts, show_agents
from kelpie.api.letta.block_shapes import BlockOut, list_page, show_block
from kelpie.api.letta.house import House
from kelpie.api.letta.identity_shapes import (
    IdentityEdit,
    IdentityIn,
    IdentityOut,
    PropertyIn,
    read_changes,
    read_properties,
    show_view,
)
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId, BlockId
from kelpie.memory.blocks import BlockFilter
from kelpie.storage.paging import Page

LIMIT_DEFAULT = 50
PROJECT_HEADER = b"x-project-id"


class ListIdentities(Struct, frozen=True, kw_only=True):
    """Which identities, and which page of them."""

    name: str | None = None
    project_id: str | None = None
    identifier_key: str | None = None
    identity_type: IdentityKind | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None


class PageOfOwned(Struct, frozen=True, kw_only=True):
    """Which page of what belongs to an identity."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None
    include: list[str] | None = None


async def list_identities(house: House, ask: Ask[ListIdentities, None]) -> list[IdentityOut]:
    """A page of identities, the newest first unless asked otherwise."""
    query = ask.query
    page = _page("identity", query)

    def is_wanted(identity: Identity) -> bool:
        return (
            (query.name is None or query.name.casefold() in identity.name.casefold())
            and (query.project_id is None or identity.project_id == query.project_id)
            and (query.identifier_key is None or identity.key == query.identifier_key)
            and (query.identity_type is None or identity.kind == query.identity_type)
        )

    return [show_view(view) for view in await house.identities.page(page, is_wanted)]


async def count_identities(house: House, ask: Ask[None, None]) -> int:
    """How many there are."""
    return await house.identities.all.count()


async def create_identity(house: House, ask: Ask[None, IdentityIn]) -> IdentityOut:
    """A new identity."""
    return show_view(await house.identities.create(read_changes(ask.body), _project(ask)))


async def upsert_identity(house: House, ask: Ask[None, IdentityIn]) -> IdentityOut:
    """The identity of that key as it is said here; a new one if there is none."""
    return show_view(await house.identities.upsert(read_changes(ask.body), _project(ask)))


async def retrieve_identity(house: House, ask: Ask[None, None]) -> IdentityOut:
    """One identity."""
    return show_view(await house.identities.get(ask.path["identity_id"]))


async def update_identity(house: House, ask: Ask[None, IdentityEdit]) -> IdentityOut:
    """Edit an identity. Properties are added to those that it has, each in the place of one of its key."""
    identity_id = ask.path["identity_id"]
    if ask.body.properties is not None:
        properties = read_properties(ask.body.properties)
        await house.identities.merge_properties(identity_id, properties)
    changes = read_changes(ask.body, with_properties=False)
    return show_view(await house.identities.update(identity_id, changes))


async def upsert_properties(house: House, ask: Ask[None, list[PropertyIn]]) -> IdentityOut:
    """Exactly these properties from now on."""
    changes = IdentityChanges(properties=read_properties(ask.body))
    return show_view(await house.identities.update(ask.path["identity_id"], changes))


async def delete_identity(house: House, ask: Ask[None, None]) -> None:
    """Take it from all agents and blocks, and remove it; agents and blocks stay."""
    await house.identities.delete(ask.path["identity_id"])


async def list_agents_of(house: House, ask: Ask[PageOfOwned, None]) -> list[AgentOut | Raw]:
    """The agents that have the identity."""
    query, identity_id = ask.query, ask.path["identity_id"]
    await house.identities.all.get(identity_id)
    parts = read_parts(query.include, None)
    wanted = AgentFilter(among=await house.identities.agents_of([identity_id]))
    views = await house.listing.agents(wanted, _page("agent", query), with_blocks="agent.blocks" in parts)
    return await show_agents(house, views, parts)


async def list_blocks_of(house: House, ask: Ask[PageOfOwned, None]) -> list[BlockOut]:
    """The blocks that belong to the identity."""
    identity_id = ask.path["identity_id"]
    await house.identities.all.get(identity_id)
    page = _page("block", ask.query)
    wanted = BlockFilter(among=await house.identities.blocks_of([identity_id]))
    return [show_block(block) for block in (await list_page(house, wanted, page)).blocks]


async def attach_to_agent(house: House, ask: Ask[None, None]) -> None:
    """Give the agent an identity."""
    await house.identities.attach_agent(_identity_id(ask), AgentId(ask.path["agent_id"]))


async def detach_from_agent(house: House, ask: Ask[None, None]) -> None:
    """Take an identity from the agent."""
    await house.identities.detach_agent(_identity_id(ask), AgentId(ask.path["agent_id"]))


async def attach_to_block(house: House, ask: Ask[None, None]) -> BlockOut:
    """The block belongs to the identity."""
    block_id = BlockId(ask.path["block_id"])
    await house.identities.attach_block(_identity_id(ask), block_id)
    return show_block((await house.blocks.get(block_id)).value)


async def detach_from_block(house: House, ask: Ask[None, None]) -> BlockOut:
    """The block belongs to the identity no more."""
    block_id = BlockId(ask.path["block_id"])
    block = (await house.blocks.get(block_id)).value
    await house.identities.detach_block(_identity_id(ask), block_id)
    return show_block(block)


def _page(kind: str, query: ListIdentities | PageOfOwned) -> Page:
    return read_page(
        kind,
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )


def _project(ask: Ask[None, IdentityIn]) -> str | None:
    header = ask.headers.get(PROJECT_HEADER, b"").decode("latin-1")
    return ask.body.project_id or header or None


def _identity_id(ask: Ask[None, None]) -> str:
    return ask.path["identity_id"]


ROUTES = (
    Route(
        method="GET",
        path="/v1/identities/",
        name="list_identities",
        summary="List identities",
        tag="identities",
        handler=list_identities,
        query=ListIdentities,
        answer=list[IdentityOut],
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/identities/count",
        name="count_identities",
        summary="Count identities",
        tag="identities",
        handler=count_identities,
        answer=int,
        deprecated=True,
    ),
    Route(
        method="POST",
        path="/v1/identities/",
        name="create_identity",
        summary="Create an identity",
        tag="identities",
        handler=create_identity,
        body=IdentityIn,
        answer=IdentityOut,
        refusals=(400, 404, 409),
        deprecated=True,
    ),
    Route(
        method="PUT",
        path="/v1/identities/",
        name="upsert_identity",
        summary="Create an identity, or make the one of that key as it is said",
        tag="identities",
        handler=upsert_identity,
        body=IdentityIn,
        answer=IdentityOut,
        refusals=(400, 404, 409),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/identities/{identity_id}",
        name="retrieve_identity",
        summary="Read an identity",
        tag="identities",
        handler=retrieve_identity,
        answer=IdentityOut,
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/identities/{identity_id}",
        name="update_identity",
        summary="Change an identity",
        tag="identities",
        handler=update_identity,
        body=IdentityEdit,
        answer=IdentityOut,
        refusals=(400, 404, 409),
        deprecated=True,
    ),
    Route(
        method="DELETE",
        path="/v1/identities/{identity_id}",
        name="delete_identity",
        summary="Delete an identity",
        tag="identities",
        handler=delete_identity,
        answer=None,
        refusals=(404, 409),
        deprecated=True,
    ),
    Route(
        method="PUT",
        path="/v1/identities/{identity_id}/properties",
        name="upsert_properties_for_identity",
        summary="Set the properties of an identity",
        tag="identities",
        handler=upsert_properties,
        body=list[PropertyIn],
        answer=IdentityOut,
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/identities/{identity_id}/agents",
        name="list_agents_for_identity",
        summary="List the agents that have an identity",
        tag="identities",
        handler=list_agents_of,
        query=PageOfOwned,
        answer=list[AgentOut],
        shapes=AGENT_SHAPES,
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/identities/{identity_id}/blocks",
        name="list_blocks_for_identity",
        summary="List the blocks that belong to an identity",
        tag="identities",
        handler=list_blocks_of,
        query=PageOfOwned,
        answer=list[BlockOut],
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/identities/attach/{identity_id}",
        name="attach_identity_to_agent",
        summary="Give an agent an identity",
        tag="agents",
        handler=attach_to_agent,
        answer=None,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/identities/detach/{identity_id}",
        name="detach_identity_from_agent",
        summary="Take an identity from an agent",
        tag="agents",
        handler=detach_from_agent,
        answer=None,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/blocks/{block_id}/identities/attach/{identity_id}",
        name="attach_identity_to_block",
        summary="Say that a block belongs to an identity",
        tag="blocks",
        handler=attach_to_block,
        answer=BlockOut,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/blocks/{block_id}/identities/detach/{identity_id}",
        name="detach_identity_from_block",
        summary="Say that a block belongs to an identity no more",
        tag="blocks",
        handler=detach_from_block,
        answer=BlockOut,
        refusals=(404, 409),
    ),
)
