"""A keep-alive HTTP/1.1 client that costs next to nothing: requests are encoded once, answers barely parsed."""

import asyncio
import time
from collections.abc import Mapping

import msgspec
from msgspec import Struct

READ_BYTES = 1 << 18


class Answer(Struct, frozen=True, kw_only=True):
    """A whole answer. Times in seconds from the moment before the request was written."""

    status: int
    body: bytes
    first_byte_s: float  # of the body
    whole_s: float


def encode(method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of one request."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(content)}"]
    if body is not None:
        lines.append("content-type: application/json")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


class Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """Connect to 127.0.0.1."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=READ_BYTES))

    async def ask(self, request: bytes) -> Answer:
        """Send an encoded request, wait for the whole answer."""
        began = time.perf_counter()
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        fields = head.lower()
        if b"transfer-encoding: chunked" in fields:
            body, first = await self._read_chunks()
        else:
            at = fields.index(b"content-length: ") + len(b"content-length: ")
            length = int(fields[at : fields.index(b"\r\n", at)])
            body = await self._reader.readexactly(length)
            first = time.perf_counter()
        return Answer(status=status, body=body, first_byte_s=first - began, whole_s=time.perf_counter() - began)

    async def ask_ok(self, request: bytes) -> Answer:
        """As `ask`; fails on anything but 200."""
        answer = await self.ask(request)
        assert answer.status == 200, (answer.status, answer.body[:500])
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def _read_chunks(self) -> tuple[bytes, float]:
        pieces: list[bytes] = []
        first = 0.0
        while (size := int((await self._reader.readline()).split(b";")[0], 16)) > 0:
            pieces.append(await self._reader.readexactly(size))
            first = first or time.perf_counter()
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(pieces), first or time.perf_counter()
