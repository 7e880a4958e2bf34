"""Archives on the wire: made, read, listed, changed, deleted; their passages; the agents that have one."""

from typing import Literal

from msgspec import Raw, Struct

from kelpie.api.letta.agent_pages import PageOfAgents, page_of_agents
from kelpie.api.letta.agent_shapes import AGENT_SHAPES, AgentOut
from kelpie.api.letta.house import House
from kelpie.api.letta.models import EmbeddingConfigOut
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.api.letta.passage_shapes import (
    ArchiveOut,
    CreateArchiveIn,
    PassageIn,
    PassageOut,
    UpdateArchiveIn,
    read_embedding,
    read_passage,
    show_archive,
    show_passages,
)
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId, ArchiveId, PassageId

LIMIT_DEFAULT = 50
SHAPES = (EmbeddingConfigOut,)


class ListArchives(Struct, frozen=True, kw_only=True):
    """Which archives, and which page of them."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"
    name: str | None = None
    agent_id: str | None = None


class PassagesIn(Struct, frozen=True, kw_only=True):
    """Passages to be made."""

    passages: list[PassageIn]


async def create_archive(house: House, ask: Ask[None, CreateArchiveIn]) -> ArchiveOut:
    """A new archive. Its embedding model is the one named, or the built-in one, for as long as it lasts."""
    info = await house.embeddings.find(read_embedding(ask.body))
    archive = house.archives.build(ask.body.name, info.handle, description=ask.body.description)
    return await show_archive(house, await house.archives.store(archive))


async def list_archives(house: House, ask: Ask[ListArchives, None]) -> list[ArchiveOut]:
    """A page of archives, the newest first unless asked otherwise."""
    query = ask.query
    page = read_page(
        "archive",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )
    only = None
    if query.agent_id is not None:
        agent_id = AgentId(query.agent_id)
        await house.archival.settings(agent_id)
        only = await house.archives.of_agent(agent_id)
        if only is None:
            return []
    archives = await house.archives.page(page, query.name, only)
    return [await show_archive(house, archive) for archive in archives]


async def retrieve_archive(house: House, ask: Ask[None, None]) -> ArchiveOut:
    """One archive."""
    return await show_archive(house, await house.archives.get(ask.path["archive_id"]))


async def modify_archive(house: House, ask: Ask[None, UpdateArchiveIn]) -> ArchiveOut:
    """Change the name or the description."""
    changed = await house.archives.edit(ask.path["archive_id"], ask.body.name, ask.body.description)
    return await show_archive(house, changed)


async def delete_archive(house: House, ask: Ask[None, None]) -> None:
    """Remove an archive with its passages; agents that had it have none."""
    await house.archives.delete(ask.path["archive_id"])


async def list_agents_for_archive(house: House, ask: Ask[PageOfAgents, None]) -> list[AgentOut | Raw]:
    """The agents that have the archive."""
    archive_id = ask.path["archive_id"]
    await house.archives.get(archive_id)
    return await page_of_agents(house, await house.archives.agents_of(archive_id), ask.query)


async def create_passage_in_archive(house: House, ask: Ask[None, PassageIn]) -> PassageOut:
    """Add a passage."""
    archive = await house.archives.get(ask.path["archive_id"])
    (shown,) = await show_passages(
        house, await house.archives.insert(archive.id, [read_passage(ask.body)]), archive.embedding
    )
    return shown


async def create_passages_in_archive(house: House, ask: Ask[None, PassagesIn]) -> list[PassageOut]:
    """Add several passages."""
    archive = await house.archives.get(ask.path["archive_id"])
    new = [read_passage(wire, ("body", "passages", at)) for at, wire in enumerate(ask.body.passages)]
    return await show_passages(house, await house.archives.insert(archive.id, new), archive.embedding)


async def delete_passage_from_archive(house: House, ask: Ask[None, None]) -> None:
    """Remove a passage."""
    await house.archives.remove(ask.path["archive_id"], PassageId(ask.path["passage_id"]))


async def attach_archive_to_agent(house: House, ask: Ask[None, None]) -> None:
    """Give an agent an archive; it has at most one."""
    await house.archival.attach(AgentId(ask.path["agent_id"]), ArchiveId(ask.path["archive_id"]))


async def detach_archive_from_agent(house: House, ask: Ask[None, None]) -> None:
    """Take the archive from an agent; the archive stays."""
    await house.archival.detach(AgentId(ask.path["agent_id"]), ArchiveId(ask.path["archive_id"]))


ROUTES = (
    Route(
        method="POST",
        path="/v1/archives/",
        name="create_archive",
        summary="Create an archive",
        tag="archives",
        handler=create_archive,
        body=CreateArchiveIn,
        answer=ArchiveOut,
        shapes=SHAPES,
        refusals=(400, 404, 502, 503),
    ),
    Route(
        method="GET",
        path="/v1/archives/",
        name="list_archives",
        summary="List archives",
        tag="archives",
        handler=list_archives,
        query=ListArchives,
        answer=list[ArchiveOut],
        shapes=SHAPES,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/archives/{archive_id}",
        name="retrieve_archive",
        summary="Read an archive",
        tag="archives",
        handler=retrieve_archive,
        answer=ArchiveOut,
        shapes=SHAPES,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/archives/{archive_id}",
        name="modify_archive",
        summary="Change the name or description of an archive",
        tag="archives",
        handler=modify_archive,
        body=UpdateArchiveIn,
        answer=ArchiveOut,
        shapes=SHAPES,
        refusals=(404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/archives/{archive_id}",
        name="delete_archive",
        summary="Delete an archive with its passages",
        tag="archives",
        handler=delete_archive,
        answer=None,
        status=204,
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path="/v1/archives/{archive_id}/agents",
        name="list_agents_for_archive",
        summary="List the agents that have an archive",
        tag="archives",
        handler=list_agents_for_archive,
        query=PageOfAgents,
        answer=list[AgentOut],
        shapes=AGENT_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/archives/{archive_id}/passages",
        name="create_passage_in_archive",
        summary="Add a passage to an archive",
        tag="archives",
        handler=create_passage_in_archive,
        body=PassageIn,
        answer=PassageOut,
        shapes=SHAPES,
        refusals=(400, 404, 409, 503),
    ),
    Route(
        method="POST",
        path="/v1/archives/{archive_id}/passages/batch",
        name="create_passages_in_archive",
        summary="Add passages to an archive",
        tag="archives",
        handler=create_passages_in_archive,
        body=PassagesIn,
        answer=list[PassageOut],
        shapes=SHAPES,
        refusals=(400, 404, 409, 503),
    ),
    Route(
        method="DELETE",
        path="/v1/archives/{archive_id}/passages/{passage_id}",
        name="delete_passage_from_archive",
        summary="Remove a passage from an archive",
        tag="archives",
        handler=delete_passage_from_archive,
        answer=None,
        status=204,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/archives/attach/{archive_id}",
        name="attach_archive_to_agent",
        summary="Give an agent an archive",
        tag="agents",
        handler=attach_archive_to_agent,
        answer=None,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/archives/detach/{archive_id}",
        name="detach_archive_from_agent",
        summary="Take the archive from an agent",
        tag="agents",
        handler=detach_archive_from_agent,
        answer=None,
        refusals=(404, 409),
    ),
)
