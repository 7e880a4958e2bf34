"""Tools on the wire: listed, read, counted. Which tools there are is decided when the server starts."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw, Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_cursor
from kelpie.api.letta.values import USER_ID
from kelpie.api.route import Ask, Route
from kelpie.ids import ToolId
from kelpie.tools.tool import Tool

LIMIT_DEFAULT = 50
_TYPES = {"memory": "letta_sleeptime_core", "core": "letta_core", "external": "external_mcp"}
_MEMORY_CORE = ("core_memory_append", "core_memory_replace")


class FunctionOut(Struct, frozen=True, kw_only=True):
    """The tool as the model sees it."""

    name: str
    description: str
    parameters: Raw


class ToolOut(Struct, frozen=True, kw_only=True):
    """A tool as the wire shows it."""

    id: str
    tool_type: str
    description: str | None = None
    source_type: str | None = "python"
    name: str | None = None
    tags: tuple[str, ...] = ()
    source_code: str | None = None
    json_schema: FunctionOut | None = None
    args_json_schema: dict[str, Any] | None = None
    return_char_limit: int
    pip_requirements: list[dict[str, Any]] | None = None
    npm_requirements: list[dict[str, Any]] | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool | None = False
    created_by_id: str | None = USER_ID
    last_updated_by_id: str | None = USER_ID
    metadata_: dict[str, Any] | None = {}
    project_id: str | None = None


class ListTools(Struct, frozen=True, kw_only=True):
    """Which tools, and which page of them."""

    name: str | None = None
    names: list[str] | None = None
    tool_ids: list[str] | None = None
    search: str | None = None
    tool_types: list[str] | None = None
    exclude_tool_types: list[str] | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"


class CountTools(Struct, frozen=True, kw_only=True):
    """Which tools to count."""

    name: str | None = None
    names: list[str] | None = None
    tool_ids: list[str] | None = None
    search: str | None = None
    tool_types: list[str] | None = None
    exclude_tool_types: list[str] | None = None


def show_tool(tool: Tool) -> ToolOut:
    """A tool as the wire shows it."""
    tool_type = "letta_memory_core" if tool.name in _MEMORY_CORE else _TYPES[tool.kind]
    return ToolOut(
        id=tool.id,
        tool_type=tool_type,
        description=tool.description,
        source_type=None if tool.kind == "external" else "python",
        name=tool.name,
        tags=tool.tags or (tool_type,),
        json_schema=FunctionOut(name=tool.name, description=tool.description, parameters=tool.parameters),
        return_char_limit=tool.return_chars_max,
        enable_parallel_execution=tool.read_only,
    )


def page_of_tools(
    tools: Sequence[Tool], *, before: str | None, after: str | None, limit: int, order: Order
) -> list[ToolOut]:
    """A page of tools, the newest first unless `asc` is asked for; the catalogue's order is that of creation."""
    shown = list(tools) if order == "asc" else list(tools)[::-1]
    ids: list[str] = [tool.id for tool in shown]
    first, last = read_cursor("tool", after, "after"), read_cursor("tool", before, "before")
    start = ids.index(first) + 1 if first in ids else 0
    end = ids.index(last) if last in ids else len(ids)
    return [show_tool(tool) for tool in shown[start:end][:limit]]


async def list_tools(house: House, ask: Ask[ListTools, None]) -> list[ToolOut]:
    """All tools, or those that are asked for."""
    query = ask.query
    found = [tool for tool in house.tools.tools if _is_wanted(tool, query)]
    limit = query.limit or LIMIT_DEFAULT
    return page_of_tools(found, before=query.before, after=query.after, limit=limit, order=query.order)


async def count_tools(house: House, ask: Ask[CountTools, None]) -> int:
    """How many tools there are."""
    return sum(_is_wanted(tool, ask.query) for tool in house.tools.tools)


async def retrieve_tool(house: House, ask: Ask[None, None]) -> ToolOut:
    """One tool."""
    return show_tool(house.tools.find(ToolId(ask.path["tool_id"])))


def _is_wanted(tool: Tool, query: ListTools | CountTools) -> bool:
    tool_type = show_tool(tool).tool_type
    if query.name is not None and tool.name != query.name:
        return False
    if query.names and tool.name not in query.names:
        return False
    if query.tool_ids and tool.id not in query.tool_ids:
        return False
    if query.tool_types and tool_type not in query.tool_types:
        return False
    if query.exclude_tool_types and tool_type in query.exclude_tool_types:
        return False
    return query.search is None or query.search.casefold() in f"{tool.name} {tool.description}".casefold()


ROUTES = (
    Route(
        method="GET",
        path="/v1/tools/",
        name="list_tools",
        summary="List tools",
        tag="tools",
        handler=list_tools,
        query=ListTools,
        answer=list[ToolOut],
    ),
    Route(
        method="GET",
        path="/v1/tools/count",
        name="count_tools",
        summary="Count tools",
        tag="tools",
        handler=count_tools,
        query=CountTools,
        answer=int,
    ),
    Route(
        method="GET",
        path="/v1/tools/{tool_id}",
        name="retrieve_tool",
        summary="Read a tool",
        tag="tools",
        handler=retrieve_tool,
        answer=ToolOut,
        refusals=(404,),
    ),
)
