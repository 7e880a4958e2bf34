"""Tools on the wire: listed, read, counted."""

import functools
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.letta.values import USER_ID
from kelpie.api.route import Ask, Route
from kelpie.ids import ToolId
from kelpie.tools.tool import Requirement, Source, Tool, ToolKind

LIMIT_DEFAULT = 50
NO_SOURCE = Source(code="", function="")
TYPES: dict[ToolKind, str] = {
    "core": "letta_core",
    "memory_core": "letta_memory_core",
    "sleeptime": "letta_sleeptime_core",
    "voice_sleeptime": "letta_voice_sleeptime_core",
    "multi_agent": "letta_multi_agent_core",
    "builtin": "letta_builtin",
    "files": "letta_files_core",
    "custom": "custom",
    "mcp": "external_mcp",
    "langchain": "external_langchain",
    "composio": "external_composio",
}


class KeptFields(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the core has no use for: it is given back as it came. `json_schema`: but for its parameters."""

    source_type: str | None = None
    json_schema: Raw = Raw(b"{}")
    args_json_schema: dict[str, Any] | None = None


class ToolOut(Struct, frozen=True, kw_only=True):
    """A tool as the wire shows it."""

    id: str
    tool_type: str
    description: str | None = None
    source_type: str | None = "python"
    name: str | None = None
    tags: tuple[str, ...] = ()
    source_code: str | None = None
    json_schema: dict[str, Any] | None = None
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
    source = tool.source or NO_SOURCE
    kept = msgspec.json.decode(tool.wire, type=KeptFields)
    builtin = tool.created_at_us == 0
    return ToolOut(
        id=tool.id,
        tool_type=TYPES[tool.kind],
        description=tool.description,
        source_type="python" if builtin else kept.source_type,
        name=tool.name,
        tags=tool.tags or ((TYPES[tool.kind],) if builtin else ()),
        source_code=source.code or None,
        json_schema={
            "name": tool.name,
            "description": tool.description,
            **msgspec.json.decode(kept.json_schema),
            "parameters": tool.parameters,
        },
        args_json_schema=kept.args_json_schema,
        return_char_limit=tool.return_chars_max,
        pip_requirements=_show_requirements(source.pip),
        npm_requirements=_show_requirements(source.npm),
        default_requires_approval=tool.asks_approval,
        enable_parallel_execution=tool.read_only if tool.parallel is None else tool.parallel,
        metadata_=msgspec.json.decode(tool.metadata),
    )


def page_of_tools(
    tools: Sequence[Tool], *, before: str | None, after: str | None, limit: int, order: Order
) -> list[ToolOut]:
    """A page of an agent's tools, the last one given first unless `asc` is asked for."""
    shown = list(tools) if order == "asc" else list(tools)[::-1]
    ids: list[str] = [tool.id for tool in shown]
    first, last = read_cursor("tool", after, "after"), read_cursor("tool", before, "before")
    start = ids.index(first) + 1 if first in ids else 0
    end = ids.index(last) if last in ids else len(ids)
    return [show_tool(tool) for tool in shown[start:end][:limit]]


async def list_tools(house: House, ask: Ask[ListTools, None]) -> list[ToolOut]:
    """All tools, or those that are asked for."""
    query = ask.query
    page = read_page(
        "tool",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )
    return [show_tool(tool) for tool in await house.tools.page(page, functools.partial(_is_wanted, query))]


async def count_tools(house: House, ask: Ask[CountTools, None]) -> int:
    """How many tools there are."""
    return await house.tools.count(functools.partial(_is_wanted, ask.query))


async def retrieve_tool(house: House, ask: Ask[None, None]) -> ToolOut:
    """One tool."""
    return show_tool(await house.tools.find(ToolId(ask.path["tool_id"])))


def _show_requirements(requirements: Sequence[Requirement]) -> list[dict[str, Any]] | None:
    return [{"name": one.name, "version": one.version} for one in requirements] or None


def _is_wanted(query: ListTools | CountTools, tool: Tool) -> bool:
    tool_type = TYPES[tool.kind]
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
