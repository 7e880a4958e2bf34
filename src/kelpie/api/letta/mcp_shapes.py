"""Tool servers on the wire, in both forms that clients know: `mcp-servers` and the older `tools/mcp/servers`."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.api.errors import Malformed
from kelpie.tools.mcp_servers import Clear, HttpPlace, McpServer, McpServers, StdioPlace
from kelpie.tools.mcp_wire import OfferedTool

Kind = Literal["stdio", "sse", "streamable_http"]


class StdioIn(Struct, frozen=True, kw_only=True, tag_field="mcp_server_type", tag="stdio", forbid_unknown_fields=True):
    """A program."""

    command: str | None = None
    args: list[str] | None = None
    env: dict[str, str] | None = None


class SseIn(Struct, frozen=True, kw_only=True, tag_field="mcp_server_type", tag="sse", forbid_unknown_fields=True):
    """A server by the older HTTP transport."""

    server_url: str | None = None
    auth_header: str | None = None
    auth_token: str | None = None
    custom_headers: dict[str, str] | None = None


class HttpIn(
    Struct, frozen=True, kw_only=True, tag_field="mcp_server_type", tag="streamable_http", forbid_unknown_fields=True
):
    """A server by HTTP."""

    server_url: str | None = None
    auth_header: str | None = None
    auth_token: str | None = None
    custom_headers: dict[str, str] | None = None


class CreateServerIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server to be added."""

    server_name: str
    config: StdioIn | SseIn | HttpIn


class UpdateServerIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server to be changed."""

    server_name: str | None = None
    config: StdioIn | SseIn | HttpIn


class OlderServerIn(Struct, frozen=True, kw_only=True):
    """A server in the older form; without `type` a command is a program and a URL is of the older transport."""

    server_name: str
    type: Kind | None = None
    command: str | None = None
    args: list[str] | None = None
    env: dict[str, str] | None = None
    server_url: str | None = None
    auth_header: str | None = None
    auth_token: str | None = None
    custom_headers: dict[str, str] | None = None


class OlderUpdateIn(Struct, frozen=True, kw_only=True):
    """A change in the older form. A `token` is an `auth_token`."""

    server_name: str | None = None
    server_url: str | None = None
    token: str | None = None
    auth_header: str | None = None
    auth_token: str | None = None
    custom_headers: dict[str, str] | None = None
    stdio_config: OlderServerIn | None = None


class StdioOut(Struct, frozen=True, kw_only=True):
    """A program as the wire shows it."""

    id: str
    server_name: str
    mcp_server_type: Literal["stdio"] = "stdio"
    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] | None


class RemoteOut(Struct, frozen=True, kw_only=True):
    """A server by HTTP as the wire shows it."""

    id: str
    server_name: str
    mcp_server_type: Literal["sse", "streamable_http"]
    server_url: str
    auth_header: str | None
    auth_token: str | None
    custom_headers: Mapping[str, str] | None


class OlderStdioOut(Struct, frozen=True, kw_only=True):
    """A program in the older form."""

    server_name: str
    type: Literal["stdio"] = "stdio"
    command: str
    args: tuple[str, ...]
    env: Mapping[str, str] | None


class OlderRemoteOut(Struct, frozen=True, kw_only=True):
    """A server by HTTP in the older form."""

    server_name: str
    type: Literal["sse", "streamable_http"]
    server_url: str
    auth_header: str | None
    auth_token: str | None
    custom_headers: Mapping[str, str] | None


class OfferedOut(Struct, frozen=True, kw_only=True, rename={"input_schema": "inputSchema", "output": "outputSchema"}):
    """A tool as its server offers it."""

    name: str
    title: str | None
    description: str
    input_schema: Raw
    output: Raw | None
    annotations: dict[str, Any]


def read_server(config: StdioIn | SseIn | HttpIn, now: Clear | None = None) -> Clear:
    """Where a server is; what is not said stays as it is `now`. Raises Malformed when needed fields are missing."""
    match config:
        case StdioIn():
            old = now if now is not None and now.command is not None else Clear()
            command = config.command if config.command is not None else old.command
            args = tuple(config.args) if config.args is not None else old.args
            if command is None or (config.args is None and now is None):
                raise _missing("command" if command is None else "args")
            return Clear(command=command, args=args, env=_pairs(config.env, old.env))
        case SseIn() | HttpIn():
            old = now if now is not None and now.url is not None else Clear()
            url = config.server_url if config.server_url is not None else old.url
            if url is None:
                raise _missing("server_url")
            return Clear(
                url=url,
                sse=isinstance(config, SseIn),
                auth_header=config.auth_header if config.auth_header is not None else old.auth_header,
                token=config.auth_token if config.auth_token is not None else old.token,
                headers=_pairs(config.custom_headers, old.headers),
            )


def read_older(wire: OlderServerIn) -> Clear:
    """Where a server of the older form is. Raises Malformed."""
    kind = wire.type or ("stdio" if wire.command is not None else "sse")
    if kind == "stdio":
        return read_server(StdioIn(command=wire.command, args=wire.args or [], env=wire.env))
    fields = {name: getattr(wire, name) for name in ("server_url", "auth_header", "auth_token", "custom_headers")}
    return read_server(SseIn(**fields) if kind == "sse" else HttpIn(**fields))


def read_older_update(wire: OlderUpdateIn, now: Clear) -> Clear:
    """Where it is after the change. Raises Malformed."""
    if wire.stdio_config is not None:
        return read_older(msgspec.structs.replace(wire.stdio_config, type="stdio"))
    if now.url is None:
        return now
    token = wire.auth_token if wire.auth_token is not None else wire.token
    make = SseIn if now.sse else HttpIn
    config = make(
        server_url=wire.server_url, auth_header=wire.auth_header, auth_token=token, custom_headers=wire.custom_headers
    )
    return read_server(config, now)


def show_server(servers: McpServers, server: McpServer) -> StdioOut | RemoteOut:
    """A server as the wire shows it."""
    return _shown(servers, server, StdioOut, RemoteOut, {"id": server.id}, "mcp_server_type")


def show_older(servers: McpServers, server: McpServer) -> OlderStdioOut | OlderRemoteOut:
    """A server in the older form."""
    return _shown(servers, server, OlderStdioOut, OlderRemoteOut, {}, "type")


def show_offered(tool: OfferedTool) -> OfferedOut:
    """A tool as its server offers it."""
    return OfferedOut(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=tool.parameters,
        output=tool.output,
        annotations={
            "readOnlyHint": tool.read_only,
            "idempotentHint": tool.idempotent,
            "destructiveHint": tool.destructive,
        },
    )


def _shown(servers: McpServers, server: McpServer, stdio: Any, remote: Any, common: dict[str, Any], kind: str) -> Any:
    clear = servers.clear(server)
    match server.place:
        case StdioPlace():
            env = None if clear.env is None else dict(clear.env)
            return stdio(server_name=server.name, command=clear.command, args=clear.args, env=env, **common)
        case HttpPlace():
            return remote(
                server_name=server.name,
                server_url=clear.url,
                auth_header=clear.auth_header,
                auth_token=clear.token,
                custom_headers=None if clear.headers is None else dict(clear.headers),
                **{kind: "sse" if clear.sse else "streamable_http"},
                **common,
            )


def _pairs(given: dict[str, str] | None, old: tuple[tuple[str, str], ...] | None) -> tuple[tuple[str, str], ...] | None:
    return old if given is None else tuple(given.items())


def _missing(field: str) -> Malformed:
    return Malformed("Field required", place=("body", "config", field), kind="missing")
