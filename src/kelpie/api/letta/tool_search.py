"""Tools found by what they do: words, vectors, or both, whose ranks are fused."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.tools import TYPES, ToolOut, check_types, show_tool
from kelpie.api.route import Ask, Route
from kelpie.limits import PAGE_ROWS_MAX, TOOLS_FOUND_MAX
from kelpie.llm.embedding import BUILT_IN
from kelpie.storage.paging import Page
from kelpie.tools.tool import Tool

FUSED_FROM = 60  # of reciprocal rank fusion: how little the first ranks weigh against the next ones
NAME_WEIGHT = 3  # of a word in the name, against one in the description


class SearchIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to look for."""

    query: str | None = None
    search_mode: Literal["vector", "fts", "hybrid"] = "hybrid"
    tool_types: list[str] | None = None
    tags: list[str] | None = None
    limit: Annotated[int, Meta(ge=1, le=TOOLS_FOUND_MAX)] = 50


class FoundOut(Struct, frozen=True, kw_only=True):
    """A tool, and how it was found."""

    tool: ToolOut
    embedded_text: str | None
    fts_rank: int | None = None
    vector_rank: int | None = None
    combined_score: float


async def search_tools(house: House, ask: Ask[None, SearchIn]) -> list[FoundOut]:
    """The tools that fit best first; without a query, the newest."""
    wire = ask.body
    check_types(wire.tool_types)

    def is_wanted(tool: Tool) -> bool:
        fits = not wire.tool_types or TYPES[tool.kind] in wire.tool_types
        return fits and (not wire.tags or bool(set(wire.tags) & set(show_tool(tool).tags)))

    tools = await house.tools.page(Page(limit=PAGE_ROWS_MAX), is_wanted)
    texts = [text_of(tool) for tool in tools]
    if not wire.query or not tools:
        ranks = [(at, None, None, 1 / (FUSED_FROM + at + 1)) for at in range(len(tools))]
    else:
        by_words = rank_words(wire.query, tools) if wire.search_mode != "vector" else []
        by_vectors = await _rank_vectors(house, wire.query, texts) if wire.search_mode != "fts" else []
        ranks = fuse(by_words, by_vectors)
    return [
        FoundOut(
            tool=show_tool(tools[at]),
            embedded_text=texts[at],
            fts_rank=word_rank,
            vector_rank=vector_rank,
            combined_score=score,
        )
        for at, word_rank, vector_rank, score in ranks[: wire.limit]
    ]


def text_of(tool: Tool) -> str:
    """What is said of a tool."""
    return "\n".join(filter(None, [tool.name.replace("_", " "), tool.description, " ".join(tool.tags)]))


def rank_words(query: str, tools: Sequence[Tool]) -> list[int]:
    """The places of the tools that have words of the query, best first; ties in their order."""
    words = set(query.casefold().replace("_", " ").split())
    scores = []
    for at, tool in enumerate(tools):
        name, text = tool.name.casefold().replace("_", " "), text_of(tool).casefold()
        score = sum(NAME_WEIGHT if word in name else word in text for word in words)
        scores.append((-score, at))
    return [at for score, at in sorted(scores) if score]


def fuse(by_words: Sequence[int], by_vectors: Sequence[int]) -> list[tuple[int, int | None, int | None, float]]:
    """(place, rank by words, rank by vectors, score) of what either found, best first; ranks begin with 1."""
    word_ranks = {at: rank for rank, at in enumerate(by_words, 1)}
    vector_ranks = {at: rank for rank, at in enumerate(by_vectors, 1)}
    fused = []
    for at in {**word_ranks, **vector_ranks}:
        ranks = (word_ranks.get(at), vector_ranks.get(at))
        fused.append((at, *ranks, sum(1 / (FUSED_FROM + rank) for rank in ranks if rank is not None)))
    return sorted(fused, key=lambda one: (-one[3], one[0]))


async def _rank_vectors(house: House, query: str, texts: Sequence[str]) -> list[int]:
    """The places of all tools, the most similar first, by the built-in embedding, which costs nothing."""
    vectors = await house.embeddings.embed(BUILT_IN.handle, [query, *texts])
    similar = vectors[1:] @ vectors[0]
    return [int(at) for at in np.argsort(-similar, kind="stable") if similar[at] > 0]


ROUTES = (
    Route(
        method="POST",
        path="/v1/tools/search",
        name="search_tools",
        summary="Find tools by what they do",
        tag="tools",
        handler=search_tools,
        body=SearchIn,
        answer=list[FoundOut],
        refusals=(400,),
    ),
)
