"""Real tool servers, spoken to over each of the three transports, and what goes wrong with them."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Raw

from kelpie.errors import ToolServerUnavailable
from kelpie.tools.mcp_sdk import connector
from kelpie.tools.mcp_wire import HttpTarget, StdioTarget, Target
from kelpie.tools.public_hosts import HostPolicy
from kelpie.tools.tool import ToolOutcome

PROGRAM = str(Path(__file__).with_name("tool_server.py"))
STDIO = StdioTarget(command=sys.executable, args=(PROGRAM, "stdio"), env=(("MARK", "here"),))
CONNECT = connector(HostPolicy(loopback=True))


@pytest.fixture(params=["stdio", "streamable-http", "sse"], scope="module")
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """The same server behind each transport."""
    if request.param == "stdio":
        yield STDIO
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, PROGRAM, request.param, str(port)])
    try:
        _await_port(port)
        path = "sse" if request.param == "sse" else "mcp"
        yield HttpTarget(url=f"http://127.0.0.1:{port}/{path}", sse=request.param == "sse")
    finally:
        process.kill()
        process.wait()


def _await_port(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the tool server did not come up")


def test_tools_are_listed_and_called(run, target: Target) -> None:
    """Names, schemas and hints come over; results and failures are outcomes; calls run side by side."""

    async def play() -> None:
        async with CONNECT(target, None, None) as session:
            offered = {tool.name: tool for tool in await session.list_tools()}
            assert list(offered) == ["count", "repeat", "environment", "fail", "linger", "leave"]
            assert (offered["count"].read_only, offered["repeat"].read_only) == (True, False)
            assert offered["repeat"].description == "Say something several times."
            assert b'"times"' in bytes(offered["repeat"].parameters)
            said = await session.call("repeat", Raw(b'{"text": "a", "times": 3}'))
            assert said == ToolOutcome(text="a a a")
            failed = await session.call("fail", Raw(b'{"reason": "no luck"}'))
            assert not failed.ok and "no luck" in failed.text
            slow = asyncio.ensure_future(session.call("linger", Raw(b'{"seconds": 0.3}')))
            quick = await session.call("count", Raw(b"{}"))
            assert quick.ok and not slow.done()
            assert (await slow).text == "late"
        async with CONNECT(target, None, session.era) as again:
            assert (await again.call("repeat", Raw(b'{"text": "b"}'))).text == "b"

    run(play())


def test_a_program_gets_its_variables_and_not_ours(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    async def play() -> None:
        async with CONNECT(STDIO, None, None) as session:
            found = [(await session.call("environment", Raw(b'{"name": "%s"}' % name))).text
                     for name in (b"MARK", b"OPENAI_API_KEY")]  # fmt: skip
            assert found == ["here", ""]

    run(play())


def test_a_server_that_ends_in_the_middle_of_a_call_is_told(run) -> None:
    async def play() -> None:
        with pytest.raises(ToolServerUnavailable):
            async with CONNECT(STDIO, None, None) as session:
                await session.call("leave", Raw(b"{}"))

    run(play())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (StdioTarget(command="/no/such/program"), "no/such/program"),
        (StdioTarget(command=sys.executable, args=(PROGRAM, "broken")), "no such database"),
        (HttpTarget(url="http://127.0.0.1:9/mcp"), "could not connect"),
        (HttpTarget(url="http://127.0.0.1:9/sse", sse=True), "could not connect"),
    ],
)
def test_what_cannot_be_connected_to_says_why(run, target: Target, said: str) -> None:
    async def play() -> None:
        with pytest.raises(ToolServerUnavailable, match=said):
            async with CONNECT(target, None, None):
                pass

    run(play())


def test_an_address_that_is_not_admitted_is_not_connected_to(run) -> None:
    async def play() -> None:
        for sse in (False, True):
            with pytest.raises(ToolServerUnavailable, match="not public"):
                async with connector(HostPolicy())(HttpTarget(url="http://localhost:9/mcp", sse=sse), None, None):
                    pass

    run(play())
