"""The ASGI application: what is true of every request, whatever its route.

A request gets an id, a bound on its size, on its depth and on its time, and an answer: an unknown path 404, a
wrong method 405, a typed error in the words of `errors.py`, and for a bug of our own 500 with the id under which
the log tells more. When the node drains, what would begin a turn is refused with Retry-After; the rest is served
to the end. It knows no route: the table is given to it.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, Protocol

from kelpie.api import errors
from kelpie.api.deadlines import Deadlines
from kelpie.api.passing import PassedOn, relay
from kelpie.api.route import ENCODER, BoundRoute, Noted, Route, RouteTable
from kelpie.api.sse import EventStream, Receive, Send, pump
from kelpie.errors import Broken, Busy, CallTimedOut, Draining, KelpieError
from kelpie.ids import new_uuid
from kelpie.limits import (
    REQUEST_BYTES_MAX,
    REQUEST_DEADLINE_MS,
    REQUEST_ID_CHARS_MAX,
    REQUEST_READ_MS,
    REQUESTS_OPEN_MAX,
    RETRY_AFTER_MS,
)
from kelpie.world import Entropy

LOG = logging.getLogger("kelpie.api")
NO_CONTENT = 204
_REQUEST_ID = re.compile(rb"[!-~]{1,%d}" % REQUEST_ID_CHARS_MAX)
_JSON = (b"content-type", b"application/json")
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_BUG_BODY = b'{"detail":"Internal error. The log of the server tells more under the id in x-request-id."}'

Scope = Mapping[str, Any]


class Page:
    """An answer in bytes of the handler's own: their type, and a note if there is one."""

    __slots__ = ("content", "content_type", "note")

    def __init__(self, content_type: str, content: bytes, note: str | None = None) -> None:
        self.content_type = content_type.encode()
        self.content = content
        self.note = note


class Json:
    """A handler's answer as JSON, with its route's status, and a note if there is one."""

    __slots__ = ("content", "note", "status")

    def __init__(self, status: int, content: bytes, note: str | None) -> None:
        self.status = status
        self.content = content
        self.note = note


class ClientGone(Exception):
    """The client left before it had sent its request; nobody waits for an answer."""


class Gate(Protocol):
    """Who may ask for what."""

    async def check(self, route: Route, path: Mapping[str, str], headers: Mapping[bytes, bytes]) -> None:
        """Raises NotAuthenticated, Forbidden."""
        ...


class App:
    """The door. `house` is handed to every handler; the App itself does not look into it."""

    def __init__(self, table: RouteTable, house: object, entropy: Entropy, gate: Gate) -> None:
        self._table = table
        self._house = house
        self._entropy = entropy
        self._gate = gate
        self._open = 0
        self._draining = False
        self._reading, self._handling = Deadlines(REQUEST_READ_MS), Deadlines(REQUEST_DEADLINE_MS)

    def drain(self) -> None:
        """Begin no more turns. What was begun goes on."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection of the ASGI server."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        self._open += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._open -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self._request_id(headers)
        try:
            answer = await self._answer(scope, headers, receive)
        except KelpieError as error:
            if isinstance(error, Broken):
                LOG.error("request %s: %s", request_id.decode(), error)
            answer = error
        except ClientGone:
            return
        except Exception:
            LOG.exception("request %s: %s %s failed", request_id.decode(), scope["method"], scope["path"])
            await _send(send, 500, [_JSON, (b"x-request-id", request_id)], _BUG_BODY)
            return
        id_header = (b"x-request-id", request_id)
        match answer:
            case EventStream():
                start = {"type": "http.response.start", "status": 200, "headers": [*_STREAM_HEADERS, id_header]}
                await send(start)
                try:
                    await pump(answer, receive, send)
                except Exception:
                    LOG.exception("request %s: the stream of %s broke off", request_id.decode(), scope["path"])
            case PassedOn():
                try:
                    await relay(answer, id_header, receive, send)
                except Exception:
                    LOG.exception("request %s: what was passed on to %s broke off", request_id.decode(), scope["path"])
            case KelpieError():
                extra = errors.headers_of(answer)
                if isinstance(answer, errors.MethodNotAllowed):
                    extra.append((b"allow", str(answer.fields["allow"]).encode()))
                await _send(send, errors.status_of(answer), [_JSON, id_header, *extra], errors.body_of(answer))
            case Page():
                kind = [(b"content-type", answer.content_type)]
                await _send(send, 200, [*kind, *_note(answer.note), id_header], answer.content)
            case Json():
                kind = [_JSON] if answer.content else []
                await _send(send, answer.status, [*kind, *_note(answer.note), id_header], answer.content)

    async def _answer(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> Json | Page | EventStream | PassedOn:
        if self._open > REQUESTS_OPEN_MAX:
            raise Busy(
                f"more than {REQUESTS_OPEN_MAX} requests are open",
                limit="REQUESTS_OPEN_MAX",
                retry_after_ms=RETRY_AFTER_MS,
            )
        raw_path = scope.get("raw_path") or scope["path"].encode()
        bound, values = self._table.find(scope["method"], raw_path)
        await self._gate.check(bound.route, dict(zip(bound.parameters, values, strict=True)), headers)
        if self._draining and bound.route.begins_turn:
            raise Draining("the server is shutting down and begins no new turns", retry_after_ms=RETRY_AFTER_MS)
        body = await self._read_body(headers, receive, bound.route.body_bytes_max) if bound.has_body else b""
        ask = bound.read(values, scope["query_string"], body, headers)
        return await self._handled(bound, ask)

    async def _handled(self, bound: BoundRoute, ask: Any) -> Json | Page | EventStream | PassedOn:
        """The handler's answer, within the deadline; what is no stream or page becomes JSON."""
        try:
            with self._handling.watch():
                answer = await bound.route.handler(self._house, ask)
        except TimeoutError:
            raise CallTimedOut(
                f"no answer within {REQUEST_DEADLINE_MS} ms; the work may go on", limit="REQUEST_DEADLINE_MS"
            ) from None
        if isinstance(answer, EventStream | Page | PassedOn):
            return answer
        answer, note = (answer.answer, answer.note) if isinstance(answer, Noted) else (answer, None)
        return Json(bound.route.status, b"" if bound.route.status == NO_CONTENT else ENCODER.encode(answer), note)

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive, bytes_max: int) -> bytes:
        """The whole body. Raises RequestTooLarge, as soon as it is known to be, ClientGone, Malformed (too slow)."""
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and len(declared) < 20 and int(declared) > bytes_max:
            raise _too_large(bytes_max)
        chunks: list[bytes] = []
        size = 0
        try:
            with self._reading.watch():
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk: bytes = message.get("body", b"")
                    size += len(chunk)
                    if size > bytes_max:
                        raise _too_large(bytes_max)
                    chunks.append(chunk)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise errors.Malformed(
                f"the body did not arrive within {REQUEST_READ_MS} ms", place=("body",), kind="timeout"
            ) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The client's own id, if it is a plain one, else a new one."""
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return new_uuid(self._entropy).encode()


def _too_large(bytes_max: int) -> errors.RequestTooLarge:
    limit = "REQUEST_BYTES_MAX" if bytes_max == REQUEST_BYTES_MAX else "UPLOAD_BYTES_MAX"
    return errors.RequestTooLarge(
        f"the body is over the limit of {bytes_max} bytes ({limit})", limit=limit, maximum=bytes_max
    )


def _note(note: str | None) -> list[errors.Header]:
    return [] if note is None else [(b"x-kelpie-note", note.encode("unicode_escape"))]


async def _send(send: Send, status: int, headers: list[errors.Header], body: bytes) -> None:
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: Receive, send: Send) -> None:
    """The server's own beginning and end; the parts behind this door are begun and ended by who made them."""
    for _ in range(2):
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
