"""The real transport of model calls: HTTP/1.1 over asyncio, kept-alive connections, one write for a request.

An httpx2 transport like any other, so that it can be swapped for one; `docs/adr/0009-model-transport.md` says
what was measured. It does what model calls need and no more: no redirects, no HTTP/2, no proxies (for a proxy
`transport.open_transport` picks httpx2's own).
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import cast

import httptools
import httpx2

_HEAD_BYTES_MAX = 65_536
_HELD_BYTES_MAX = 262_144  # of a body that nobody has read yet; then the socket is not read any further
_NO_BODY = (204, 304)

Origin = tuple[str, str, int]


class KeepAliveTransport(httpx2.AsyncBaseTransport):
    """At most `connections_max` connections; a further request waits for one, as long as its caller waits."""

    def __init__(self, *, connections_max: int, idle_s: float) -> None:
        assert connections_max > 0
        self._idle_s = idle_s
        self._idle: dict[Origin, list[_Connection]] = {}
        self._places = asyncio.Semaphore(connections_max)
        self._connections_max = connections_max
        self._idle_count = 0
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send and answer as soon as the head has come; the body follows in the response's stream."""
        if self._closed:
            raise httpx2.LocalProtocolError("the transport is closed")
        assert isinstance(request.stream, httpx2.AsyncByteStream)
        assert request.url.host, "the endpoint's address was checked when it was made"
        message = _head_of(request) + b"".join([chunk async for chunk in request.stream])
        origin = _origin_of(request.url)
        await self._places.acquire()
        try:
            connection = self._take_idle(origin)
            if connection is not None:
                try:
                    return self._response(origin, connection, await connection.exchange(message))
                except _GoneBefore:  # closed by the server while it idled: it has not seen the request
                    connection.abort()
            connection = await self._connect(origin, request.extensions.get("timeout", {}).get("connect"))
            try:
                return self._response(origin, connection, await connection.exchange(message))
            except BaseException:
                connection.abort()
                raise
        except BaseException:
            self._places.release()
            raise

    async def aclose(self) -> None:
        """Close the idle connections; those in use close when their response is."""
        self._closed = True
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()
        self._idle_count = 0

    def give_back(self, origin: Origin, connection: "_Connection") -> None:
        """Called once when a response's stream is closed."""
        self._places.release()
        if self._idle_count >= self._connections_max:
            self._drop_stale()
        if self._closed or not connection.reusable() or self._idle_count >= self._connections_max:
            connection.abort()
            return
        connection.idle_until = connection.clock() + self._idle_s
        self._idle.setdefault(origin, []).append(connection)
        self._idle_count += 1

    def _response(self, origin: Origin, connection: "_Connection", head: "_Head") -> httpx2.Response:
        stream = _Body(self, origin, connection)
        return httpx2.Response(head.status, headers=head.headers, stream=stream)

    def _take_idle(self, origin: Origin) -> "_Connection | None":
        """The connection that was used last, so that surplus ones grow old."""
        connections = self._idle.get(origin)
        while connections:
            connection = connections.pop()
            self._idle_count -= 1
            if connection.reusable() and connection.clock() < connection.idle_until:
                return connection
            connection.abort()
        return None

    def _drop_stale(self) -> None:
        """Forget the idle connections that are closed or too old, of every origin."""
        for origin, connections in list(self._idle.items()):
            self._idle[origin] = [one for one in connections if one.reusable() and one.clock() < one.idle_until]
            for stale in connections:
                if stale not in self._idle[origin]:
                    stale.abort()
        self._idle_count = sum(map(len, self._idle.values()))

    async def _connect(self, origin: Origin, connect_s: float | None) -> "_Connection":
        scheme, host, port = origin
        assert scheme in ("http", "https")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(connect_s):
                _, connection = await loop.create_connection(
                    lambda: _Connection(loop),
                    host,
                    port,
                    ssl=self._tls_context() if scheme == "https" else None,
                    server_hostname=host if scheme == "https" else None,
                )
        except TimeoutError:
            raise httpx2.ConnectTimeout("no connection in time") from None
        except OSError as error:  # includes ssl.SSLError and failed look-ups of the name
            raise httpx2.ConnectError(str(error)) from None
        assert not connection.reusable(), "it was not used yet"
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = httpx2.create_ssl_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


class _Head:
    """The head of a response while and after it is read."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.size = 0


class _GoneBefore(Exception):
    """A connection that had been used before closed without a single byte of an answer."""


class _Connection(asyncio.Protocol):
    """One connection. The methods named on_* are called by the parser while it is fed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.clock = loop.time
        self.idle_until = 0.0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._used = False
        self._error: Exception | None = None  # why no more bytes will come
        self._waiter: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._head = _Head()
        self._head_done = False
        self._done = False
        self._sized = False
        self._keeps = False
        self._chunks: list[bytes] = []
        self._held = 0

    # -- asyncio's side ----------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a broken answer ends the connection."""
        if self._done or not self._used:
            self._end(httpx2.RemoteProtocolError("it sent bytes that were not asked for"))
            return
        self._head.size += 0 if self._head_done else len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            self._end(httpx2.RemoteProtocolError(str(error)))
            return
        if not self._head_done and self._head.size > _HEAD_BYTES_MAX:
            self._end(httpx2.RemoteProtocolError("the head of the answer does not end"))
        elif self._held > _HELD_BYTES_MAX and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """No more bytes: the end of a body without a length, else a broken one."""
        self._transport = None
        if self._head_done and not self._done and not self._sized and exc is None:
            self._done = True
        if self._error is None:
            self._error = httpx2.ReadError(str(exc) if exc else "the connection was closed")
        self._wake()

    # -- the parser's side -------------------------------------------------------------------------------
    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer."""
        self._head.headers.append((name, value))
        self._sized = self._sized or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        """The head has ended; an interim one (1xx) is forgotten."""
        self._head.status = self._parser.get_status_code()
        self._head_done = self._head.status >= 200
        self._sized = self._sized or self._head.status in _NO_BODY

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._chunks.append(body)
        self._held += len(body)

    def on_message_complete(self) -> None:
        """The answer has ended, or the interim one before it."""
        if self._head_done:
            self._done = True
            self._keeps = self._parser.should_keep_alive()  # the parser knows it only now
        else:
            self._head = _Head()

    # -- the reader's side -------------------------------------------------------------------------------
    async def exchange(self, message: bytes) -> _Head:
        """Send a whole request, wait for the head of its answer."""
        assert self._transport is not None
        assert self._waiter is None
        again = self._used
        if again:
            self._begin()
        self._used = True
        try:
            self._transport.write(message)
            while not self._head_done:
                if self._error is not None:
                    if again and self._head.size == 0:
                        raise _GoneBefore
                    raise self._error
                await self._more()
        except asyncio.CancelledError:
            self.abort()
            raise
        return self._head

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of the body as they come."""
        while True:  # ends with the body, the connection or the reader's patience
            if self._chunks:
                body = b"".join(self._chunks) if len(self._chunks) > 1 else self._chunks[0]
                self._chunks.clear()
                self._held = 0
                if self._transport is not None:
                    self._transport.resume_reading()
                yield body
            elif self._done:
                return
            elif self._error is not None:
                raise self._error
            else:
                await self._more()

    def reusable(self) -> bool:
        """Whether another request may be sent on it."""
        return self._done and self._keeps and self._error is None and self._transport is not None

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        assert self._waiter is None, "a connection has one reader"
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self, error: Exception) -> None:
        self._error = self._error or error
        self.abort()
        self._wake()


class _Body(httpx2.AsyncByteStream):
    """A response's body; closing it gives the connection back, once."""

    def __init__(self, transport: KeepAliveTransport, origin: Origin, connection: _Connection) -> None:
        self._transport: KeepAliveTransport | None = transport
        self._origin = origin
        self._connection = connection

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.chunks()

    async def aclose(self) -> None:
        """Done with the response, read to its end or not."""
        if self._transport is not None:
            self._transport.give_back(self._origin, self._connection)
            self._transport = None


def _origin_of(url: httpx2.URL) -> Origin:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _head_of(request: httpx2.Request) -> bytes:
    """The bytes of the request line and headers; LocalProtocolError if a value could end a line."""
    lines = [b"%s %s HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    for name, value in request.headers.raw:
        if b"\r" in value or b"\n" in value or b"\0" in value:
            raise httpx2.LocalProtocolError(f"the header {name.decode('latin-1')} has a forbidden character")
        lines.append(name + b": " + value)
    return b"\r\n".join([*lines, b"", b""])
