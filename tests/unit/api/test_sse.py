"""The pump: everything goes out in order, pings come in silence, and a client that leaves stops the reader."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from kelpie.api import sse
from kelpie.api.sse import EventStream, frame, pump

Run = Callable[[Any], Any]


class Connection:
    """A client: collects bodies, leaves when told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.ended = False
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.bodies.append(message["body"])
        self.ended = not message["more_body"]


def test_a_frame_is_one_data_line() -> None:
    assert frame({"a": "x\ny"}) == b'data: {"a":"x\\ny"}\n\n'


def test_frames_go_out_in_order_and_the_stream_ends(run: Run) -> None:
    async def frames() -> AsyncGenerator[bytes, None]:
        for number in range(1_000):  # more than is read ahead
            yield frame(number)

    async def scenario() -> tuple[bytes, bool]:
        connection = Connection()
        await pump(EventStream(frames()), connection.receive, connection.send)
        return b"".join(connection.bodies), connection.ended

    assert run(scenario()) == (b"".join(frame(number) for number in range(1_000)), True)


def test_pings_come_while_nothing_happens(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STREAM_PING_MS", 5)

    async def frames() -> AsyncGenerator[bytes, None]:
        yield frame("first")
        await asyncio.sleep(0.1)
        yield frame("last")

    async def scenario() -> list[bytes]:
        connection = Connection()
        await pump(EventStream(frames(), lambda: frame("ping")), connection.receive, connection.send)
        return connection.bodies

    bodies = run(scenario())
    assert (bodies[0], bodies[-2:]) == (frame("first"), [frame("last"), b""])
    assert set(bodies[1:-2]) == {frame("ping")}


def test_a_client_that_leaves_stops_the_reader_and_closes_what_it_reads(run: Run) -> None:
    closed = []

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            yield frame("first")
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    async def scenario() -> tuple[list[bytes], bool]:
        connection = Connection()
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(EventStream(frames()), connection.receive, connection.send))
            await asyncio.sleep(0.01)
            connection.left.set()
        return connection.bodies, connection.ended

    assert run(scenario()) == ([frame("first")], False)
    assert closed == [True]


def test_a_reader_too_slow_holds_back_the_source(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client takes nothing; the source is asked for what is read ahead and two in hand, not for more."""
    monkeypatch.setattr(sse, "STREAM_EVENTS_AHEAD_MAX", 3)
    made = []

    async def frames() -> AsyncGenerator[bytes, None]:
        for number in range(100):
            made.append(number)
            yield frame(number)

    async def scenario() -> int:
        connection = Connection()

        async def send(message: dict[str, Any]) -> None:
            await asyncio.Event().wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(EventStream(frames()), connection.receive, send))
            await asyncio.sleep(0.02)
            count = len(made)
            connection.left.set()
        return count

    assert run(scenario()) <= 3 * 2 + 2


def test_a_bug_in_the_source_is_not_swallowed(run: Run) -> None:
    async def frames() -> AsyncGenerator[bytes, None]:
        yield frame("first")
        raise AssertionError("bug")

    async def scenario() -> None:
        connection = Connection()
        await pump(EventStream(frames()), connection.receive, connection.send)

    with pytest.raises(ExceptionGroup):
        run(scenario())
