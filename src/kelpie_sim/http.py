"""Clients and nodes talk HTTP over the simulated network: the production ASGI app at one end, a client at the other.

A request may be lost, be late or, if it carries a key, arrive twice, as after a proxy's own retry. An answer comes
in order through a pipe that a cut, a crash or a lost message breaks for good; the client then knows no more than
after a lost request. Nothing is lost or doubled within an answer: that is what TCP is for.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
from msgspec import Struct

from kelpie.api.app import App
from kelpie_sim.faults import FaultKind, Faults
from kelpie_sim.host import SimHost
from kelpie_sim.loop import SimLoop
from kelpie_sim.network import LinkBroken, Network, Pipe

Door = Callable[[SimHost], App | None]
Overhear = Callable[[SimHost, "HttpAsk", int, bytes], None]


class ConnectionLost(Exception):
    """No answer, or half of one: whether the request was served is not known."""


class HttpAsk(Struct, frozen=True, kw_only=True):
    """A request. One with a `key` may be repeated by whoever carries it."""

    method: str
    path: str
    body: bytes = b""
    key: str | None = None

    def headers(self) -> list[tuple[bytes, bytes]]:
        """As ASGI has them."""
        found = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body))]
        if self.key is not None:
            found.append((b"idempotency-key", self.key.encode()))
        return found


class HttpAnswer(Struct, frozen=True, kw_only=True):
    """A whole answer, and which host gave it. `run_id`: of a run that was accepted and ended badly."""

    host: str
    status: int
    body: bytes
    error: str = ""  # the name of the error, if it is one
    run_id: str | None = None

    def read(self, kind: type) -> Any:
        """The body as this struct."""
        return msgspec.json.decode(self.body, type=kind)


class StreamItem(Struct, frozen=True):
    """One event of a stream, as far as the simulator looks into it; `raw` is all of it."""

    message_type: str = ""
    seq_id: int | None = None
    run_id: str | None = None
    id: str | None = None
    stop_reason: str | None = None
    raw: bytes = b""


class _Wire:
    """One connection."""

    def __init__(self, pipe: Pipe[dict[str, Any]]) -> None:
        self.pipe = pipe
        self.left = asyncio.Event()  # at the node: the client has gone
        self.arrived = False


class SimHttp:
    """All connections of a simulation. `overhear` is shown every piece of an answer as it leaves its node."""

    def __init__(self, loop: SimLoop, network: Network, faults: Faults, door: Door, overhear: Overhear) -> None:
        self._loop = loop
        self._network = network
        self._faults = faults
        self._door = door
        self._overhear = overhear
        self._count = 0

    async def ask(self, client: str, host: SimHost, ask: HttpAsk, *, wait_s: float) -> HttpAnswer:
        """The whole answer. Raises ConnectionLost, also when it takes longer than `wait_s`."""
        wire = self._open(client, host, ask)
        body, head, more = b"", _NO_HEAD, True
        try:
            async with asyncio.timeout(wait_s):
                while more:
                    head, piece, more = _read(await wire.pipe.receive(), head)
                    body += piece
        except (TimeoutError, LinkBroken):
            raise ConnectionLost(f"{client} has no answer from {host.name}") from None
        finally:
            if more:
                self._leave(client, host, wire)
        return _answer(host, head, body)

    async def stream(
        self, client: str, host: SimHost, ask: HttpAsk, *, silence_s: float
    ) -> AsyncGenerator[StreamItem | HttpAnswer, None]:
        """The events of a streamed answer, or a single HttpAnswer if it is none. To be closed by the reader.

        Raises ConnectionLost when it breaks off, or when nothing comes for `silence_s`.
        """
        wire = self._open(client, host, ask)
        rest, head, more = b"", _NO_HEAD, True
        try:
            while more:
                async with asyncio.timeout(silence_s):
                    head, piece, more = _read(await wire.pipe.receive(), head)
                rest += piece
                if head.status != 200:
                    continue
                *frames, rest = rest.split(b"\n\n")
                for frame in frames:
                    if frame.startswith(b"data: {"):
                        yield _item(frame[6:])
        except (TimeoutError, LinkBroken):
            raise ConnectionLost(f"{client} lost the stream from {host.name}") from None
        finally:
            if more:
                self._leave(client, host, wire)
        if head.status != 200:
            yield _answer(host, head, rest)

    def _open(self, client: str, host: SimHost, ask: HttpAsk) -> _Wire:
        wire = _Wire(Pipe(self._loop, self._network, host.name, client))
        self._network.send(client, host.name, lambda: self._arrive(host, ask, wire))
        return wire

    def _leave(self, client: str, host: SimHost, wire: _Wire) -> None:
        self._network.send(client, host.name, wire.left.set)

    def _arrive(self, host: SimHost, ask: HttpAsk, wire: _Wire) -> None:
        """A request is at the host's door; a second copy is served too, if it bears a key, to nobody."""
        app, life = self._door(host), host.life
        doubled, wire.arrived = wire.arrived, True
        if app is None or life is None:
            self._loop.call_later(0.001, wire.pipe.break_off, context=self._loop.world)
            return
        if doubled and ask.key is None:
            return
        answers = wire if not doubled else _Wire(Pipe(self._loop, self._network, host.name, "nobody"))
        self._count += 1
        number = -self._count  # SimHost.call numbers its own from 1
        life.mourners[number] = answers.pipe.break_off
        task = host.spawn(self._serve(host, app, ask, answers), name=f"http-{self._count}")
        task.add_done_callback(lambda _: life.mourners.pop(number, None), context=self._loop.world)

    async def _serve(self, host: SimHost, app: App, ask: HttpAsk, wire: _Wire) -> None:
        asked = False
        status = 0

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": ask.body, "more_body": False}
            await wire.left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            if message["type"] == "http.response.body":
                self._overhear(host, ask, status, message.get("body", b""))
            if self._faults.strike(FaultKind.MESSAGE_LOST):
                wire.pipe.break_off()
            wire.pipe.send(message)

        path, _, query = ask.path.partition("?")
        scope = {
            "type": "http",
            "method": ask.method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": ask.headers(),
        }
        await app(scope, receive, send)


class _Shown(Struct):
    message_type: str = ""
    seq_id: int | None = None
    run_id: str | None = None
    id: str | None = None
    stop_reason: str | None = None


def _item(raw: bytes) -> StreamItem:
    shown = msgspec.json.decode(raw, type=_Shown)
    return StreamItem(shown.message_type, shown.seq_id, shown.run_id, shown.id, shown.stop_reason, raw)


class _Head(Struct, frozen=True):
    status: int
    headers: dict[bytes, bytes]


_NO_HEAD = _Head(0, {})


def _read(message: dict[str, Any], head: _Head) -> tuple[_Head, bytes, bool]:
    """The head as far as it is known, the piece of the body, and whether more will come."""
    if message["type"] == "http.response.start":
        return _Head(message["status"], dict(message["headers"])), b"", True
    return head, message.get("body", b""), message.get("more_body", False)


def _answer(host: SimHost, head: _Head, body: bytes) -> HttpAnswer:
    run_id = head.headers.get(b"x-kelpie-run")
    return HttpAnswer(
        host=host.name,
        status=head.status,
        body=body,
        error=head.headers.get(b"x-kelpie-error", b"").decode(),
        run_id=None if run_id is None else run_id.decode(),
    )


def encoded(body: object) -> bytes:
    """A request's body."""
    return msgspec.json.encode(body)
