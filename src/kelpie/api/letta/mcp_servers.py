"""Tool servers: added, listed, changed and removed; their tools listed, refreshed and run; logins."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct

from kelpie.agent.roster import not_found
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.mcp_connect import connect_stream
from kelpie.api.letta.mcp_shapes import (
    CreateServerIn,
    RemoteOut,
    StdioOut,
    UpdateServerIn,
    read_server,
    show_server,
)
from kelpie.api.letta.tools import ToolOut, show_tool
from kelpie.api.route import Ask, Route, one_of
from kelpie.api.sse import EventStream
from kelpie.errors import InvalidInput, NotFound
from kelpie.ids import AgentId, McpServerId, ToolId, parse_id
from kelpie.tools.mcp_servers import McpServer, Synced
from kelpie.tools.schema import check_arguments
from kelpie.tools.tool import Tool, ToolOutcome, clip_outcome

SHAPES = (StdioOut, RemoteOut)
SHOWN = Annotated[Any, one_of(*SHAPES)]
ServerOut = StdioOut | RemoteOut


class RefreshQuery(Struct, frozen=True, kw_only=True):
    """`agent_id`: the agent whose variables the server is to be started with, in the retired server's words."""

    agent_id: str | None = None


class RunIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the tool is called with."""

    args: dict[str, Any] = {}


class RanOut(Struct, frozen=True, kw_only=True):
    """What came of a call."""

    status: Literal["success", "error"]
    func_return: Any
    agent_state: None = None
    stdout: list[str] | None = None
    stderr: list[str] | None = None
    sandbox_config_fingerprint: str | None = None


class SyncedOut(Struct, frozen=True, kw_only=True):
    """What a refresh changed, by tool name. `refused` says why tools that are offered were not taken over."""

    deleted: tuple[str, ...]
    updated: tuple[str, ...]
    added: tuple[str, ...]
    refused: tuple[str, ...]


async def create_server(house: House, ask: Ask[None, CreateServerIn]) -> ServerOut:
    """Add a server, and its tools if it answers."""
    server = await house.servers.create(ask.body.server_name, read_server(ask.body.config), house.tools)
    return show_server(house.servers, server)


async def list_servers(house: House, ask: Ask[None, None]) -> list[ServerOut]:
    """Every server."""
    return [show_server(house.servers, server) for server in await house.servers.all()]


async def retrieve_server(house: House, ask: Ask[None, None]) -> ServerOut:
    """One server."""
    return show_server(house.servers, await _server(house, ask))


async def update_server(house: House, ask: Ask[None, UpdateServerIn]) -> ServerOut:
    """Change a server."""
    server = await _server(house, ask)
    name = ask.body.server_name
    clear = read_server(ask.body.config, house.servers.clear(server))
    changed = await house.servers.update(server.id, UNSET if name is None else name, clear)
    return show_server(house.servers, changed)


async def delete_server(house: House, ask: Ask[None, None]) -> None:
    """Remove a server with its tools."""
    await house.servers.delete((await _server(house, ask)).id, house.tools)


async def refresh_server(house: House, ask: Ask[RefreshQuery, None]) -> SyncedOut:
    """Make its tools here agree with what it offers."""
    await check_agent(house, ask.query.agent_id)
    return show_synced(await house.servers.sync(await _server(house, ask), house.tools))


async def connect_server(house: House, ask: Ask[None, None]) -> EventStream:
    """Connect, with a person at hand who may have to log in."""
    server = await _server(house, ask)
    return await connect_stream(house, ask.headers, server.name, house.servers.clear(server), server)


async def list_server_tools(house: House, ask: Ask[None, None]) -> list[ToolOut]:
    """Its tools here."""
    server = await _server(house, ask)
    return [show_tool(tool) for tool in await house.servers.tools_of(server.id, house.tools)]


async def retrieve_server_tool(house: House, ask: Ask[None, None]) -> ToolOut:
    """One of its tools."""
    return show_tool(await _tool(house, await _server(house, ask), ask.path["tool_id"]))


async def run_server_tool(house: House, ask: Ask[None, RunIn | None]) -> RanOut:
    """Call one of its tools."""
    server = await _server(house, ask)
    tool = await _tool(house, server, ask.path["tool_id"])
    outcome = await run_remote(house, server, tool, {} if ask.body is None else ask.body.args)
    return RanOut(status="success" if outcome.ok else "error", func_return=outcome.text)


async def run_remote(house: House, server: McpServer, tool: Tool, arguments: dict[str, Any]) -> ToolOutcome:
    """Call a tool with arguments that were checked against its schema. Raises InvalidInput, ToolServerUnavailable."""
    checked = check_arguments(tool, msgspec.json.encode(arguments).decode())
    if isinstance(checked, str):
        raise InvalidInput(f"Invalid arguments for MCP tool '{tool.name}': {checked}", field="args")
    assert tool.remote is not None, "a tool of a server says where it is"
    outcome = await house.servers.call_tool(server, tool.remote.name, Raw(bytes(checked)))
    return clip_outcome(outcome, tool.return_chars_max)


async def check_agent(house: House, agent_id: str | None) -> None:
    """An agent that is named is there. Raises Malformed, NotFound."""
    if agent_id is None:
        return
    try:
        parse_id("agent", agent_id)
    except InvalidInput as error:
        raise Malformed(error.sentence, place=("query", "agent_id"), kind="string_pattern_mismatch") from None
    if await house.roster.get_settings(AgentId(agent_id)) is None:
        raise not_found(AgentId(agent_id))


def show_synced(synced: Synced) -> SyncedOut:
    """What a refresh changed."""
    return SyncedOut(deleted=synced.deleted, updated=synced.updated, added=synced.added, refused=synced.refused)


async def _server(house: House, ask: Ask[Any, Any]) -> McpServer:
    return (await house.servers.servers.get(McpServerId(ask.path["mcp_server_id"]))).value


async def _tool(house: House, server: McpServer, tool_id: str) -> Tool:
    """The server's tool. Raises NotFound, also for a tool of another server."""
    tool = await house.tools.find(ToolId(tool_id))
    if tool.remote is None or tool.remote.server_id != server.id:
        raise NotFound(f"Tool with id '{tool_id}' not found in MCP server '{server.name}'", tool_id=tool_id)
    return tool


def _route(method: Any, path: str, name: str, summary: str, handler: Any, **fields: Any) -> Route:
    return Route(method=method, path=path, name=name, summary=summary, tag="mcp-servers", handler=handler, **fields)


def _one(*refusals: int, **fields: Any) -> dict[str, Any]:
    return {"answer": SHOWN, "shapes": SHAPES, "refusals": refusals, **fields}


ONE_PATH = "/v1/mcp-servers/{mcp_server_id}"
ROUTES = (
    _route(
        "POST", "/v1/mcp-servers/", "mcp_create_mcp_server", "Add a tool server", create_server,
        **_one(400, 409, body=CreateServerIn),
    ),
    _route(
        "GET", "/v1/mcp-servers/", "mcp_list_mcp_servers", "List tool servers", list_servers,
        answer=list[SHOWN], shapes=SHAPES,
    ),
    _route("GET", ONE_PATH, "mcp_retrieve_mcp_server", "Read a tool server", retrieve_server, **_one(404)),
    _route(
        "PATCH", ONE_PATH, "mcp_update_mcp_server", "Change a tool server", update_server,
        **_one(400, 404, 409, body=UpdateServerIn),
    ),
    _route(
        "DELETE", ONE_PATH, "mcp_delete_mcp_server", "Remove a tool server with its tools", delete_server,
        answer=None, status=204, refusals=(404,),
    ),
    _route(
        "PATCH", f"{ONE_PATH}/refresh", "mcp_refresh_mcp_server_tools", "Agree with what a tool server offers",
        refresh_server, answer=SyncedOut, query=RefreshQuery, refusals=(404, 503),
    ),
    _route(
        "GET", "/v1/mcp-servers/connect/{mcp_server_id}", "mcp_connect_mcp_server",
        "Connect to a tool server; a person may have to log in", connect_server,
        answer=None, streams="always", refusals=(404,),
    ),
    _route(
        "GET", f"{ONE_PATH}/tools", "mcp_list_tools_for_mcp_server", "List the tools of a tool server",
        list_server_tools, answer=list[ToolOut], refusals=(404,),
    ),
    _route(
        "GET", f"{ONE_PATH}/tools/{{tool_id}}", "mcp_retrieve_mcp_tool", "Read a tool of a tool server",
        retrieve_server_tool, answer=ToolOut, refusals=(404,),
    ),
    _route(
        "POST", f"{ONE_PATH}/tools/{{tool_id}}/run", "mcp_run_tool", "Call a tool of a tool server",
        run_server_tool, body=RunIn | None, body_needed=False, answer=RanOut, refusals=(400, 404, 503),
    ),
)  # fmt: skip
