"""The only sender of model calls: HTTP over an httpx2 transport, bounded in time and size.

The transport is the seam: `open_transport` makes the real one, tests and the simulator pass another. It is
driven directly, without an httpx2 client: a client's redirects, cookies and authorisation are not wanted
here, and its work is half the cost of a call.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import NoReturn

import httpx2
from msgspec import Struct

from kelpie.errors import InvalidInput, KelpieError, ModelUnavailable
from kelpie.limits import (
    MODEL_CALL_DEADLINE_MS,
    MODEL_CONNECT_MS,
    MODEL_CONNECTIONS_MAX,
    MODEL_ENDING_MS,
    MODEL_LIST_MS,
    MODEL_REPLY_BYTES_MAX,
    MODEL_SILENCE_MS,
)
from kelpie.llm.http1 import KeepAliveTransport
from kelpie.llm.retry import read_retry_after
from kelpie.world import WallClock

_IDLE_CONNECTION_S = 30.0

# Takes the bytes of a streamed reply as they come; True once nothing more is expected.
Sink = Callable[[bytes], bool]


class CallBounds(Struct, frozen=True, kw_only=True):
    """How long and large one exchange may be. The defaults are those of `limits.py`; tests wait less."""

    call_ms: int = MODEL_CALL_DEADLINE_MS
    silence_ms: int = MODEL_SILENCE_MS
    connect_ms: int = MODEL_CONNECT_MS
    ending_ms: int = MODEL_ENDING_MS
    list_ms: int = MODEL_LIST_MS
    reply_bytes_max: int = MODEL_REPLY_BYTES_MAX


class Answer(Struct, frozen=True, kw_only=True):
    """What came back. `body` is empty when a sink took it."""

    status: int
    content_type: str
    retry_after_ms: int | None
    body: bytes
    streamed: bool


def open_transport(proxy: str | None) -> httpx2.AsyncBaseTransport:
    """The real transport, one for a process: it keeps connections open for reuse. `proxy` is one's URL, or None."""
    if proxy is None:
        return KeepAliveTransport(connections_max=MODEL_CONNECTIONS_MAX, idle_s=_IDLE_CONNECTION_S)
    limits = httpx2.Limits(
        max_connections=MODEL_CONNECTIONS_MAX,
        max_keepalive_connections=MODEL_CONNECTIONS_MAX,
        keepalive_expiry=_IDLE_CONNECTION_S,
    )
    return httpx2.AsyncHTTPTransport(limits=limits, proxy=proxy)


class Endpoint:
    """One provider's address and headers, built once. `headers` may hold the key: it is never shown."""

    def __init__(self, provider: str, base_url: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.provider = provider
        self.base_url = base_url.rstrip("/")
        self._urls: dict[str, httpx2.URL] = {}
        url = self._read_url("")
        if url.scheme not in ("http", "https") or not url.host:
            raise InvalidInput(f"the base URL of {provider} is not an http(s) address", field="base_url")
        if url.userinfo:
            raise InvalidInput(f"the base URL of {provider} holds a password; give it as the key", field="base_url")
        self.address = f"{url.scheme}://{url.netloc.decode('ascii')}"
        self._headers = [
            (b"host", url.netloc),
            (b"accept-encoding", b"identity"),  # compressed tokens would wait for each other
            (b"user-agent", b"kelpie"),
            *headers,
        ]

    def request(self, method: str, path: str, body: bytes, connect_ms: int) -> httpx2.Request:
        """A request that is ready to be sent; only its body and length are new."""
        url = self._urls.get(path)
        if url is None:
            url = self._read_url(path)
            if len(self._urls) < 16:
                self._urls[path] = url
        headers = [*self._headers, (b"content-length", b"%d" % len(body))]
        # Only connecting is timed by the transport, the rest by one timer in `Sender.send`.
        timeouts = {"connect": connect_ms / 1_000, "read": None, "write": None, "pool": None}
        stream = httpx2.ByteStream(body)
        return httpx2.Request(method, url, headers=headers, stream=stream, extensions={"timeout": timeouts})

    def _read_url(self, path: str) -> httpx2.URL:
        try:
            return httpx2.URL(self.base_url + path)
        except httpx2.InvalidURL:
            raise InvalidInput(f"the base URL of {self.provider} is not a URL", field="base_url") from None


class Sender:
    """Sends requests to any endpoint. Raises only ModelUnavailable; the status is the caller's to judge."""

    def __init__(self, wall: WallClock, transport: httpx2.AsyncBaseTransport, *, bounds: CallBounds) -> None:
        self.bounds = bounds
        self._wall = wall
        self._transport = transport

    async def send(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: bytes,
        *,
        deadline: float,
        sink: Sink | None = None,
    ) -> Answer:
        """One exchange, ended by `deadline` (of the running loop's clock) or, with a sink, by silence.

        The sink gets the body of a successful event stream; any other body is answered whole. Cancellation
        closes the connection.
        """
        assert method in ("GET", "POST")
        exchange = _Exchange(self.bounds, endpoint, deadline, sink)
        request = endpoint.request(method, path, body, self.bounds.connect_ms)
        try:
            async with asyncio.timeout_at(exchange.patience()) as timer:
                response = await self._transport.handle_async_request(request)
                assert isinstance(response.stream, httpx2.AsyncByteStream)
                try:
                    return await exchange.read(response, response.stream, timer, self._wall)
                finally:
                    await response.stream.aclose()
        except TimeoutError:
            if exchange.complete:
                return exchange.answer()
            exchange.fail_late()
        except httpx2.TransportError as error:
            if exchange.complete:
                return exchange.answer()
            exchange.fail_connection(error)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class _Exchange:
    """One answer while it is being read."""

    def __init__(self, bounds: CallBounds, endpoint: Endpoint, deadline: float, sink: Sink | None) -> None:
        self.complete = False  # the sink has all it wants; the rest only lets the connection be used again
        self._bounds = bounds
        self._endpoint = endpoint
        self._deadline = deadline
        self._sink = sink
        self._clock = asyncio.get_running_loop().time
        self._begun = self._clock()
        self._heard = 0  # bytes
        self._status = 0
        self._content_type = ""
        self._retry_after_ms: int | None = None
        self._pieces: list[bytes] = []

    def patience(self) -> float:
        """Until when the next byte is waited for."""
        if self._sink is None:
            return self._deadline
        wait_ms = self._bounds.ending_ms if self.complete else self._bounds.silence_ms
        return min(self._deadline, self._clock() + wait_ms / 1_000)

    async def read(
        self, response: httpx2.Response, stream: httpx2.AsyncByteStream, timer: asyncio.Timeout, wall: WallClock
    ) -> Answer:
        """The whole answer, after the sink has taken its part."""
        self._read_head(response, wall)
        chunks = aiter(stream)
        try:
            async for chunk in chunks:
                self._take(chunk)
                if self._sink is not None:
                    timer.reschedule(self.patience())
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()
        return self.answer()

    def answer(self) -> Answer:
        """What was read."""
        assert self._status != 0
        return Answer(
            status=self._status,
            content_type=self._content_type,
            retry_after_ms=self._retry_after_ms,
            body=b"".join(self._pieces),
            streamed=self._streams(),
        )

    def fail_late(self) -> NoReturn:
        """Say which of the waits ended."""
        waited_ms = round((self._clock() - self._begun) * 1_000)
        if self._clock() >= self._deadline:
            self._fail(f"did not finish its answer within {waited_ms} ms ({self._heard} bytes came)")
        self._fail(f"was silent for {self._bounds.silence_ms} ms ({self._heard} bytes came)")

    def fail_connection(self, error: httpx2.TransportError) -> NoReturn:
        """Say what became of the connection."""
        words = str(error) or type(error).__name__
        match error:
            case httpx2.ConnectTimeout():
                self._fail(f"could not be connected to within {self._bounds.connect_ms} ms")
            case httpx2.ConnectError() | httpx2.ProxyError():
                self._fail(f"could not be connected to: {words}")
            case httpx2.LocalProtocolError():
                self._fail("could not be asked: its key or address has characters that HTTP does not allow")
            case httpx2.ProtocolError() if self._status == 0:
                self._fail(f"did not answer in HTTP: {words}")
            case _:
                self._fail(f"broke off its answer after {self._heard} bytes: {words}")

    def _take(self, chunk: bytes) -> None:
        bytes_max = self._bounds.reply_bytes_max
        self._heard += len(chunk)
        if self._heard > bytes_max:
            self._fail(f"sent more than {bytes_max} bytes", limit="MODEL_REPLY_BYTES_MAX", maximum=bytes_max)
        if self._sink is None or not self._streams():
            self._pieces.append(chunk)
        else:
            self.complete = self._sink(chunk) or self.complete

    def _read_head(self, response: httpx2.Response, wall: WallClock) -> None:
        headers = {name.lower(): value for name, value in response.headers.raw}
        self._status = response.status_code
        self._content_type = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if self._status != 200:
            self._retry_after_ms = read_retry_after(headers, wall.now_ms())
        elif headers.get(b"content-encoding", b"identity") != b"identity":
            self._fail("compressed its answer, though asked not to")

    def _streams(self) -> bool:
        return self._sink is not None and self._status == 200 and self._content_type == "text/event-stream"

    def _fail(self, what: str, **fields: str | int) -> NoReturn:
        raise unavailable(self._endpoint, what, **fields)


def unavailable(endpoint: Endpoint, what: str, **fields: str | int) -> KelpieError:
    """The provider, named with its address, and what it did."""
    sentence = f"{endpoint.provider} ({endpoint.address}) {what}"
    return ModelUnavailable(sentence, provider=endpoint.provider, **fields)
