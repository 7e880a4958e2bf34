"""Answers that are passed on as they come: somebody else's status, some of its headers, its body piece by piece.

When the body breaks off in the middle, so does ours: the client is left with a connection that ended too early, which
is what happened, and the log says why.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from kelpie.api.sse import Receive, Send
from kelpie.limits import STREAM_MS_MAX

Header = tuple[bytes, bytes]


class PassedOn:
    """An answer of somebody else."""

    __slots__ = ("chunks", "headers", "status")

    def __init__(self, status: int, headers: Sequence[Header], chunks: AsyncGenerator[bytes, None]) -> None:
        self.status = status
        self.headers = headers
        self.chunks = chunks


class _ClientGone(Exception):
    """Ends the group; never leaves this module."""


async def relay(answer: PassedOn, request_id: Header, receive: Receive, send: Send) -> None:
    """Send it until it ends or the client goes. Raises what its chunks raise, in a group."""
    headers = [*answer.headers, request_id]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    ended = False
    try:
        async with aclosing(answer.chunks), asyncio.timeout(STREAM_MS_MAX / 1000), asyncio.TaskGroup() as group:
            watcher = group.create_task(_watch(receive), name="passing.watch")
            async for chunk in answer.chunks:
                if chunk:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            watcher.cancel()
            ended = True
    except* (_ClientGone, TimeoutError):
        assert not ended
    if ended:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _watch(receive: Receive) -> None:
    """Raises _ClientGone when the client has left."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
