"""Tools on the wire: listed, read, counted."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.letta.values import USER_ID
from kelpie.api.route import Ask, Route
from kelpie.errors import InvalidInput
from kelpie.ids import ToolId
from kelpie.tools.tool import Requirement, Source, Tool, ToolKind

LIMIT_DEFAULT = 50
BUILTIN_PREFIX = "letta_"
NO_SOURCE = Source(code="")
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
    """What the core has no use for: it is given back as it came.

    `description`: where it is another than the model is told. `json_schema`: but for what the model is told.
    """

    source_type: str | None = None
    description: str | None = None
    json_schema: Raw = Raw(b"{}")


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
    return_only_letta_tools: bool | None = False
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: Literal["created_at"] | None = None


class CountTools(Struct, frozen=True, kw_only=True):
    """Which tools to count."""

    name: str | None = None
    names: list[str] | None = None
    tool_ids: list[str] | None = None
    search: str | None = None
    tool_types: list[str] | None = None
    exclude_tool_types: list[str] | None = None
    return_only_letta_tools: bool | None = False
    exclude_letta_tools: bool | None = False


def show_tool(tool: Tool) -> ToolOut:
    """A tool as the wire shows it."""
    source = tool.source or NO_SOURCE
    kept = msgspec.json.decode(tool.wire, type=KeptFields)
    builtin = tool.created_at_us == 0
    return ToolOut(
        id=tool.id,
        tool_type=TYPES[tool.kind],
        description=tool.description if kept.description is None else kept.description,
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
        args_json_schema=None if tool.source is None else msgspec.json.decode(source.args_schema),
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
    return [show_tool(tool) for tool in await house.tools.page(page, _wanted(query))]


async def count_tools(house: House, ask: Ask[CountTools, None]) -> int:
    """How many tools there are."""
    return await house.tools.count(_wanted(ask.query))


async def retrieve_tool(house: House, ask: Ask[None, None]) -> ToolOut:
    """One tool."""
    return show_tool(await house.tools.find(ToolId(ask.path["tool_id"])))


def _show_requirements(requirements: Sequence[Requirement]) -> list[dict[str, Any]] | None:
    return [{"name": one.name, "version": one.version} for one in requirements] or None


def check_types(names: Sequence[str] | None) -> None:
    """InvalidInput unless these are types of tools."""
    for name in names or ():
        if name not in TYPES.values():
            known = ", ".join(TYPES.values())
            raise InvalidInput(f"Invalid tool_type '{name[:80]}'. Must be one of: {known}", field="tool_types")


def _wanted(query: ListTools | CountTools) -> Callable[[Tool], bool]:
    """Whether a tool is asked for. Raises InvalidInput for a type that is none."""
    names, ids = _split(query.names), _split(query.tool_ids)
    types, others = _split(query.tool_types), _split(query.exclude_tool_types)
    check_types(types)
    check_types(others)
    without_builtin = isinstance(query, CountTools) and query.exclude_letta_tools

    def is_wanted(tool: Tool) -> bool:
        kind = TYPES[tool.kind]
        is_builtin = kind.startswith(BUILTIN_PREFIX)
        return (
            (query.name is None or tool.name == query.name)
            and (not names or tool.name in names)
            and (not ids or tool.id in ids)
            and (not types or kind in types)
            and kind not in others
            and not (query.return_only_letta_tools and not is_builtin)
            and not (without_builtin and is_builtin)
            and (query.search is None or query.search.casefold() in tool.name.casefold())
        )

    return is_wanted


def _split(values: list[str] | None) -> list[str]:
    """Repeated parameters, or one with commas."""
    return [one.strip() for value in values or () for one in value.split(",") if one.strip()]


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
        refusals=(400,),
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
        refusals=(400,),
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
