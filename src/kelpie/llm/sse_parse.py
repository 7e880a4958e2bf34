"""Bytes of a `text/event-stream` to its events, sans-I/O, in whatever pieces the bytes arrive.

Only what model providers use is kept: an event's name and its data. Ids, retry times and comments are read
over. Lines may end in LF, CRLF or CR.
"""

from msgspec import Struct

from kelpie.errors import ModelUnavailable
from kelpie.limits import MODEL_EVENT_BYTES_MAX

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ServerEvent(Struct, frozen=True, kw_only=True, gc=False):
    """One event: `name` is `message` unless the server gave another, `data` its data lines joined by LF."""

    data: bytes
    name: str = "message"


class SseParser:
    """Takes bytes, gives events. An event may be at most MODEL_EVENT_BYTES_MAX long (ModelUnavailable)."""

    def __init__(self, *, event_bytes_max: int = MODEL_EVENT_BYTES_MAX) -> None:
        assert event_bytes_max > 0
        self._event_bytes_max = event_bytes_max
        self._pieces: list[bytes] = []  # of the unfinished event, already with LF only
        self._held = 0  # bytes in _pieces
        self._after_return = False  # the last byte was CR: a LF right after it belongs to the same line end
        self._begun = False

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that `chunk` completes, in order."""
        chunk = self._with_plain_line_ends(chunk)
        if not chunk:
            return []
        if b"\n\n" not in chunk and not (chunk.startswith(b"\n") and self._line_ended()):
            self._hold(chunk)  # joined only when an event ends, so that the work stays linear
            return []
        whole = b"".join([*self._pieces, chunk]) if self._pieces else chunk
        *blocks, rest = whole.split(b"\n\n")
        self._pieces.clear()
        self._held = 0
        if rest:
            self._hold(rest)
        return self._events(blocks)

    def close(self) -> list[ServerEvent]:
        """The last event, if the stream ended without the blank line that should follow it."""
        blocks = [b"".join(self._pieces)]
        self._pieces.clear()
        self._held = 0
        return self._events(blocks)

    def _events(self, blocks: list[bytes]) -> list[ServerEvent]:
        assert self._held <= self._event_bytes_max
        events: list[ServerEvent] = []
        for block in blocks:
            if len(block) > self._event_bytes_max:
                raise _too_long(self._event_bytes_max)
            event = _read_block(block)
            if event is not None:
                events.append(event)
        return events

    def _hold(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > self._event_bytes_max:
            raise _too_long(self._event_bytes_max)

    def _line_ended(self) -> bool:
        return bool(self._pieces) and self._pieces[-1].endswith(b"\n")

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        if not self._begun and chunk:
            self._begun = True
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
        if self._after_return and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_return = False
        if not chunk:
            return chunk
        self._after_return = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk


def _read_block(block: bytes) -> ServerEvent | None:
    """The event that the lines of `block` make; None without data."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return ServerEvent(data=block[6:])
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    if not data:
        return None
    return ServerEvent(data=b"\n".join(data), name=name.decode("utf-8", "replace") or "message")


def _too_long(event_bytes_max: int) -> ModelUnavailable:
    assert event_bytes_max > 0
    sentence = f"the provider sent an event of more than {event_bytes_max} bytes"
    return ModelUnavailable(sentence, limit="MODEL_EVENT_BYTES_MAX", maximum=event_bytes_max)
