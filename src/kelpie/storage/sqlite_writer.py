"""Group commit: many commits, one SQLite transaction, one wait for the disk.

Commits queue up on the event loop while the disk is busy with the group before them. A group is checked and
written in its order, each commit against the state that the ones before it left, so a conflicting one fails
alone and before it has written anything. All that work is in memory and is done on the loop: the interpreter
lock would be held for it anyhow, and a thread that asks for that lock once a statement waits up to 5 ms each
time while the loop is busy. Only COMMIT, which waits for the disk, goes to the side thread, with one wake-up
there and one back for the whole group. A group that is too large for that is written on the thread as well.

Versions are counted in memory from a number that the database has reserved, a million at a time, so that
they grow across restarts without a write for each.
"""

import asyncio
import sqlite3
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Sequence
from functools import partial
from itertools import groupby

from msgspec import Struct

from kelpie.errors import Busy, CommitUnknown, Conflict, KelpieError, StorageFull, StoreDown
from kelpie.limits import STORE_COMMITS_QUEUED_MAX, STORE_GROUP_COMMITS_MAX, STORE_LOCK_WAIT_MS_MAX
from kelpie.storage.row_cache import RowCache
from kelpie.storage.sqlite_file import error_code, read_error
from kelpie.storage.sqlite_thread import SideThread, resolve
from kelpie.storage.store import ABSENT, Check, Delete, DeleteRange, Put, Write

INLINE_OPERATIONS_MAX = 512  # of a group that is written on the loop: about 3 ms
INLINE_BYTES_MAX = 512_000  # the same
INLINE_DELETED_ROWS_MAX = 32  # of one DeleteRange
VERSIONS_RESERVED_STEP = 1_000_000

_SELECT_VERSION = "SELECT version FROM kv WHERE key = ?"
_PUT = (
    "INSERT INTO kv (key, value, version) VALUES (?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version"
)
_DELETE = "DELETE FROM kv WHERE key = ?"
_DELETE_RANGE = "DELETE FROM kv WHERE key >= ? AND key < ?"
_RANGE_ROWS = f"SELECT count(*) FROM (SELECT 1 FROM kv WHERE key >= ? AND key < ? LIMIT {INLINE_DELETED_ROWS_MAX + 1})"
_RESERVE = "UPDATE meta SET value = ? WHERE name = 'versions_reserved'"


class WriterCounts(Struct, kw_only=True):
    """What the writer has done since it was opened."""

    commits: int = 0
    conflicts: int = 0
    failures: int = 0
    transactions: int = 0  # that were made durable, each with one wait for the disk
    group_commits_highest: int = 0


class _Waiting:
    """One commit and who waits for it."""

    __slots__ = ("checks", "future", "outcome", "writes")

    def __init__(self, checks: Sequence[Check], writes: Sequence[Write], future: "Future[int]") -> None:
        self.checks = checks
        self.writes = writes
        self.future = future
        self.outcome: int | KelpieError = ABSENT


class _RangeIsWide(Exception):
    """A DeleteRange removes more rows than the loop has time for."""


class Writer:
    """The only writer of one database. `db` is in its hands alone; `cache` is told of every write."""

    def __init__(
        self, db: sqlite3.Connection, versions_reserved: int, loop: AbstractEventLoop, cache: RowCache
    ) -> None:
        assert versions_reserved >= ABSENT
        db.execute("PRAGMA busy_timeout = 0")
        self._db = db
        self._loop = loop
        self._cache = cache
        self._queue: deque[_Waiting] = deque()
        self._group: list[_Waiting] = []  # under way; empty when there is none
        self._begin_called = False
        self._drained: Future[None] | None = None
        self._reserved = versions_reserved  # versions up to this one may be given out
        self._reserving = self._reserved  # the same, once the open transaction is durable
        self._version = self._reserved  # what was reserved before may have been used
        self._thread = SideThread(loop, "kelpie-store-writer")
        self.counts = WriterCounts()
        self.failure: str | None = None  # set when the database's state is no longer known

    def submit(self, checks: Sequence[Check], writes: Sequence[Write]) -> "Future[int]":
        """Queue one commit; a future of its version. Busy when the queue is full."""
        if len(self._queue) >= STORE_COMMITS_QUEUED_MAX:
            limit = STORE_COMMITS_QUEUED_MAX
            raise Busy("too many commits wait for the disk", limit="STORE_COMMITS_QUEUED_MAX", maximum=limit)
        future: Future[int] = self._loop.create_future()
        self._queue.append(_Waiting(checks, writes, future))
        self._call_begin()
        return future

    async def close(self) -> None:
        """Finish all that is queued, fold the log into the database, end the thread, close the database."""
        while self._queue or self._group:
            self._drained = self._loop.create_future()
            await self._drained
        folded: Future[None] = self._loop.create_future()
        self._thread.post(self._fold, folded.set_result)
        await asyncio.shield(folded)
        self._thread.close()
        self._db.close()

    # -- on the loop ---------------------------------------------------------------------------------------

    def _call_begin(self) -> None:
        """Later in this turn of the loop, so that all that is ready to commit shares the group."""
        if not self._begin_called and not self._group:
            self._begin_called = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        assert self._begin_called and not self._group, "one group at a time"
        self._begin_called = False
        self._group = self._take_group()
        if not self._group:
            self._tell_drained()
            return
        started = False
        try:
            self._start()
            started = True
        finally:
            if not started:  # a bug; it is on its way to the loop's handler, which knows nothing of who waits
                self._settle(StoreDown("the writer failed before it wrote anything"))

    def _take_group(self) -> list[_Waiting]:
        """The commits that waited longest, without those that nobody waits for any more."""
        group: list[_Waiting] = []
        while self._queue and len(group) < STORE_GROUP_COMMITS_MAX:
            waiting = self._queue.popleft()
            if not waiting.future.cancelled():
                group.append(waiting)
        return group

    def _start(self) -> None:
        assert self._group
        self._cache.begin([write for waiting in self._group for write in waiting.writes])
        written = _is_small(self._group) and self.failure is None and self._write_inline(self._group)
        if written and all(isinstance(waiting.outcome, Conflict) for waiting in self._group):
            self._roll_back()
            self._settle(None)
        else:
            self._thread.post(partial(self._finish, self._group, written), self._settle)

    def _write_inline(self, group: list[_Waiting]) -> bool:
        """Write the group into the open transaction; False if that is better done on the thread."""
        try:
            self._write(group, inline=True)
        except (sqlite3.Error, MemoryError, _RangeIsWide):
            self._roll_back()
            return False
        return True

    def _settle(self, failure: KelpieError | None) -> None:
        """Tell all who wait. `failure`: the thread could not even try."""
        group, self._group = self._group, []
        assert group, "a group was under way"
        if failure is not None:
            self.failure = failure.sentence
        self._cache.settle([(waiting.outcome, waiting.writes) for waiting in group if isinstance(waiting.outcome, int)])
        for waiting in group:
            outcome = waiting.outcome if failure is None else _again(failure)
            self._count(outcome)
            resolve(waiting.future, outcome)
        if self._queue:
            self._call_begin()
        else:
            self._tell_drained()

    def _count(self, outcome: int | KelpieError) -> None:
        if isinstance(outcome, Conflict):
            self.counts.conflicts += 1
        elif isinstance(outcome, KelpieError):
            self.counts.failures += 1
        else:
            self.counts.commits += 1

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- on the thread -------------------------------------------------------------------------------------

    def _finish(self, group: list[_Waiting], written: bool) -> None:
        """Give each of the group its outcome. If the disk is too full for all, try each: small ones may fit."""
        assert group
        error = self._try(group, written)
        if isinstance(error, StorageFull) and len(group) > 1 and self.failure is None:
            for waiting in group:
                self._try([waiting], written=False)

    def _try(self, group: list[_Waiting], written: bool) -> KelpieError | None:
        """One transaction; what kept it from being applied, which is then the outcome of all of the group."""
        error = StoreDown(self.failure) if self.failure is not None else None
        if error is None and not written:
            error = self._write_patiently(group)
        if error is None:
            error = self._make_durable(group)
        if error is not None:
            for waiting in group:
                waiting.outcome = _again(error)
        return error

    def _write_patiently(self, group: list[_Waiting]) -> KelpieError | None:
        """Write the group, waiting a while for other programs' locks."""
        try:
            self._db.execute(f"PRAGMA busy_timeout = {STORE_LOCK_WAIT_MS_MAX}")
            self._write(group, inline=False)
            return None
        except (sqlite3.Error, MemoryError) as error:
            self._roll_back()
            return read_error(error)
        finally:
            self._db.execute("PRAGMA busy_timeout = 0")

    def _make_durable(self, group: list[_Waiting]) -> KelpieError | None:
        """COMMIT. After an I/O error nobody knows what the log holds until it is read again from the start."""
        assert self._db.in_transaction
        try:
            self._db.commit()  # asks for the interpreter lock once; executing "COMMIT" does so four times
        except (sqlite3.Error, MemoryError) as error:
            code = error_code(error) & 0xFF
            if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY) and self._roll_back():
                return read_error(error)
            self.failure = f"the database failed to commit ({error}); it is read again when the process restarts"
            self._roll_back()
            return CommitUnknown(self.failure)
        self._reserved = self._reserving
        self.counts.transactions += 1
        self.counts.group_commits_highest = max(self.counts.group_commits_highest, len(group))
        return None

    def _fold(self) -> None:
        if self.failure is not None:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error:
            return  # the log is read when the store is next opened

    # -- on either, one at a time --------------------------------------------------------------------------

    def _write(self, group: list[_Waiting], *, inline: bool) -> None:
        """Check and write all of the group in a new transaction, and set outcomes; COMMIT is not done."""
        assert not self._db.in_transaction
        self._db.execute("BEGIN IMMEDIATE")
        self._reserving = self._reserved
        if self._version + len(group) > self._reserved:
            self._reserving = self._version + VERSIONS_RESERVED_STEP
            self._db.execute(_RESERVE, (self._reserving,))
        for waiting in group:
            waiting.outcome = self._write_one(waiting, inline)

    def _write_one(self, waiting: _Waiting, inline: bool) -> int | KelpieError:
        execute = self._db.execute
        for check in waiting.checks:
            row = execute(_SELECT_VERSION, (check.key,)).fetchone()
            if (ABSENT if row is None else row[0]) != check.version:
                return Conflict(f"key {check.key!r} has changed")
        self._version += 1
        assert self._version <= self._reserving, "versions are reserved before use"
        version = self._version
        for _, run in groupby(waiting.writes, type):  # those of a kind that follow each other, at once
            writes = list(run)
            puts = [(write.key, write.value, version) for write in writes if isinstance(write, Put)]
            deletes = [(write.key,) for write in writes if isinstance(write, Delete)]
            assert len(writes) in (len(puts), len(deletes)) or not (puts or deletes)
            if puts:
                self._db.executemany(_PUT, puts)
            if deletes:
                self._db.executemany(_DELETE, deletes)
            for write in writes:
                if isinstance(write, DeleteRange):
                    self._delete_range(write.start, write.end, inline)
        return version

    def _delete_range(self, start: bytes, end: bytes, inline: bool) -> None:
        assert start <= end
        if inline:
            rows = self._db.execute(_RANGE_ROWS, (start, end)).fetchone()[0]
            if rows > INLINE_DELETED_ROWS_MAX:
                raise _RangeIsWide
            if rows == 0:
                return
        self._db.execute(_DELETE_RANGE, (start, end))

    def _roll_back(self) -> bool:
        """Leave the transaction; False (and the writer is failed) if that could not be done."""
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            self.failure = f"the database failed to roll back: {error}"
        return self.failure is None


def _is_small(group: Sequence[_Waiting]) -> bool:
    operations = sum([len(waiting.checks) + len(waiting.writes) for waiting in group])
    if operations > INLINE_OPERATIONS_MAX:
        return False
    size_bytes = sum([len(write.value) for waiting in group for write in waiting.writes if type(write) is Put])
    return size_bytes <= INLINE_BYTES_MAX


def _again(error: KelpieError) -> KelpieError:
    """The same error for another waiter, who will give it a traceback of its own."""
    return type(error)(error.sentence, **error.fields)
