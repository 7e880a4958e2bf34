"""Goal: the HTTP/1.1 transport against servers that are odd, rude or gone. Method: canned bytes on loopback."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from kelpie.llm.http1 import KeepAliveTransport


class Canned:
    """Answers the n-th request with the n-th bytes, in the pieces given; None closes without an answer."""

    def __init__(self, *answers: list[bytes] | None, closing: bool = False) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answers = list(answers)
        self._closing = closing

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
                self.requests.append(head + await reader.readexactly(length))
                answer = self._answers.pop(0)
                for piece in answer or []:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.002)
                if answer is None or self._closing:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def talking(
    canned: Canned, *, connections_max: int = 4, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[KeepAliveTransport, str]]:
    """The canned server and a transport."""
    server = await asyncio.start_server(canned.talk, "127.0.0.1", 0, ssl=tls)
    transport = KeepAliveTransport(connections_max=connections_max, idle_s=30)
    async with server:
        scheme = "https" if tls else "http"
        yield transport, f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/ask?a=b"
        await transport.aclose()


async def post(transport: KeepAliveTransport, url: str, body: bytes = b"hello") -> tuple[int, bytes]:
    """One exchange: status and body."""
    headers = [(b"host", b"x"), (b"content-length", b"%d" % len(body))]
    request = httpx2.Request("POST", url, headers=headers, stream=httpx2.ByteStream(body))
    response = await transport.handle_async_request(request)
    try:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return response.status_code, b"".join([chunk async for chunk in response.stream])
    finally:
        await response.stream.aclose()  # type: ignore[union-attr]


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("pieces", "closing", "expected"),
    [
        ([OK], False, (200, b"ok")),
        ([OK[:9], OK[9:30], OK[30:]], False, (200, b"ok")),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + OK], False, (200, b"ok")),
        ([b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK], False, (200, b"ok")),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"], False, (200, b"ok")),
        ([b"HTTP/1.0 200 OK\r\n\r\n", b"o", b"k"], True, (200, b"ok")),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], False, (204, b"")),
        ([b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"], False, (500, b"")),
    ],
)
def test_answers_in_all_forms(run, pieces, closing, expected) -> None:
    """Lengths, chunks, interim answers, an end by closing; the request is one message with its body."""

    async def scenario() -> None:
        canned = Canned(pieces, closing=closing)
        async with talking(canned) as (transport, url):
            assert await post(transport, url) == expected
        assert canned.requests == [b"POST /ask?a=b HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"]

    run(scenario())


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        (None, httpx2.ReadError),
        ([b"SSH-2.0-OpenSSH\r\n\r\n"], httpx2.RemoteProtocolError),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"], httpx2.ReadError),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"], httpx2.RemoteProtocolError),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000], httpx2.RemoteProtocolError),
    ],
)
def test_broken_answers_are_errors_of_the_connection(run, pieces, error) -> None:
    """Closed, not HTTP, cut short, malformed, a head without end."""

    async def scenario() -> None:
        async with talking(Canned(pieces, closing=True)) as (transport, url):
            with pytest.raises(error):
                await post(transport, url)

    run(scenario())


def test_a_connection_that_died_while_idle_is_replaced_unnoticed(run) -> None:
    """Whether its end was seen in time or only when the request was written."""

    async def scenario() -> None:
        canned = Canned([OK], [OK], None, [OK])
        async with talking(canned) as (transport, url):
            for _ in range(3):  # the third request is not answered on the kept connection, but on a new one
                assert await post(transport, url) == (200, b"ok")
        assert (len(canned.requests), canned.connections) == (4, 2)
        canned = Canned([OK], [OK], closing=True)
        async with talking(canned) as (transport, url):
            for _ in range(2):
                assert await post(transport, url) == (200, b"ok")
                await asyncio.sleep(0.02)
        assert (len(canned.requests), canned.connections) == (2, 2)

    run(scenario())


def test_connections_are_bounded_and_waited_for(run) -> None:
    """A third call waits for one of two connections; a cancelled waiter takes none with it."""

    async def scenario() -> None:
        canned = Canned(*[[OK[:20], OK[20:]] for _ in range(9)])
        async with talking(canned, connections_max=2) as (transport, url):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(post(transport, url)) for _ in range(6)]
                await asyncio.sleep(0)
                tasks[5].cancel()
                tasks[0].cancel()
            assert [task.result() for task in tasks[1:5]] == [(200, b"ok")] * 4
            assert await post(transport, url) == (200, b"ok")
        assert canned.connections <= 3

    run(scenario())


def test_a_slow_reader_holds_back_the_sender(run) -> None:
    """A large body is not gathered in memory while nobody reads it, and arrives whole."""
    size = 8_000_000

    async def scenario() -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size
        async with talking(Canned([head, b"x" * size])) as (transport, url):
            request = httpx2.Request("POST", url, headers=[(b"content-length", b"0")], stream=httpx2.ByteStream(b""))
            response = await transport.handle_async_request(request)
            await asyncio.sleep(0.05)
            held = response.stream._connection._held  # type: ignore[union-attr]
            assert held < 2_000_000
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            assert sum([len(chunk) async for chunk in response.stream]) == size
            await response.stream.aclose()

    run(scenario())


def test_a_header_cannot_smuggle_a_line(run) -> None:
    """Refused before anything is sent; closing twice and asking after closing are harmless."""

    async def scenario() -> None:
        async with talking(Canned()) as (transport, url):
            headers = [(b"x-api-key", b"a\r\nevil: 1")]
            request = httpx2.Request("POST", url, headers=headers, stream=httpx2.ByteStream(b""))
            with pytest.raises(httpx2.LocalProtocolError, match="x-api-key"):
                await transport.handle_async_request(request)
            await transport.aclose()
            with pytest.raises(httpx2.LocalProtocolError, match="closed"):
                await post(transport, url)

    run(scenario())


def test_tls_is_spoken_and_strangers_are_not_trusted(run, monkeypatch) -> None:
    """A certificate that the system (here: SSL_CERT_FILE) does not know ends the connection with words."""
    certificate = str(Path(__file__).parent / "localhost.pem")  # made for this test, valid until 2120
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    async def scenario() -> tuple[int, bytes]:
        async with talking(Canned([OK], [OK]), tls=tls) as (transport, url):
            await post(transport, url)
            return await post(transport, url)

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(httpx2.ConnectError, match="certificate verify failed"):
        run(scenario())
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    assert run(scenario()) == (200, b"ok")


def test_dead_connections_of_one_server_do_not_keep_out_those_of_another(run) -> None:
    """The places for idle connections are shared by all servers."""

    async def scenario() -> None:
        gone, alive = Canned([OK]), Canned([OK], [OK])
        async with talking(gone, connections_max=1) as (transport, url):
            await post(transport, url)
            async with talking(alive) as (_, other_url):
                transport._idle[next(iter(transport._idle))][0].abort()
                await asyncio.sleep(0.01)
                for _ in range(2):
                    assert await post(transport, other_url) == (200, b"ok")
        assert alive.connections == 1

    run(scenario())
