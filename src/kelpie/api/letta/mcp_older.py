"""Tool servers by name, as older clients call them, under `tools/mcp`."""

from typing import Annotated, Any

from msgspec import UNSET, Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.mcp_connect import CALLBACK_PATH, connect_stream
from kelpie.api.letta.mcp_servers import RefreshQuery, RunIn, SyncedOut, check_agent, run_remote, show_synced
from kelpie.api.letta.mcp_shapes import (
    OfferedOut,
    OlderRemoteOut,
    OlderServerIn,
    OlderStdioOut,
    OlderUpdateIn,
    read_older,
    read_older_update,
    show_offered,
    show_older,
)
from kelpie.api.letta.tools import ToolOut, show_tool
from kelpie.api.route import Ask, Route, one_of
from kelpie.api.sse import EventStream
from kelpie.errors import NotFound
from kelpie.tools.mcp_servers import McpServer

SHAPES = (OlderStdioOut, OlderRemoteOut)
SHOWN = Annotated[Any, one_of(*SHAPES)]
OlderOut = OlderStdioOut | OlderRemoteOut
DONE = "You are logged in. You can close this page and go back."


class ProbedOut(Struct, frozen=True, kw_only=True):
    """That a server answers, and what it offers."""

    status: str
    tools: list[OfferedOut]


class ExecutedOut(Struct, frozen=True, kw_only=True):
    """What came of a call."""

    result: str
    success: bool


class CallbackQuery(Struct, frozen=True, kw_only=True):
    """What a login page sends a browser back with."""

    code: str | None = None
    state: str | None = None
    error: str | None = None
    error_description: str | None = None


class CallbackOut(Struct, frozen=True, kw_only=True):
    """What the person reads."""

    status: str
    message: str


async def list_servers(house: House, ask: Ask[None, None]) -> dict[str, OlderOut]:
    """Every server, by name."""
    return {server.name: show_older(house.servers, server) for server in await house.servers.all()}


async def add_server(house: House, ask: Ask[None, OlderServerIn]) -> list[OlderOut]:
    """Add a server, and its tools if it answers; all servers."""
    await house.servers.create(ask.body.server_name, read_older(ask.body), house.tools)
    return [show_older(house.servers, server) for server in await house.servers.all()]


async def update_server(house: House, ask: Ask[None, OlderUpdateIn]) -> OlderOut:
    """Change a server."""
    server = await _named(house, ask)
    clear = read_older_update(ask.body, house.servers.clear(server))
    name = UNSET if ask.body.server_name is None else ask.body.server_name
    return show_older(house.servers, await house.servers.update(server.id, name, clear))


async def delete_server(house: House, ask: Ask[None, None]) -> list[OlderOut]:
    """Remove a server with its tools; those that are left."""
    await house.servers.delete((await _named(house, ask)).id, house.tools)
    return [show_older(house.servers, server) for server in await house.servers.all()]


async def list_offered(house: House, ask: Ask[None, None]) -> list[OfferedOut]:
    """What the server offers now."""
    return [show_offered(tool) for tool in await house.servers.offered(await _named(house, ask))]


async def resync_server(house: House, ask: Ask[RefreshQuery, None]) -> SyncedOut:
    """Make its tools here agree with what it offers."""
    await check_agent(house, ask.query.agent_id)
    return show_synced(await house.servers.sync(await _named(house, ask), house.tools))


async def add_tool(house: House, ask: Ask[None, None]) -> ToolOut:
    """Take one tool of the server over."""
    return show_tool(await house.servers.add_tool(await _named(house, ask), ask.path["mcp_tool_name"], house.tools))


async def execute_tool(house: House, ask: Ask[None, RunIn]) -> ExecutedOut:
    """Call a tool by the server's own name for it."""
    server = await _named(house, ask)
    name = ask.path["tool_name"]
    for tool in await house.servers.tools_of(server.id, house.tools):
        if tool.remote is not None and name in (tool.remote.name, tool.name):
            outcome = await run_remote(house, server, tool, ask.body.args)
            return ExecutedOut(result=outcome.text, success=outcome.ok)
    raise NotFound(f"Tool '{name[:80]}' not found in MCP server '{server.name}'", tool_name=name[:80])


async def test_server(house: House, ask: Ask[None, OlderServerIn]) -> ProbedOut:
    """Connect to a server without adding it."""
    offered = await house.servers.probe(read_older(ask.body))
    return ProbedOut(status="success", tools=[show_offered(tool) for tool in offered])


async def connect_server(house: House, ask: Ask[None, OlderServerIn]) -> EventStream:
    """Connect to a server that may not have been added, with a person at hand who may have to log in."""
    return await connect_stream(house, ask.headers, ask.body.server_name, read_older(ask.body), None)


async def finish_login(house: House, ask: Ask[CallbackQuery, None]) -> CallbackOut:
    """Where a login page sends the person's browser back to."""
    query = ask.query
    if query.state is None:
        return CallbackOut(status="error", message="The login page came back without its state.")
    refusal = query.error_description or query.error
    house.servers.logins.finish(query.state, None if query.error else query.code, refusal)
    if query.error or query.code is None:
        return CallbackOut(status="error", message=f"The login was refused: {(refusal or 'no code was given')[:300]}")
    return CallbackOut(status="success", message=DONE)


async def _named(house: House, ask: Ask[Any, Any]) -> McpServer:
    return await house.servers.named(ask.path["mcp_server_name"])


def _route(method: Any, path: str, name: str, summary: str, handler: Any, **fields: Any) -> Route:
    return Route(method=method, path=path, name=name, summary=summary, tag="tools", handler=handler, **fields)


ALL = "/v1/tools/mcp/servers"
ONE = f"{ALL}/{{mcp_server_name}}"
ROUTES = (
    _route(
        "GET", ALL, "list_mcp_servers", "List tool servers by name", list_servers,
        answer=dict[str, SHOWN], shapes=SHAPES,
    ),
    _route(
        "PUT", ALL, "add_mcp_server", "Add a tool server", add_server,
        body=OlderServerIn, answer=list[SHOWN], shapes=SHAPES, refusals=(400, 409),
    ),
    _route(
        "PATCH", ONE, "update_mcp_server", "Change a tool server", update_server,
        body=OlderUpdateIn, answer=SHOWN, shapes=SHAPES, refusals=(400, 404, 409),
    ),
    _route(
        "DELETE", ONE, "delete_mcp_server", "Remove a tool server with its tools", delete_server,
        answer=list[SHOWN], shapes=SHAPES, refusals=(404,),
    ),
    _route(
        "GET", f"{ONE}/tools", "list_mcp_tools_by_server", "List what a tool server offers", list_offered,
        answer=list[OfferedOut], refusals=(404, 503),
    ),
    _route(
        "POST", f"{ONE}/resync", "resync_mcp_server_tools", "Agree with what a tool server offers", resync_server,
        query=RefreshQuery, answer=SyncedOut, refusals=(404, 503),
    ),
    _route(
        "POST", f"{ONE}/{{mcp_tool_name}}", "add_mcp_tool", "Take over a tool of a tool server", add_tool,
        answer=ToolOut, refusals=(400, 404, 409, 503),
    ),
    _route(
        "POST", f"{ONE}/tools/{{tool_name}}/execute", "execute_mcp_tool", "Call a tool of a tool server", execute_tool,
        body=RunIn, answer=ExecutedOut, refusals=(400, 404, 503),
    ),
    _route(
        "POST", f"{ALL}/test", "test_mcp_server", "Connect to a tool server without adding it", test_server,
        body=OlderServerIn, answer=ProbedOut, refusals=(400, 503),
    ),
    _route(
        "POST", f"{ALL}/connect", "connect_mcp_server", "Connect to a tool server; a person may have to log in",
        connect_server, body=OlderServerIn, answer=None, streams="always", refusals=(400,),
    ),
    _route(
        "GET", CALLBACK_PATH, "mcp_oauth_callback", "Where a login page sends the browser back to", finish_login,
        query=CallbackQuery, answer=CallbackOut, refusals=(404,),
    ),
)  # fmt: skip
