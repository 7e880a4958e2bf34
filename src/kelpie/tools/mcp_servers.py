"""Other people's tool servers, as records: how each is reached, what it offers, and its tools in the catalogue.

A tool of a server is a stored `Tool` with a `remote` place. When a server is added its tools are taken over at once if
it answers; `sync` makes the catalogue agree with what the server offers now. Variables, tokens and headers are sealed
at rest. Where a server may be is the operator's to say: programs are started, and addresses that are not public are
reached, only if `ToolServerPolicy` lets them.
"""

import re
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from kelpie.access.vault import Vault
from kelpie.errors import AlreadyExists, InvalidInput, KelpieError, LimitExceeded, NotFound, ToolServerUnavailable
from kelpie.ids import McpServerId, ToolId, new_id
from kelpie.limits import (
    MCP_ARGUMENTS_MAX,
    MCP_CONFIG_BYTES_MAX,
    MCP_SERVER_NAME_CHARS_MAX,
    MCP_SERVERS_MAX,
    TOOL_NAME_CHARS_MAX,
)
from kelpie.storage.collection import Collection, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records, Space
from kelpie.tools.mcp_hub import McpHub
from kelpie.tools.mcp_login import Logins
from kelpie.tools.mcp_wire import HttpTarget, Login, OfferedTool, StdioTarget, Target
from kelpie.tools.public_hosts import HostPolicy
from kelpie.tools.schema import compile_schema
from kelpie.tools.tool import Remote, Tool, ToolOutcome, ToolRequest
from kelpie.tools.toolbox import ToolCatalog
from kelpie.world import World

_NAME = re.compile(r"[^a-zA-Z0-9_-]")
_PAIRS = msgspec.json.Decoder(tuple[tuple[str, str], ...])
TAG = "mcp"
NO_PROGRAMS = (
    "stdio is not supported by this server: its operator has not allowed programs to be started (KELPIE_TOOL_PROGRAMS)"
)


class ToolServerPolicy(Struct, frozen=True, kw_only=True):
    """What the operator allows."""

    hosts: HostPolicy = HostPolicy()
    programs: bool = False  # whether people may have programs started on this machine


class StdioPlace(Struct, frozen=True, kw_only=True, tag="stdio", omit_defaults=True):
    """A program to be started. `env` is sealed pairs."""

    command: str
    args: tuple[str, ...] = ()
    env: str | None = None


class HttpPlace(Struct, frozen=True, kw_only=True, tag="http", omit_defaults=True):
    """A server to be reached by HTTP. `token` and `headers` (pairs) are sealed."""

    url: str
    sse: bool = False
    auth_header: str | None = None
    token: str | None = None
    headers: str | None = None


Place = StdioPlace | HttpPlace


class McpServer(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A tool server that somebody added; names are unique."""

    id: McpServerId
    name: str
    place: Place
    updated_at_us: int


class Clear(Struct, frozen=True, kw_only=True):
    """A place in plain words: as people give it, and as it is given back to them."""

    command: str | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] | None = None
    url: str | None = None
    sse: bool = False
    auth_header: str | None = None
    token: str | None = None
    headers: tuple[tuple[str, str], ...] | None = None


class Synced(Struct, frozen=True, kw_only=True):
    """What agreeing with the server changed, by tool name; `refused` says why some are not in the catalogue."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


SERVERS = Space("mcp_server", McpServer, large=True)  # at(mcp_server_id)


class McpServers:
    """The tool servers in the store. Also runs their tools: implements `tools.tool.Runner`."""

    def __init__(self, records: Records, world: World, vault: Vault, hub: McpHub, policy: ToolServerPolicy) -> None:
        self._world = world
        self._vault = vault
        self._hub = hub
        self.policy = policy
        self.logins = Logins(records, vault)
        self.servers: Collection[McpServer] = Collection(
            records, world.entropy, SERVERS, "MCP server", name_of=lambda server: server.name
        )

    # -- records -------------------------------------------------------------------------------------------

    async def create(self, name: str, clear: Clear, catalog: ToolCatalog) -> McpServer:
        """Add a server, and its tools if it answers now. Raises InvalidInput, AlreadyExists, LimitExceeded."""
        server = await self.draft(name, clear)
        await self.servers.create(server)
        try:
            await self.sync(server, catalog)
        except ToolServerUnavailable:
            pass  # it is kept, and asked again by a refresh
        return server

    async def draft(self, name: str, clear: Clear) -> McpServer:
        """A server to be added, checked but not stored. Raises InvalidInput, LimitExceeded."""
        _check_name(name)
        if await self.servers.count() >= MCP_SERVERS_MAX:
            raise LimitExceeded(
                f"there are {MCP_SERVERS_MAX} tool servers already", limit="MCP_SERVERS_MAX", maximum=MCP_SERVERS_MAX
            )
        server_id = McpServerId(new_id("mcp_server", self._world.entropy))
        now_us = self._world.wall.now_us()
        place = self._sealed(server_id, clear)
        assert (clear.command is None) == isinstance(place, HttpPlace)
        server = McpServer(id=server_id, name=name, place=place, created_at_us=now_us, updated_at_us=now_us)
        assert self.clear(server) == clear, "nothing of it is lost on the way"
        return server

    async def all(self) -> list[McpServer]:
        """Every server, the oldest first."""
        return await self.servers.page(Page(limit=MCP_SERVERS_MAX, newest_first=False))

    async def named(self, name: str) -> McpServer:
        """The server of that name. Raises NotFound."""
        found = await self.servers.find_named(name)
        if found is None:
            raise NotFound(f"MCP server with name '{name[:80]}' not found", name=name[:80])
        return found.value

    async def update(
        self, server_id: McpServerId, name: str | UnsetType = UNSET, clear: Clear | UnsetType = UNSET
    ) -> McpServer:
        """Change its name or where it is; the connection is opened anew. Raises what create does, and NotFound."""
        if isinstance(name, str):
            _check_name(name)

        def change(now: McpServer) -> McpServer:
            place = now.place if isinstance(clear, UnsetType) else self._sealed(server_id, clear)
            return msgspec.structs.replace(
                now,
                name=now.name if isinstance(name, UnsetType) else name,
                place=place,
                updated_at_us=max(self._world.wall.now_us(), now.updated_at_us),
            )

        server = await self.servers.edit(server_id, change)
        self._hub.forget(server_id)
        return server

    async def delete(self, server_id: McpServerId, catalog: ToolCatalog) -> None:
        """Remove it and its tools; agents that have them do without from their next step on. Raises NotFound."""
        place = (await self.servers.get(server_id)).value.place
        for tool in await self.tools_of(server_id, catalog):
            await catalog.delete(ToolId(tool.id))

        others = [server.place for server in await self.all() if server.id != server_id]
        shared = {place.url for place in others if isinstance(place, HttpPlace)}

        def forget_login(batch: Batch) -> None:
            if isinstance(place, HttpPlace) and place.url not in shared:
                self.logins.forget(batch, place.url)

        await self.servers.delete(server_id, forget_login)
        self._hub.forget(server_id)

    def clear(self, server: McpServer) -> Clear:
        """Where it is, secrets opened. Raises SecretUnreadable."""
        match server.place:
            case StdioPlace() as place:
                return Clear(command=place.command, args=place.args, env=self._pairs(server.id, place.env))
            case HttpPlace() as place:
                return Clear(
                    url=place.url,
                    sse=place.sse,
                    auth_header=place.auth_header,
                    token=None if place.token is None else self._vault.open(place.token, server.id),
                    headers=self._pairs(server.id, place.headers),
                )

    # -- what they offer -----------------------------------------------------------------------------------

    async def offered(self, server: McpServer, login: Login | None = None) -> Sequence[OfferedTool]:
        """What the server offers now. Raises ToolServerUnavailable."""
        target = self.target(self.clear(server))
        return await self._hub.list_tools(server.id, target, login or await self._login(target))

    async def probe(self, clear: Clear, login: Login | None = None) -> Sequence[OfferedTool]:
        """What a server that was not added offers. Raises ToolServerUnavailable, InvalidInput."""
        self.check(clear)
        name = new_id("mcp_server", self._world.entropy)
        target = self.target(clear)
        try:
            return await self._hub.list_tools(name, target, login or await self._login(target))
        finally:
            self._hub.forget(name)

    async def tools_of(self, server_id: McpServerId, catalog: ToolCatalog) -> list[Tool]:
        """Its tools in the catalogue, the oldest first."""

        def is_its(tool: Tool) -> bool:
            return tool.remote is not None and tool.remote.server_id == server_id

        return await catalog.stored.page(Page(limit=1_000, newest_first=False), is_its)

    async def sync(self, server: McpServer, catalog: ToolCatalog, login: Login | None = None) -> Synced:
        """Make the catalogue agree with what the server offers. Raises ToolServerUnavailable."""
        offered = {tool.name: tool for tool in await self.offered(server, login)}
        had = {tool.remote.name: tool for tool in await self.tools_of(server.id, catalog) if tool.remote is not None}
        added: list[str] = []
        updated: list[str] = []
        refused: list[str] = []
        for name, offer in offered.items():
            try:
                if name not in had:
                    added.append((await catalog.create(self._tool(server, offer))).name)
                elif await self._renew(had[name], offer, catalog):
                    updated.append(had[name].name)
            except (AlreadyExists, InvalidInput, LimitExceeded) as error:
                refused.append(f"{name}: {error.sentence}")
        gone = [tool for name, tool in had.items() if name not in offered]
        for tool in gone:
            await catalog.delete(ToolId(tool.id))
        assert len(added) + len(updated) + len(refused) <= len(offered)
        assert not {tool.name for tool in gone} & set(added)
        return Synced(
            added=tuple(added),
            updated=tuple(updated),
            deleted=tuple(tool.name for tool in gone),
            refused=tuple(refused),
        )

    async def add_tool(self, server: McpServer, name: str, catalog: ToolCatalog) -> Tool:
        """One tool of the server, taken into the catalogue or renewed there. Raises InvalidInput if it offers none."""
        offered = {tool.name: tool for tool in await self.offered(server)}
        if name not in offered:
            known = ", ".join(offered) or "none"
            raise InvalidInput(f"'{server.name}' has no tool '{name[:80]}'; it has: {known[:500]}", field="tool_name")
        for tool in await self.tools_of(server.id, catalog):
            if tool.remote is not None and tool.remote.name == name:
                await self._renew(tool, offered[name], catalog)
                return await catalog.find(ToolId(tool.id))
        return await catalog.create(self._tool(server, offered[name]))

    # -- calls ---------------------------------------------------------------------------------------------

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run a tool of a server; what is wrong with the server is an outcome that the model can read."""
        if request.tool.remote is None:  # it came in a file or from a database without its server
            return ToolOutcome(text=f"the server of the tool '{request.tool.name}' is not known here", ok=False)
        try:
            server = (await self.servers.get(request.tool.remote.server_id)).value
            return await self.call_tool(server, request.tool.remote.name, request.arguments)
        except KelpieError as error:
            return ToolOutcome(text=error.sentence, ok=False)

    async def call_tool(self, server: McpServer, name: str, arguments: Raw) -> ToolOutcome:
        """Call a tool by the server's own name for it. Raises ToolServerUnavailable: the outcome is unknown then."""
        target = self.target(self.clear(server))
        return await self._hub.call(server.id, target, name, arguments, await self._login(target))

    # -- inside --------------------------------------------------------------------------------------------

    def check(self, clear: Clear) -> None:
        """InvalidInput or LimitExceeded unless a server may be there."""
        size = len(msgspec.json.encode(clear))
        if size > MCP_CONFIG_BYTES_MAX or len(clear.args) > MCP_ARGUMENTS_MAX:
            raise LimitExceeded(
                f"the configuration of a tool server has at most {MCP_CONFIG_BYTES_MAX} bytes",
                limit="MCP_CONFIG_BYTES_MAX",
                maximum=MCP_CONFIG_BYTES_MAX,
            )
        if (clear.command is None) == (clear.url is None):
            raise InvalidInput("a tool server is either a command or a URL", field="config")
        if clear.url is not None:
            self.policy.hosts.check_url(clear.url)
        elif not self.policy.programs:
            raise InvalidInput(NO_PROGRAMS, field="config")

    def target(self, clear: Clear) -> Target:
        """Where to connect to."""
        if clear.command is not None:
            return StdioTarget(command=clear.command, args=clear.args, env=clear.env or ())
        assert clear.url is not None, "checked when it was stored"
        headers = dict(clear.headers or ())
        if clear.token:
            header = clear.auth_header or "Authorization"
            bare = header.lower() == "authorization" and " " not in clear.token
            headers[header] = f"Bearer {clear.token}" if bare else clear.token
        return HttpTarget(url=clear.url, sse=clear.sse, headers=tuple(headers.items()))

    def _sealed(self, server_id: McpServerId, clear: Clear) -> Place:
        self.check(clear)
        return self.seal(server_id, clear)

    def seal(self, server_id: McpServerId, clear: Clear) -> Place:
        """The place, its secrets sealed. Whether the operator lets a server be there is asked again when it is used."""
        if clear.command is not None:
            return StdioPlace(command=clear.command, args=clear.args, env=self._seal_pairs(server_id, clear.env))
        assert clear.url is not None
        return HttpPlace(
            url=clear.url,
            sse=clear.sse,
            auth_header=clear.auth_header,
            token=None if clear.token is None else self._vault.seal(clear.token, server_id),
            headers=self._seal_pairs(server_id, clear.headers),
        )

    def _seal_pairs(self, server_id: McpServerId, pairs: tuple[tuple[str, str], ...] | None) -> str | None:
        return None if pairs is None else self._vault.seal(msgspec.json.encode(pairs).decode(), server_id)

    def _pairs(self, server_id: McpServerId, sealed: str | None) -> tuple[tuple[str, str], ...] | None:
        return None if sealed is None else _PAIRS.decode(self._vault.open(sealed, server_id))

    async def _login(self, target: Target) -> Login | None:
        return await self.logins.stored(target.url) if isinstance(target, HttpTarget) else None

    def _tool(self, server: McpServer, offer: OfferedTool) -> Tool:
        compile_schema(bytes(offer.parameters))
        now_us = self._world.wall.now_us()
        return Tool(
            id=ToolId(new_id("tool", self._world.entropy)),
            created_at_us=now_us,
            updated_at_us=now_us,
            name=_NAME.sub("_", offer.name)[:TOOL_NAME_CHARS_MAX],
            description=offer.description,
            parameters=offer.parameters,
            kind="mcp",
            read_only=offer.read_only,
            idempotent=offer.idempotent,
            tags=(TAG, f"{TAG}:{server.name}"),
            remote=Remote(server_id=server.id, name=offer.name),
        )

    async def _renew(self, tool: Tool, offer: OfferedTool, catalog: ToolCatalog) -> bool:
        """Whether the tool had to be changed to what is offered now."""
        assert tool.kind == "mcp"
        assert tool.remote is not None and tool.remote.name == offer.name
        compile_schema(bytes(offer.parameters))
        offered = (offer.description, bytes(offer.parameters), offer.read_only, offer.idempotent)
        if offered == (tool.description, bytes(tool.parameters), tool.read_only, tool.idempotent):
            return False

        def change(now: Tool) -> Tool:
            return msgspec.structs.replace(
                now,
                description=offer.description,
                parameters=offer.parameters,
                read_only=offer.read_only,
                idempotent=offer.idempotent,
                updated_at_us=max(self._world.wall.now_us(), now.updated_at_us),
            )

        await catalog.edit(ToolId(tool.id), change)
        return True


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MCP_SERVER_NAME_CHARS_MAX or not name.isprintable():
        raise InvalidInput(
            f"server_name: a name has 1 to {MCP_SERVER_NAME_CHARS_MAX} printable characters", field="server_name"
        )
