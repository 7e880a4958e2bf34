"""Passages on the wire: what an agent keeps in its archive, searches over archives, and the room that vectors take."""

from typing import Annotated

from msgspec import Meta, Struct

from kelpie.agent.archival_tools import FOUND_DEFAULT
from kelpie.agent.moments import UTC, show_moment, zone_of
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.models import EmbeddingConfigOut
from kelpie.api.letta.paging import PageLimit, read_page
from kelpie.api.letta.passage_shapes import (
    PassageIn,
    PassageOut,
    TagMatch,
    read_date,
    read_passage,
    show_passages,
)
from kelpie.api.letta.values import MessageOut
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId, PassageId
from kelpie.memory.archive import PassageQuery
from kelpie.memory.passages import FoundPassage, Passage

LIMIT_DEFAULT = 100
FOUND_LIMIT_DEFAULT = 50
UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
SHAPES = (EmbeddingConfigOut,)
Count = Annotated[int, Meta(ge=1)]


class ListPassages(Struct, frozen=True, kw_only=True):
    """Which page of what the agent keeps."""

    after: str | None = None
    before: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    search: str | None = None
    ascending: bool | None = True


class SearchArchivalMemory(Struct, frozen=True, kw_only=True):
    """What to look for in the agent's archive."""

    query: str | None = None
    tags: list[str] | None = None
    tag_match_mode: TagMatch = "any"
    top_k: Count | None = None
    start_datetime: str | None = None
    end_datetime: str | None = None


class ArchivalHitOut(Struct, frozen=True, kw_only=True):
    """A passage that was found."""

    id: str
    timestamp: str
    content: str
    tags: tuple[str, ...]


class ArchivalHitsOut(Struct, frozen=True, kw_only=True):
    """What was found, best first."""

    results: list[ArchivalHitOut]
    count: int


class SearchPassagesIn(Struct, frozen=True, kw_only=True):
    """What to look for, and where: in the archive of an agent, in an archive, in all of them."""

    query: str | None = None
    agent_id: str | None = None
    archive_id: str | None = None
    tags: list[str] | None = None
    tag_match_mode: TagMatch = "any"
    limit: Annotated[int, Meta(ge=1, le=100)] = FOUND_LIMIT_DEFAULT
    start_date: str | None = None
    end_date: str | None = None


class RanksOut(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How it was found."""

    combined_score: float | None = None
    vector_rank: int | None = None
    fts_rank: int | None = None


class PassageHitOut(Struct, frozen=True, kw_only=True):
    """A passage that was found, and how well it fits."""

    passage: PassageOut
    score: float
    metadata: RanksOut


async def list_passages(house: House, ask: Ask[ListPassages, None]) -> list[PassageOut]:
    """A page of what the agent keeps, the oldest first unless asked otherwise."""
    query = ask.query
    page = read_page(
        "passage",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order="desc" if query.ascending is False else "asc",
        limit_default=LIMIT_DEFAULT,
    )
    return await _show(house, await house.archival.page(AgentId(ask.path["agent_id"]), page, query.search))


async def create_passage(house: House, ask: Ask[None, PassageIn]) -> list[PassageOut]:
    """Keep a passage in the agent's archive, which is made if there is none."""
    return await _show(house, await house.archival.insert(AgentId(ask.path["agent_id"]), [read_passage(ask.body)]))


async def search_archival_memory(house: House, ask: Ask[SearchArchivalMemory, None]) -> ArchivalHitsOut:
    """What fits best of what the agent keeps; times without an offset are in the agent's time zone."""
    query, agent_id = ask.query, AgentId(ask.path["agent_id"])
    if query.query is None:
        raise Malformed("Field required", place=("query", "query"), kind="missing")
    zone = zone_of((await house.archival.settings(agent_id)).timezone)
    asked = PassageQuery(
        text=query.query,
        tags=tuple(query.tags or ()),
        all_tags=query.tag_match_mode == "all",
        from_us=read_date(query.start_datetime, ("query", "start_datetime"), zone),
        to_us=read_date(query.end_datetime, ("query", "end_datetime"), zone, end_of_day=True),
        limit=query.top_k or FOUND_DEFAULT,
    )
    shown = [
        ArchivalHitOut(
            id=found.passage.id,
            timestamp=show_moment(found.passage.created_at_us, zone),
            content=found.passage.text,
            tags=found.passage.tags,
        )
        for found in await house.archival.search(agent_id, asked)
    ]
    return ArchivalHitsOut(results=shown, count=len(shown))


async def delete_passage(house: House, ask: Ask[None, None]) -> MessageOut:
    """Forget a passage."""
    passage_id = PassageId(ask.path["memory_id"])
    await house.archival.remove(AgentId(ask.path["agent_id"]), passage_id)
    return MessageOut(message=f"Memory id={passage_id} successfully deleted")


async def search_passages(house: House, ask: Ask[None, SearchPassagesIn]) -> list[PassageHitOut]:
    """The best passages of one or all archives, best first; without a query, the newest."""
    body = ask.body
    asked = PassageQuery(
        text=(body.query or "").strip(),
        tags=tuple(body.tags or ()),
        all_tags=body.tag_match_mode == "all",
        from_us=read_date(body.start_date, ("body", "start_date"), UTC),
        to_us=read_date(body.end_date, ("body", "end_date"), UTC, end_of_day=True),
        limit=body.limit,
    )
    found = await house.archives.search_some(await _archives_asked(house, body), asked)
    shown = await _show(house, [one.passage for one in found])
    return [_show_hit(passage, one) for passage, one in zip(shown, found, strict=True)]


async def get_total_storage_size(house: House, ask: Ask[None, None]) -> float:
    """How much room all vectors take, in the unit that the header `storage_unit` names."""
    unit = ask.headers.get(b"storage_unit", b"GB").decode("latin-1").upper()
    if unit not in UNITS:
        raise Malformed(f"the unit is one of {', '.join(UNITS)}", place=("header", "storage_unit"))
    shelves = await house.archives.passages.shelves()
    return sum(shelf.passages * shelf.dimensions * 4 for shelf in shelves) / UNITS[unit]


async def _archives_asked(house: House, body: SearchPassagesIn) -> list[str] | None:
    """The archives to search; None: all of them."""
    if body.agent_id is not None:
        agent_id = AgentId(body.agent_id)
        await house.archival.settings(agent_id)
        archive_id = await house.archives.of_agent(agent_id)
        return [] if archive_id is None else [archive_id]
    if body.archive_id is not None:
        await house.archives.get(body.archive_id)
        return [body.archive_id]
    return None


async def _show(house: House, passages: list[Passage]) -> list[PassageOut]:
    """Passages of any archives."""
    shown: list[PassageOut] = []
    handles: dict[str, str] = {}
    for passage in passages:
        if passage.shelf_id not in handles:
            handles[passage.shelf_id] = (await house.archives.passages.get_shelf(passage.shelf_id)).value.embedding
        shown += await show_passages(house, [passage], handles[passage.shelf_id])
    return shown


def _show_hit(passage: PassageOut, found: FoundPassage) -> PassageHitOut:
    hit = found.hit
    if hit.vector_rank is None and hit.text_rank is None:
        return PassageHitOut(passage=passage, score=hit.score, metadata=RanksOut())
    ranks = RanksOut(combined_score=hit.score, vector_rank=hit.vector_rank, fts_rank=hit.text_rank)
    return PassageHitOut(passage=passage, score=hit.score, metadata=ranks)


ROUTES = (
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/archival-memory",
        name="list_passages",
        summary="List what an agent keeps in its archive",
        tag="agents",
        handler=list_passages,
        query=ListPassages,
        answer=list[PassageOut],
        shapes=SHAPES,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/archival-memory",
        name="create_passage",
        summary="Keep a passage in an agent's archive",
        tag="agents",
        handler=create_passage,
        body=PassageIn,
        answer=list[PassageOut],
        shapes=SHAPES,
        refusals=(400, 404, 409, 503),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/archival-memory/search",
        name="search_archival_memory",
        summary="Search an agent's archive by meaning and by words",
        tag="agents",
        handler=search_archival_memory,
        query=SearchArchivalMemory,
        answer=ArchivalHitsOut,
        refusals=(400, 404, 503),
    ),
    Route(
        method="DELETE",
        path="/v1/agents/{agent_id}/archival-memory/{memory_id}",
        name="delete_passage",
        summary="Remove a passage from an agent's archive",
        tag="agents",
        handler=delete_passage,
        answer=MessageOut,
        refusals=(404, 409),
    ),
    Route(
        method="POST",
        path="/v1/passages/search",
        name="search_passages",
        summary="Search passages of all archives",
        tag="passages",
        handler=search_passages,
        body=SearchPassagesIn,
        answer=list[PassageHitOut],
        shapes=SHAPES,
        refusals=(400, 404, 503),
    ),
    Route(
        method="GET",
        path="/v1/embeddings/total_storage_size",
        name="get_total_storage_size",
        summary="The room that all vectors take",
        tag="embeddings",
        handler=get_total_storage_size,
        answer=float,
    ),
)
