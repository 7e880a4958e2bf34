"""Server-sent events: frames, and the pump between a run's events and a client.

The pump reads ahead a bounded number of frames, keeps the connection alive with pings while nothing happens, and
stops reading when the client goes away. What it reads from goes on by itself: a client that leaves does not stop
a run. A client that is too slow makes the reader wait, not the run.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from kelpie.limits import STREAM_EVENTS_AHEAD_MAX, STREAM_MS_MAX, STREAM_PING_MS

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

DONE = b"data: [DONE]\n\n"
COMMENT = b": alive\n\n"
_ENCODER = msgspec.json.Encoder()


class EventStream:
    """An answer of events. `ping` makes the frame that says that the connection is alive."""

    __slots__ = ("frames", "ping")

    def __init__(self, frames: AsyncGenerator[bytes, None], ping: Callable[[], bytes] = lambda: COMMENT) -> None:
        self.frames = frames
        self.ping = ping


class _ClientGone(Exception):
    """Ends the pump's group; never leaves this module."""


def frame(event: object) -> bytes:
    """One event."""
    return b"data: " + _ENCODER.encode(event) + b"\n\n"


async def pump(stream: EventStream, receive: Receive, send: Send) -> None:
    """Send the frames until they end, the client goes, or STREAM_MS_MAX has passed."""
    ahead: asyncio.Queue[bytes | None] = asyncio.Queue(STREAM_EVENTS_AHEAD_MAX)
    ended = False
    try:
        async with asyncio.timeout(STREAM_MS_MAX / 1000), asyncio.TaskGroup() as group:
            watcher = group.create_task(_watch(receive), name="sse.watch")
            group.create_task(_read(stream.frames, ahead), name="sse.read")
            await _write(ahead, stream.ping, send)
            watcher.cancel()
            ended = True
    except* (_ClientGone, TimeoutError):
        assert not ended
    if ended:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read(frames: AsyncGenerator[bytes, None], ahead: asyncio.Queue[bytes | None]) -> None:
    async with aclosing(frames):
        async for one in frames:
            assert one.endswith(b"\n\n"), "a frame is whole"
            await ahead.put(one)
    await ahead.put(None)


async def _write(ahead: asyncio.Queue[bytes | None], ping: Callable[[], bytes], send: Send) -> None:
    """What is there already goes out together."""
    ended = False
    while not ended:
        try:
            async with asyncio.timeout(STREAM_PING_MS / 1000):
                first = await ahead.get()
        except TimeoutError:
            await send({"type": "http.response.body", "body": ping(), "more_body": True})
            continue
        waiting = [first]
        while not ahead.empty():
            waiting.append(ahead.get_nowait())
        ended = waiting[-1] is None
        body = b"".join([one for one in waiting if one is not None])
        if body:
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _watch(receive: Receive) -> None:
    """Raises _ClientGone when the client has left."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
