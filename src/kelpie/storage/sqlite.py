"""The store of a single node: one SQLite file in a data directory that one process owns.

A commit is durable when it returns (WAL, synchronous=FULL, one wait for the disk per group of commits), and
nothing can be read before it is durable. Because no other process writes it, rows that were read are kept
(`row_cache.py`). After an I/O error in the middle of a commit the store refuses all
further verbs until it is opened again, because only reading the log from its start can tell what it holds.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from kelpie.errors import StoreFailed
from kelpie.limits import STORE_LOCK_WAIT_MS_MAX
from kelpie.storage.row_cache import RowCache
from kelpie.storage.sqlite_file import DATABASE_NAME, connect, lock_directory, prepare_database
from kelpie.storage.sqlite_reader import Reader
from kelpie.storage.sqlite_writer import Writer
from kelpie.storage.store import Check, Row, Write
from kelpie.world import World


class SqliteStatistics(Struct, frozen=True, kw_only=True):
    """What the store has done since it was opened."""

    commits: int
    conflicts: int
    failures: int  # commits that ended in any other error
    transactions: int  # groups of commits that were made durable together
    group_commits_highest: int
    reads_kept: int  # that were answered with what was read before
    reads_inline: int
    reads_threaded: int


async def open_sqlite(data_dir: Path, world: World) -> "SqliteStore":
    """Open the store in `data_dir`, making it if there is none; it belongs to the running event loop.

    Raises StoreOwned, StoreTooNew, DataCorrupt, StorageFull or StoreDown.
    """
    loop = asyncio.get_running_loop()
    with ExitStack() as undo:
        lock = lock_directory(data_dir)
        undo.callback(os.close, lock)
        path = data_dir / DATABASE_NAME
        db = connect(path, wait_ms=STORE_LOCK_WAIT_MS_MAX)
        undo.callback(db.close)
        versions_reserved = prepare_database(db)
        reader = Reader(path, loop)
        cache = RowCache()
        writer = Writer(db, versions_reserved, loop, cache)
        undo.pop_all()
    return SqliteStore(world, writer, reader, cache, lock)


class SqliteStore:
    """The contract of `store.py` over one SQLite file; made by `open_sqlite`."""

    def __init__(self, world: World, writer: Writer, reader: Reader, cache: RowCache, lock: int) -> None:
        self._world = world
        self._writer = writer
        self._reader = reader
        self._cache = cache
        self._lock = lock
        self._reads_kept = 0
        self._clock_ms = 0
        self._closed = False

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        """The rows of `keys`, in their order."""
        self._expect_up()
        kept = self._cache.get(keys)
        if kept is not None:
            self._reads_kept += 1
            return kept
        changes = self._cache.changes
        rows = await self._reader.get(keys)
        if self._cache.changes == changes:
            self._cache.keep(keys, rows)
        return rows

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """At most `limit` rows with start <= key < end."""
        self._expect_up()
        assert limit > 0 and start <= end
        scan = (start, end, limit, reverse)
        kept = self._cache.get_scan(scan)
        if kept is not None:
            self._reads_kept += 1
            return kept
        changes = self._cache.changes
        rows = await self._reader.scan(start, end, limit=limit, reverse=reverse)
        if self._cache.changes == changes:
            self._cache.keep_scan(scan, rows)
        return rows

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """Apply `writes` if all `checks` hold; the version of the commit, which is on disk."""
        self._expect_up()
        return await self._writer.submit(checks, writes)

    async def now_ms(self) -> int:
        """The wall clock, held still while it goes back."""
        self._clock_ms = max(self._clock_ms, self._world.wall.now_ms())
        return self._clock_ms

    async def close(self) -> None:
        """Finish all that was begun, fold the log into the database, give up the data directory.

        If this is cancelled, the directory stays this process's own until it ends.
        """
        assert not self._closed, "closed once"
        self._closed = True
        await self._reader.close()
        await self._writer.close()
        os.close(self._lock)

    def statistics(self) -> SqliteStatistics:
        """What the store has done since it was opened."""
        done, read = self._writer.counts, self._reader.counts
        return SqliteStatistics(
            commits=done.commits,
            conflicts=done.conflicts,
            failures=done.failures,
            transactions=done.transactions,
            group_commits_highest=done.group_commits_highest,
            reads_kept=self._reads_kept,
            reads_inline=read.reads_inline,
            reads_threaded=read.reads_threaded,
        )

    def _expect_up(self) -> None:
        assert not self._closed, "no verb follows close()"
        if self._writer.failure is not None:
            raise StoreFailed(self._writer.failure)
