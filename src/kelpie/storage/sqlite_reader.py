"""Reads: small ones on the event loop, large ones on a thread.

A read of a few rows takes 10 to 20 microseconds, much less than a hop to a thread and back, so it is begun on
the loop. If it turns out to be over INLINE_ROWS_MAX rows or INLINE_BYTES_MAX bytes (about half a
millisecond), what it has is dropped and it is done again on the reader thread, in one step of SQLite: there,
a step for each row would wait up to 5 ms for the interpreter lock each time while the loop is busy. A get of
more than INLINE_ROWS_MAX keys goes to the thread at once.

Each read is one SELECT, and so one snapshot.
"""

import sqlite3
from asyncio import AbstractEventLoop, Future
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

from msgspec import Struct

from kelpie.errors import Busy, KelpieError
from kelpie.limits import STORE_LOCK_WAIT_MS_MAX, STORE_READS_QUEUED_MAX
from kelpie.storage.sqlite_file import connect, error_code, read_error
from kelpie.storage.sqlite_thread import SideThread, resolve
from kelpie.storage.store import Row

INLINE_ROWS_MAX = 128
INLINE_BYTES_MAX = 256_000

_GET_ONE = "SELECT key, value, version FROM kv WHERE key = ?"
_SCAN = "SELECT key, value, version FROM kv WHERE key >= ? AND key < ? ORDER BY key ASC LIMIT ?"
_SCAN_BACK = "SELECT key, value, version FROM kv WHERE key >= ? AND key < ? ORDER BY key DESC LIMIT ?"
# All rows of a SELECT as one: their keys and values end to end as bytes, and the numbers to cut them by.
_PACKED = """
    SELECT group_concat(length(key)), CAST(group_concat(CAST(key AS TEXT), '') AS BLOB),
        group_concat(length(value)), CAST(group_concat(CAST(value AS TEXT), '') AS BLOB), group_concat(version)
    FROM ({})
"""

Parameters = Sequence[bytes | int]


class ReaderCounts(Struct, kw_only=True):
    """What the reader has done since it was opened."""

    reads_inline: int = 0
    reads_threaded: int = 0


class Reader:
    """Reads one database from two connections: the loop's and the thread's."""

    def __init__(self, path: Path, loop: AbstractEventLoop) -> None:
        assert path.exists(), "the writer has made the database"
        self._loop = loop
        self._near = connect(path, wait_ms=0)
        self._far = connect(path, wait_ms=STORE_LOCK_WAIT_MS_MAX)
        self._thread = SideThread(loop, "kelpie-store-reader")
        self._idle: Future[None] | None = None
        self.counts = ReaderCounts()

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        """The rows of `keys`, in their order, from one snapshot."""
        select, parameters = (_GET_ONE, keys) if len(keys) == 1 else _get_many(keys)
        found = self._read_near(select, parameters) if len(parameters) <= INLINE_ROWS_MAX else None
        if found is None:
            found = await self._read_far(select, parameters)
        if len(keys) == 1:
            return [found[0] if found else None]
        rows = {row.key: row for row in found}
        return [rows.get(key) for key in keys]

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool) -> list[Row]:
        """At most `limit` rows of [start, end), from one snapshot."""
        select, parameters = _SCAN_BACK if reverse else _SCAN, (start, end, limit)
        rows = self._read_near(select, parameters)
        if rows is None:
            rows = await self._read_far(select, parameters)
        assert len(rows) <= limit
        return rows

    async def close(self) -> None:
        """Finish all reads, end the thread, close the database."""
        while self._thread.open_jobs:
            self._idle = self._loop.create_future()
            await self._idle
        self._thread.close()
        self._near.close()
        self._far.close()

    def _read_near(self, select: str, parameters: Parameters) -> list[Row] | None:
        """The rows; None if they are too many or too large, or if a lock is in the way."""
        assert len(parameters) <= INLINE_ROWS_MAX
        rows: list[Row] = []
        bytes_left = INLINE_BYTES_MAX
        try:
            cursor = self._near.execute(select, parameters)
            for key, value, version in cursor:
                rows.append(Row(key, value, version))
                bytes_left -= len(value)
                if bytes_left < 0 or len(rows) > INLINE_ROWS_MAX:
                    cursor.close()
                    return None
        except sqlite3.Error as error:
            if error_code(error) & 0xFF == sqlite3.SQLITE_BUSY:
                return None
            raise read_error(error) from error
        assert len(rows) <= INLINE_ROWS_MAX
        self.counts.reads_inline += 1
        return rows

    async def _read_far(self, select: str, parameters: Parameters) -> list[Row]:
        self.counts.reads_threaded += 1
        if self._thread.open_jobs >= STORE_READS_QUEUED_MAX:
            limit = STORE_READS_QUEUED_MAX
            raise Busy("too many large reads wait for the disk", limit="STORE_READS_QUEUED_MAX", maximum=limit)
        future: Future[list[Row]] = self._loop.create_future()
        self._thread.post(partial(_read_packed, self._far, select, parameters), partial(self._settle, future))
        return await future

    def _settle(self, future: "Future[list[Row]]", outcome: list[Row] | KelpieError) -> None:
        resolve(future, outcome)
        if not self._thread.open_jobs and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)


def _get_many(keys: Sequence[bytes]) -> tuple[str, Parameters]:
    """One SELECT for up to the next power of two keys, so that few statements are enough for all counts."""
    assert keys, "something is asked for"
    count = 1 << (len(keys) - 1).bit_length()
    assert len(keys) <= count < 2 * len(keys)
    marks = ",".join("?" * count)
    select = f"SELECT key, value, version FROM kv WHERE key IN ({marks})"
    return select, [*keys, *[keys[-1]] * (count - len(keys))]


def _read_packed(db: sqlite3.Connection, select: str, parameters: Parameters) -> list[Row] | KelpieError:
    try:
        packed = db.execute(_PACKED.format(select), parameters).fetchone()
    except (sqlite3.Error, MemoryError) as error:
        return read_error(error)
    return [] if packed[0] is None else _unpack(*packed)


def _unpack(keys_bytes: str, keys: bytes, values_bytes: str, values: bytes, versions: str) -> list[Row]:
    keys_cut = _cut(keys, [int(count) for count in keys_bytes.split(",")])
    values_cut = _cut(values, [int(count) for count in values_bytes.split(",")])
    numbers = [int(version) for version in versions.split(",")]
    return [Row(*parts) for parts in zip(keys_cut, values_cut, numbers, strict=True)]


def _cut(whole: bytes, lengths: list[int]) -> list[bytes]:
    ends = list(accumulate(lengths))
    assert ends[-1] == len(whole), "length() counts bytes, because all that is stored is bytes"
    return [whole[end - length : end] for length, end in zip(lengths, ends, strict=True)]
