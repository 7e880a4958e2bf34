"""Connections are shared, replaced when they break, closed when idle, bounded, and fail alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import Raw

from kelpie.errors import Busy, ToolServerUnavailable
from kelpie.limits import MCP_SESSION_IDLE_MS, MCP_SESSIONS_MAX
from kelpie.tools.mcp_hub import McpHub
from kelpie.tools.mcp_wire import Connect, OfferedTool, StdioTarget, Target
from kelpie.tools.tool import ToolOutcome
from tests.unit.actor.build import virtual

ONE, OTHER = StdioTarget(command="one"), StdioTarget(command="other")


class Servers:
    """Every connection that was opened, and what goes wrong with the next ones."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str | None]] = []
        self.open = 0
        self.refuse = 0
        self.break_calls = 0
        self.gate: asyncio.Event | None = None

    @property
    def era(self) -> str:
        return "2026"

    async def list_tools(self) -> list[OfferedTool]:
        return [OfferedTool(name="t", parameters=Raw(b"{}"))]

    async def call(self, name: str, arguments: Raw) -> ToolOutcome:
        if self.gate is not None:
            await self.gate.wait()
        if self.break_calls:
            self.break_calls -= 1
            raise ToolServerUnavailable("broken")
        return ToolOutcome(text=f"{name} {bytes(arguments).decode()}")

    @asynccontextmanager
    async def connect(self, target: Target, login: object, era: str | None) -> AsyncIterator["Servers"]:
        assert isinstance(target, StdioTarget)
        self.opened.append((target.command, era))
        if self.refuse:
            self.refuse -= 1
            raise ToolServerUnavailable("refused")
        self.open += 1
        try:
            yield self
        finally:
            self.open -= 1

    async def load(self) -> Connect:
        return self.connect  # type: ignore[return-value]


Play = Callable[[McpHub, Servers], Coroutine[Any, Any, None]]


def play_hub(play: Play) -> None:
    """Run `play` with a hub that lives meanwhile, in virtual time; afterwards nothing is open."""
    servers = Servers()

    async def main() -> None:
        hub = McpHub(servers.load)
        async with asyncio.TaskGroup() as group:
            living = group.create_task(hub.run())
            await asyncio.sleep(0)
            await play(hub, servers)
            living.cancel()
        assert servers.open == 0

    virtual(lambda world: main())


async def call(hub: McpHub, target: Target = ONE, name: str = "a") -> str:
    return (await hub.call(name, target, "t", Raw(b"{}"), None)).text


def test_callers_share_one_connection_also_when_they_come_at_once() -> None:
    async def play(hub: McpHub, servers: Servers) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(call(hub))
        assert (await call(hub), len(await hub.list_tools("a", ONE))) == ("t {}", 1)
        assert servers.opened == [("one", None)]

    play_hub(play)


def test_a_changed_target_and_a_forgotten_one_are_connected_to_anew_and_the_era_is_remembered() -> None:
    async def play(hub: McpHub, servers: Servers) -> None:
        await call(hub)
        await call(hub, OTHER)
        hub.forget("a")
        await call(hub, OTHER)
        assert servers.opened == [("one", None), ("other", "2026"), ("other", "2026")]
        await asyncio.sleep(0.01)
        assert servers.open == 1

    play_hub(play)


def test_what_breaks_is_told_to_its_caller_and_replaced_for_the_next() -> None:
    async def play(hub: McpHub, servers: Servers) -> None:
        servers.refuse = 1
        with pytest.raises(ToolServerUnavailable, match="refused"):
            await call(hub)
        servers.break_calls = 1
        with pytest.raises(ToolServerUnavailable, match="broken"):
            await call(hub)
        assert await call(hub) == "t {}"
        assert len(servers.opened) == 3

    play_hub(play)


def test_an_idle_connection_is_closed_and_a_used_one_is_not() -> None:
    async def play(hub: McpHub, servers: Servers) -> None:
        servers.gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(call(hub))
            await asyncio.sleep(MCP_SESSION_IDLE_MS / 1000 * 2)
            assert servers.open == 1
            servers.gate.set()
        await asyncio.sleep(MCP_SESSION_IDLE_MS / 1000 * 2)
        assert servers.open == 0

    play_hub(play)


def test_beyond_the_bound_the_longest_idle_connection_makes_room_or_the_caller_is_told() -> None:
    async def play(hub: McpHub, servers: Servers) -> None:
        for number in range(MCP_SESSIONS_MAX + 1):
            await call(hub, name=f"n{number}")
        await asyncio.sleep(0.01)
        assert servers.open == MCP_SESSIONS_MAX
        servers.gate = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(1, MCP_SESSIONS_MAX + 1):
                group.create_task(call(hub, name=f"n{number}"))
            await asyncio.sleep(0.01)
            with pytest.raises(Busy):
                await call(hub, name="one too many")
            servers.gate.set()

    play_hub(play)


def test_a_server_that_never_comes_up_is_given_up() -> None:
    async def play(hub: McpHub, servers: Servers) -> None:
        @asynccontextmanager
        async def hang(target: Target, login: object, era: str | None) -> AsyncIterator[Servers]:
            await asyncio.Event().wait()
            yield servers

        servers.connect = hang  # type: ignore[method-assign]
        with pytest.raises(ToolServerUnavailable, match="could not be connected to within"):
            await call(hub)

    play_hub(play)
