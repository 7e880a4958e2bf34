"""Goal: what SqliteStore promises beyond the contract: groups, limits, failures, its database for operators."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from msgspec import Struct

from kelpie.errors import Busy, CommitUnknown, Conflict, DataCorrupt, KelpieError, StorageFull, StoreDown, StoreFailed
from kelpie.storage import sqlite, sqlite_reader, sqlite_writer
from kelpie.storage.records import Batch, Records, Space
from kelpie.storage.sqlite import SqliteStore, open_sqlite
from kelpie.storage.store import ABSENT, Check, DeleteRange, Put, Row, Write
from kelpie.system import system_world

Outcome = int | BaseException


async def opened(data_dir: Path) -> SqliteStore:
    return await open_sqlite(data_dir, system_world())


async def together(store: SqliteStore, *commits: tuple[Sequence[Check], Sequence[Write]]) -> list[Outcome]:
    """Commits that are all submitted in one turn of the loop."""
    return await asyncio.gather(*[store.commit(*commit) for commit in commits], return_exceptions=True)


async def keys_of(store: SqliteStore) -> list[bytes]:
    return [row.key for row in await store.scan(b"\x00", b"\xff", limit=1_000)]


class FailingConnection(sqlite3.Connection):
    """Its next commits fail with these codes, or die of a bug."""

    codes: list[int] = []

    def commit(self) -> None:
        if self.codes:
            code = self.codes.pop(0)
            assert code >= 0, "a planted bug"
            error = sqlite3.OperationalError("planted")
            error.sqlite_errorcode = code
            raise error
        super().commit()


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the writer's next commits fail with."""

    def connect(path: Path, *, wait_ms: int) -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=FailingConnection)

    monkeypatch.setattr(sqlite, "connect", connect)
    monkeypatch.setattr(FailingConnection, "codes", [])
    return FailingConnection.codes


def test_concurrent_commits_share_one_transaction(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        versions = await together(store, *[([], [Put(b"k%d" % at, b"")]) for at in range(64)])
        first = versions[0]
        assert isinstance(first, int) and versions == list(range(first, first + 64))
        done = store.statistics()
        assert (done.commits, done.transactions, done.group_commits_highest) == (64, 1, 64)
        await store.close()

    asyncio.run(scenario())


def test_in_a_group_a_conflict_fails_alone_and_later_commits_see_earlier_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        first, lost, other, lost_too = await together(
            store,
            ([Check(b"a", ABSENT)], [Put(b"a", b"first")]),
            ([Check(b"a", ABSENT)], [Put(b"a", b"lost"), Put(b"b", b"lost")]),
            ([Check(b"b", ABSENT)], [Put(b"b", b"other")]),
            ([Check(b"c", 7)], [DeleteRange(b"a", b"z")]),
        )
        assert isinstance(first, int) and isinstance(other, int)
        assert isinstance(lost, Conflict) and isinstance(lost_too, Conflict)
        assert await store.get([b"a", b"b"]) == [Row(b"a", b"first", first), Row(b"b", b"other", other)]
        done = store.statistics()
        assert (done.commits, done.conflicts, done.transactions) == (2, 2, 1)
        with pytest.raises(Conflict):
            await store.commit([Check(b"a", ABSENT)], [Put(b"a", b"")])
        assert store.statistics().transactions == 1, "who only conflicts does not wait for the disk"
        await store.close()

    asyncio.run(scenario())


def test_a_full_queue_answers_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "STORE_COMMITS_QUEUED_MAX", 8)

    async def scenario() -> None:
        store = await opened(tmp_path)
        outcomes = await together(store, *[([], [Put(b"k%02d" % at, b"")]) for at in range(12)])
        assert [type(outcome) for outcome in outcomes] == [int] * 8 + [Busy] * 4
        assert await keys_of(store) == [b"k%02d" % at for at in range(8)]
        await store.commit([], [Put(b"later", b"")])
        await store.close()

    asyncio.run(scenario())


def test_large_groups_and_wide_deletes_give_the_same(tmp_path: Path) -> None:
    """Method: past each bound of what is written on the loop, so that the thread writes the group."""

    async def scenario() -> None:
        store = await opened(tmp_path)
        many = [Put(b"k%04d" % at, b"") for at in range(sqlite_writer.INLINE_OPERATIONS_MAX + 1)]
        large = [Put(b"l%d" % at, b"x" * 90_000) for at in range(sqlite_writer.INLINE_BYTES_MAX // 90_000 + 1)]
        lost = ([Check(b"k0000", ABSENT)], [Put(b"lost", b"")])
        outcomes = await together(store, ([], many), ([], large), lost)
        assert [type(outcome) for outcome in outcomes] == [int, int, Conflict]
        assert await keys_of(store) == [put.key for put in [*many, *large]]
        outcomes = await together(store, ([], [Put(b"a", b"")]), ([], [DeleteRange(b"k", b"m")]))
        assert [type(outcome) for outcome in outcomes] == [int, int]
        assert await keys_of(store) == [b"a"]
        await store.close()

    asyncio.run(scenario())


def test_reads_over_the_bounds_go_to_the_thread(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        rows_max = sqlite_reader.INLINE_ROWS_MAX
        await store.commit([], [Put(b"k%04d" % at, b"") for at in range(rows_max + 1)])
        assert len(await store.scan(b"k", b"l", limit=rows_max)) == rows_max
        assert (store.statistics().reads_inline, store.statistics().reads_threaded) == (1, 0)
        assert len(await store.scan(b"k", b"l", limit=1_000)) == rows_max + 1
        assert (store.statistics().reads_inline, store.statistics().reads_threaded) == (1, 1)
        await store.commit([], [Put(b"l%d" % at, b"\x00\xff" * 45_000) for at in range(3)])
        assert [len(row.value) for row in await store.get([b"l0", b"l1", b"l2"]) if row] == [90_000] * 3
        assert store.statistics().reads_threaded == 2
        assert await store.get([b"none%d" % at for at in range(rows_max + 1)]) == [None] * (rows_max + 1)
        assert (store.statistics().reads_inline, store.statistics().reads_threaded) == (1, 3)
        reads = [asyncio.create_task(store.scan(b"k", b"l", limit=1_000)) for _ in range(4)]
        await asyncio.sleep(0)
        reads[1].cancel()
        await asyncio.wait(reads)
        await store.close()
        assert [read.cancelled() for read in reads] == [False, True, False, False]

    asyncio.run(scenario())


def test_close_finishes_what_was_begun(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        commits = [asyncio.create_task(store.commit([], [Put(b"k%03d" % at, b"")])) for at in range(300)]
        await asyncio.sleep(0)
        await store.close()
        assert (tmp_path / "kelpie.db-wal").exists() is False, "the log is folded into the database"
        assert [type(await commit) for commit in commits] == [int] * 300
        store = await opened(tmp_path)
        assert len(await keys_of(store)) == 300
        await store.close()

    asyncio.run(scenario())


def test_reopening_keeps_data_and_versions_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Method: few versions are reserved at a time; the highest version of each opening is of a deleted row."""
    monkeypatch.setattr(sqlite_writer, "VERSIONS_RESERVED_STEP", sqlite_writer.STORE_GROUP_COMMITS_MAX + 3)

    async def scenario() -> None:
        kept: list[Row] = []
        last_version = ABSENT
        for opening in range(4):
            store = await opened(tmp_path)
            assert await store.scan(b"k", b"l", limit=1_000) == kept
            for at in range(100):
                key = b"k%d %03d" % (opening, at)
                version = await store.commit([], [Put(key, b"")])
                assert version > last_version
                last_version = version
                kept.append(Row(key, b"", version))
            await store.commit([], [Put(b"gone", b"")])
            last_version = await store.commit([], [DeleteRange(b"gone", b"gonf")])
            await store.close()

    asyncio.run(scenario())


def test_what_does_not_fit_is_refused_and_the_rest_is_kept(tmp_path: Path) -> None:
    """Method: SQLite's own bound on pages stands for a full disk; small and large commits share a group."""

    async def scenario() -> None:
        store = await opened(tmp_path)
        old = await store.commit([], [Put(b"old", b"kept")])
        db = store._writer._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 4}")
        large = [Put(b"half", b""), *[Put(b"large%d" % at, b"x" * 90_000) for at in range(3)], Put(b"old", b"lost")]
        outcomes = await together(
            store, ([], [Put(b"a", b"1")]), ([], large), ([Check(b"old", old)], [Put(b"b", b"2")]), ([], large)
        )
        assert [type(outcome) for outcome in outcomes] == [int, StorageFull, int, StorageFull]
        with pytest.raises(StorageFull):
            await store.commit([], large)
        assert await keys_of(store) == [b"a", b"b", b"old"]
        db.execute("PRAGMA max_page_count = 100000")
        assert isinstance(await store.commit([], large), int)
        await store.close()
        store = await opened(tmp_path)
        assert await keys_of(store) == [b"a", b"b", b"half", b"large0", b"large1", b"large2", b"old"]
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(("code", "expected"), [(sqlite3.SQLITE_FULL, StorageFull), (sqlite3.SQLITE_BUSY, StoreDown)])
def test_a_commit_that_was_surely_rolled_back_reaches_each_waiter(
    tmp_path: Path, codes: list[int], code: int, expected: type[KelpieError]
) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        codes.extend([code] * (4 if code == sqlite3.SQLITE_FULL else 1))
        outcomes = await together(store, *[([], [Put(b"k%d" % at, b"")]) for at in range(3)])
        assert [type(outcome) for outcome in outcomes] == [expected] * 3
        assert len({id(outcome) for outcome in outcomes}) == 3, "each waiter has an error of its own"
        assert codes == [] and await keys_of(store) == []
        await store.commit([], [Put(b"later", b"")])
        assert await keys_of(store) == [b"later"] and store.statistics().failures == 3
        await store.close()

    asyncio.run(scenario())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, -1], ids=["i/o error", "bug"])
def test_after_an_unknown_commit_nothing_is_answered_until_the_store_is_opened_again(
    tmp_path: Path, codes: list[int], code: int
) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        await store.commit([], [Put(b"before", b"")])
        codes.append(code)
        outcomes = await together(store, *[([], [Put(b"k%d" % at, b"")]) for at in range(2)])
        assert [type(outcome) for outcome in outcomes] == [CommitUnknown] * 2
        for verb in (store.get([b"k0"]), store.scan(b"a", b"z", limit=1), store.commit([], [Put(b"k", b"")])):
            with pytest.raises(StoreFailed):
                await verb
        await store.close()
        store = await opened(tmp_path)
        await store.commit([], [Put(b"later", b"")])
        assert await keys_of(store) == [b"before", b"later"]
        await store.close()

    asyncio.run(scenario())


def test_a_bug_in_the_writer_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: bugs.append(context["exception"]))
        store = await opened(tmp_path)
        monkeypatch.setattr(sqlite_writer, "VERSIONS_RESERVED_STEP", 0)
        outcomes = await together(store, ([], [Put(b"a", b"")]), ([], [Put(b"b", b"")]))
        assert [type(outcome) for outcome in outcomes] == [StoreDown] * 2
        with pytest.raises(StoreFailed):
            await store.get([b"a"])
        await store.close()
        monkeypatch.undo()
        store = await opened(tmp_path)
        assert await keys_of(store) == []
        await store.close()

    bugs: list[BaseException] = []
    asyncio.run(scenario())
    assert [type(bug) for bug in bugs] == [AssertionError]


def test_an_operators_short_lock_is_waited_for_and_a_long_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        with closing(sqlite3.connect(tmp_path / "kelpie.db", isolation_level=None)) as operator:
            operator.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(store.commit([], [Put(b"a", b"")]))
            await asyncio.sleep(0.05)
            assert not waiting.done() and await store.get([b"a"]) == [None]
            operator.execute("ROLLBACK")
            await waiting
            operator.execute("BEGIN IMMEDIATE")
            monkeypatch.setattr(sqlite_writer, "STORE_LOCK_WAIT_MS_MAX", 30)
            outcomes = await together(store, ([], [Put(b"b", b"")]), ([], [Put(b"c", b"")]))
            assert [type(outcome) for outcome in outcomes] == [StoreDown] * 2
            operator.execute("ROLLBACK")
            await store.commit([], [Put(b"d", b"")])
        assert await keys_of(store) == [b"a", b"d"]
        await store.close()

    asyncio.run(scenario())


def test_damaged_pages_are_corrupt_data(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        await store.commit([], [Put(b"k%04d" % at, b"x" * 500) for at in range(500)])
        await store.close()
        path = tmp_path / "kelpie.db"
        whole = path.read_bytes()
        path.write_bytes(whole[: 4096 * 6] + b"\xff" * (len(whole) - 4096 * 6))
        store = await opened(tmp_path)
        for read in (store.scan(b"k", b"l", limit=200), store.scan(b"k", b"l", limit=1_000), store.get([b"k0400"])):
            with pytest.raises(DataCorrupt):
                await read
        await store.close()

    asyncio.run(scenario())


class Note(Struct, frozen=True, kw_only=True):
    text: str


def test_operators_read_whole_json_records_by_text_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        notes, batch = Space("note", Note, large=True), Batch()
        for name, text in (("a", "hello"), ("b", "ä" * 150_000), ("b x", "ö" * 100_000)):
            batch.put(notes.at(name), Note(text=text))
        version = await Records(store).commit(batch)
        with closing(sqlite3.connect(tmp_path / "kelpie.db")) as operator:
            rows = operator.execute("SELECT space, key, value, version FROM records ORDER BY key").fetchall()
            (length,) = operator.execute(
                "SELECT length(json_extract(value, '$.text')) FROM records WHERE key = 'note b'"
            ).fetchone()
        assert [(space, key, json.loads(value)["text"], at) for space, key, value, at in rows] == [
            ("note", "note a", "hello", version),
            ("note", "note b", "ä" * 150_000, version),
            ("note", "note b%20x", "ö" * 100_000, version),
        ]
        assert length == 150_000
        await store.close()

    asyncio.run(scenario())
