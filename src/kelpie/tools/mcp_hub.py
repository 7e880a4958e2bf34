"""Connections to tool servers: opened when they are needed, shared by all callers, closed when nobody called for long.

Each connection lives in a task of its own below `run`, since what the SDK opens in a task must be closed in it. A
server that keeps state between calls (a browser, a shell) thus keeps it as long as it is used. A connection that
failed is forgotten, and the next caller opens another; a call whose outcome is unknown is not repeated here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Raw

from kelpie.errors import Busy, ToolServerUnavailable
from kelpie.limits import (
    MCP_CONNECT_MS,
    MCP_LIST_MS,
    MCP_SESSION_IDLE_MS,
    MCP_SESSIONS_MAX,
    MCP_SWEEP_MS,
    MCP_TOOLS_PER_SERVER_MAX,
    RETRY_AFTER_MS,
)
from kelpie.tools.mcp_wire import Connect, Load, Login, McpSession, OfferedTool, Target
from kelpie.tools.tool import ToolOutcome

T = TypeVar("T")


class _Live:
    """One connection, from its wish to its end."""

    def __init__(self, target: Target) -> None:
        loop = asyncio.get_running_loop()
        self.target = target
        self.ready: asyncio.Future[McpSession] = loop.create_future()
        self.closing = asyncio.Event()
        self.calls = 0
        self.used_s = loop.time()


class McpHub:
    """The connections of one node. `load` gives the real or simulated wire when the first of them is opened."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._connect: Connect | None = None
        self._lives: dict[str, _Live] = {}
        self._eras: dict[str, str] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Keep connections until cancelled; then close them."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                while True:
                    await asyncio.sleep(MCP_SWEEP_MS / 1000)
                    self._sweep()
            finally:
                self._group = None
                for name in list(self._lives):
                    self.forget(name)

    async def list_tools(self, name: str, target: Target, login: Login | None = None) -> Sequence[OfferedTool]:
        """What the server offers now. Raises ToolServerUnavailable, LoginNeeded, Busy."""

        async def ask(session: McpSession) -> Sequence[OfferedTool]:
            async with asyncio.timeout(MCP_LIST_MS / 1000):
                return await session.list_tools()

        offered = await self._use(name, target, login, ask)
        if len(offered) > MCP_TOOLS_PER_SERVER_MAX:
            raise ToolServerUnavailable(
                f"'{name}' offers {len(offered)} tools, over the limit of {MCP_TOOLS_PER_SERVER_MAX}"
            )
        return offered

    async def call(self, name: str, target: Target, tool: str, arguments: Raw, login: Login | None) -> ToolOutcome:
        """Call a tool; the deadline is the caller's. Raises as list_tools; the outcome is unknown then."""
        return await self._use(name, target, login, lambda session: session.call(tool, arguments))

    def forget(self, name: str) -> None:
        """Close the connection, if there is one: the server was changed or removed."""
        live = self._lives.pop(name, None)
        if live is not None:
            live.closing.set()

    async def _use(
        self, name: str, target: Target, login: Login | None, ask: Callable[[McpSession], Awaitable[T]]
    ) -> T:
        """Ask through a connection; whoever finds it broken has it replaced for the next."""
        live = self._lives.get(name)
        if live is not None and live.target != target:
            self.forget(name)
            live = None
        if live is None:
            live = await self._open(name, target, login)
        assert live.target == target
        live.calls += 1
        try:
            session = await asyncio.shield(live.ready)
            return await ask(session)
        except ToolServerUnavailable:
            self._drop(name, live)
            raise
        except TimeoutError:
            self._drop(name, live)
            raise ToolServerUnavailable(f"'{name}' did not answer within {MCP_LIST_MS} ms") from None
        finally:
            assert live.calls > 0
            live.calls -= 1
            live.used_s = asyncio.get_running_loop().time()

    async def _open(self, name: str, target: Target, login: Login | None) -> _Live:
        if len(self._lives) >= MCP_SESSIONS_MAX and not self._make_room():
            raise Busy(f"{MCP_SESSIONS_MAX} tool servers are in use (MCP_SESSIONS_MAX)", retry_after_ms=RETRY_AFTER_MS)
        if self._connect is None:
            self._connect = await self._load()
        live = self._lives.get(name)  # somebody else may have come first
        if live is not None and live.target == target:
            return live
        if self._group is None:
            raise ToolServerUnavailable("the server is shutting down")
        live = self._lives[name] = _Live(target)
        assert len(self._lives) <= MCP_SESSIONS_MAX + 1
        self._group.create_task(self._live(name, live, self._connect, login), name=f"mcp {name}")
        return live

    async def _live(self, name: str, live: _Live, connect: Connect, login: Login | None) -> None:
        """Hold one connection open. It fails alone: neither other connections nor the node end with it."""
        wait_ms = MCP_CONNECT_MS if login is None else login.wait_ms_max
        try:
            async with asyncio.timeout(wait_ms / 1000) as opening:
                async with connect(live.target, login, self._eras.get(name)) as session:
                    opening.reschedule(None)
                    self._eras[name] = session.era
                    live.ready.set_result(session)
                    await live.closing.wait()
        except ToolServerUnavailable as error:
            self._fail(live, error)
        except TimeoutError:
            self._fail(live, ToolServerUnavailable(f"'{name}' could not be connected to within {wait_ms} ms"))
        finally:
            self._fail(live, ToolServerUnavailable("the server is shutting down"))
            self._drop(name, live)

    def _fail(self, live: _Live, error: ToolServerUnavailable) -> None:
        if not live.ready.done():
            live.ready.set_exception(error)
            live.ready.exception()  # nobody may be waiting any more

    def _drop(self, name: str, live: _Live) -> None:
        live.closing.set()
        if self._lives.get(name) is live:
            del self._lives[name]

    def _sweep(self) -> None:
        """Close what nobody called for long."""
        oldest_s = asyncio.get_running_loop().time() - MCP_SESSION_IDLE_MS / 1000
        for name, live in list(self._lives.items()):
            if live.calls == 0 and live.used_s < oldest_s:
                self.forget(name)

    def _make_room(self) -> bool:
        """Close the connection that was idle for longest; False if all are in use."""
        idle = [(live.used_s, name) for name, live in self._lives.items() if live.calls == 0]
        if not idle:
            return False
        self.forget(min(idle)[1])
        return True
