"""The store's rows as typed records, read past all faults; and the records that one commit wrote."""

import re
from collections.abc import Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from kelpie.storage import keys
from kelpie.storage.records import Space
from kelpie.storage.store import Delete, DeleteRange, Put, Row, Write

PAGE_ROWS = 1_000
_CHUNKED = b"#"
_CHUNK = b"chunk "
_ESCAPED = re.compile(rb"%([0-9a-f]{2})")
Parts = tuple[str, ...]
T = TypeVar("T", bound=Struct)


class Peekable(Protocol):
    """What can be looked into without waiting."""

    def peek(self, start: bytes, end: bytes, *, limit: int = 1_000) -> list[Row]:
        """The rows in [start, end)."""
        ...


class Rows:
    """All rows of some spaces at one instant."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = rows

    @staticmethod
    def take(server: Peekable, *spaces: str) -> "Rows":
        """The rows of these spaces, with their chunks; of all spaces if none is named."""
        ranges = [(b"\x00", b"\xff")]
        if spaces:
            ranges = [keys.below(space) for space in spaces]
            ranges += [(_CHUNK + start, _CHUNK + end) for start, end in ranges]
        rows: dict[bytes, bytes] = {}
        for start, end in ranges:
            while True:
                page = server.peek(start, end, limit=PAGE_ROWS)
                rows.update((row.key, row.value) for row in page)
                if len(page) < PAGE_ROWS:
                    break
                start = page[-1].key + b"\x00"
        return Rows(rows)

    def space(self, space: Space[T]) -> dict[Parts, T]:
        """The records of a space by their key parts, in the order of keys."""
        head = space.name.encode() + b" "
        return {
            parts_of(key): space.decode(key, joined(key, value, self.rows))
            for key, value in self.rows.items()
            if key.startswith(head)
        }

    def unknown(self, spaces: Sequence[str]) -> list[bytes]:
        """Keys of rows that belong to none of these spaces, and chunks without their head."""
        known = tuple(space.encode() for space in spaces)
        found = [key for key in self.rows if not key.startswith(_CHUNK) and key.split(b" ")[0] not in known]
        for key in self.rows:
            if key.startswith(_CHUNK):
                head, _, number = key.removeprefix(_CHUNK).rpartition(b" ")
                value = self.rows.get(head, b"")
                if not value.startswith(_CHUNKED) or int(number, 16) >= int(value[1:]):
                    found.append(key)
        return found


def parts_of(key: bytes) -> Parts:
    """The parts behind the space's name; numbers as their sixteen digits."""
    parts = key.split(b" ")[1:]
    return tuple(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), part).decode() for part in parts)


def space_of(key: bytes) -> str:
    """The name of the space; that of a chunk's record for a chunk."""
    return key.removeprefix(_CHUNK).split(b" ", 1)[0].decode()


def joined(key: bytes, value: bytes, rows: dict[bytes, bytes]) -> bytes:
    """The record's bytes, put together from its chunks if it has any."""
    if not value.startswith(_CHUNKED):
        return value
    return b"".join([rows[b"%b%b %04x" % (_CHUNK, key, at)] for at in range(int(value[1:]))])


def put_records(writes: Sequence[Write], space: Space[T]) -> dict[Parts, T]:
    """The records of a space that a commit puts."""
    rows = {write.key: write.value for write in writes if isinstance(write, Put)}
    head = space.name.encode() + b" "
    return {
        parts_of(key): space.decode(key, joined(key, value, rows))
        for key, value in rows.items()
        if key.startswith(head)
    }


def touched(write: Write) -> bytes:
    """The key that a write is about; of a range its beginning."""
    match write:
        case Put(key=key) | Delete(key=key):
            return key
        case DeleteRange(start=start):
            return start
