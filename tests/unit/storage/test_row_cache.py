"""What was read is kept: never older than what anybody was told, never torn, within its bound."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelpie.errors import Conflict
from kelpie.limits import ROW_CACHE_BYTES_MAX, ROW_CACHE_SCAN_ROWS_MAX, ROW_CACHE_VALUE_BYTES_MAX
from kelpie.storage.row_cache import RowCache
from kelpie.storage.sqlite import SqliteStore, open_sqlite
from kelpie.storage.store import Check, Delete, DeleteRange, Put, Row, Write
from kelpie.system import system_world

Run = Callable[[Coroutine[Any, Any, Any]], Any]

KEYS = [b"a 1", b"a 2", b"a 3", b"b 1", b"b 2", b"bare"]
RANGES = [(b"a ", b"a!"), (b"a 2", b"a!"), (b"b ", b"b!"), (b"a ", b"b!"), (b"", b"\xff"), (b"a", b"bb")]
READS = st.one_of(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True), st.sampled_from(RANGES))
WRITES = st.one_of(
    st.builds(Put, st.sampled_from(KEYS), st.sampled_from([b"x", b"y"])),
    st.builds(Delete, st.sampled_from(KEYS)),
    st.sampled_from(RANGES).map(lambda both: DeleteRange(*both)),
)
GROUPS = st.tuples(st.lists(WRITES, min_size=1, max_size=4), st.booleans(), st.lists(READS, max_size=3))
STEPS = st.lists(st.one_of(READS, GROUPS), max_size=14)


class Model:
    """The rows that are durable, and a cache before them that is used as the store uses it."""

    def __init__(self) -> None:
        self.rows: dict[bytes, Row] = {}
        self.version = 0
        self.cache = RowCache()

    def read(self, what: list[bytes] | tuple[bytes, bytes], *, rows: dict[bytes, Row] | None = None) -> None:
        """Read through the cache; what it knows must be what is durable. `rows`: what the database would answer."""
        told = self.rows if rows is None else rows
        if isinstance(what, list):
            kept = self.cache.get(what)
            assert kept is None or kept == [self.rows.get(key) for key in what]
            if kept is None:
                self.cache.keep(what, [told.get(key) for key in what])
            return
        scan = (*what, 9, False)
        found = self.cache.get_scan(scan)
        assert found is None or found == in_range(self.rows, *what)
        if found is None:
            self.cache.keep_scan(scan, in_range(told, *what))

    def write(self, writes: list[Write], done: bool, reads: list[Any], seen: bool) -> None:
        """A group of one commit; `reads` come while it is under way, and the database answers as `seen` says."""
        self.cache.begin(writes)
        after = dict(self.rows)
        self.version += done
        for write in writes:
            match write:
                case Put(key=key, value=value):
                    after[key] = Row(key, value, self.version)
                case Delete(key=key):
                    after.pop(key, None)
                case DeleteRange(start=start, end=end):
                    after = {key: row for key, row in after.items() if not start <= key < end}
        for what in reads:
            self.read(what, rows=after if seen and done else self.rows)
        if done:
            self.rows = after
        self.cache.settle([(self.version, writes)] if done else [])


def in_range(rows: dict[bytes, Row], start: bytes, end: bytes) -> list[Row]:
    return [rows[key] for key in sorted(rows) if start <= key < end]


@given(STEPS, st.booleans())
def test_what_is_kept_is_what_is_durable_whatever_was_read_while_a_commit_was_under_way(
    steps: list[Any], seen: bool
) -> None:
    model = Model()
    for step in steps:
        if isinstance(step, tuple) and len(step) == 3:
            model.write(step[0], step[1], step[2], seen)
        else:
            model.read(step)
        for key in KEYS:
            model.read([key])
        for both in RANGES:
            model.read(both)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("seen", [True, False])
def test_each_read_within_each_write_is_forgotten_when_it_is_settled(done: bool, seen: bool) -> None:
    writes: list[Write] = [Put(key, b"new") for key in KEYS]
    writes += [*map(Delete, KEYS), *[DeleteRange(*both) for both in RANGES]]
    reads: list[Any] = [*[[key] for key in KEYS], *RANGES]
    for write in writes:
        for what in reads:
            model = Model()
            model.write([Put(key, b"old") for key in KEYS if key != b"a 3"], True, [], False)
            model.write([write], done, [what], seen)
            for every in reads:
                model.read(every)


def test_what_was_read_is_kept_also_that_there_is_nothing(run: Run, tmp_path: Path) -> None:
    async def main() -> list[int]:
        store = await open_sqlite(tmp_path / "data", system_world())
        version = await store.commit([], [Put(b"a 1", b"x")])
        counts: list[int] = []
        for _ in range(3):
            assert await store.get([b"a 1", b"a 2"]) == [Row(b"a 1", b"x", version), None]
            assert await store.scan(b"a ", b"a!", limit=5) == [Row(b"a 1", b"x", version)]
            counts.append(store.statistics().reads_kept)
        newer = await store.commit([Check(b"a 2", 0)], [Put(b"a 2", b"y")])
        assert await store.get([b"a 1", b"a 2"]) == [Row(b"a 1", b"x", version), Row(b"a 2", b"y", newer)]
        counts.append(store.statistics().reads_kept)
        assert len(await store.scan(b"a ", b"a!", limit=5)) == 2
        counts.append(store.statistics().reads_kept)
        await store.close()
        return counts

    assert run(main()) == [0, 2, 4, 5, 5], "a row that was kept is kept as it was written; a scan is made again"


def test_a_scan_that_was_kept_is_the_callers_own(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        store = await open_sqlite(tmp_path / "data", system_world())
        await store.commit([], [Put(b"a 1", b"x")])
        for _ in range(3):
            rows = await store.scan(b"a ", b"a!", limit=5)
            assert len(rows) == 1
            rows.clear()
        await store.close()

    run(main())


def test_memory_is_bounded() -> None:
    cache = RowCache()
    for number in range(20_000):
        key = b"a %06d" % number
        cache.keep([key], [Row(key, b"x" * (number % 500), 1)])
        cache.keep_scan((key, key + b"!", 5, False), [Row(key, b"x" * 50, 1)])
    rows = [*cache._young.values(), *cache._old.values()]
    held = sum(len(row.value) for row in rows if row is not None) + 450 * len(rows)
    assert held < ROW_CACHE_BYTES_MAX and 100 < len(rows) < 20_000
    assert len(cache._keys) <= len(rows) + 1
    assert 100 < len(cache._young_scans) + len(cache._old_scans) < 20_000
    assert cache.get([b"a 019999"]) is not None


def test_what_is_asked_for_stays_and_what_is_large_is_not_kept() -> None:
    cache = RowCache()
    cache.keep([b"a hot"], [Row(b"a hot", b"x", 1)])
    for number in range(20_000):
        key = b"a %06d" % number
        cache.keep([key], [Row(key, b"x" * 200, 1)])
        assert cache.get([b"a hot"]) is not None
    large = b"x" * (ROW_CACHE_VALUE_BYTES_MAX + 1)
    cache.keep([b"a large"], [Row(b"a large", large, 1)])
    cache.keep_scan((b"b ", b"b!", 5, False), [Row(b"b 1", large, 1)])
    many = [Row(b"c %06d" % number, b"", 1) for number in range(ROW_CACHE_SCAN_ROWS_MAX + 1)]
    cache.keep_scan((b"c ", b"c!", 100, False), many)
    assert cache.get([b"a large"]) is None
    assert cache.get_scan((b"b ", b"b!", 5, False)) is None
    assert cache.get_scan((b"c ", b"c!", 100, False)) is None


@pytest.mark.parametrize("seed", range(3))
def test_readers_beside_writers_see_no_torn_state_and_never_an_older_one(run: Run, tmp_path: Path, seed: int) -> None:
    """Pairs of keys are always written together; a reader notes the versions that it was told, in real time."""
    pick = random.Random(seed)
    pairs = [(b"p %d a" % at, b"p %d b" % at) for at in range(4)]

    async def write(store: SqliteStore) -> None:
        for _ in range(60):
            first, second = pick.choice(pairs)
            rows = await store.get([first, second])
            checks = [
                Check(key, 0 if row is None else row.version) for key, row in zip((first, second), rows, strict=True)
            ]
            value = b"%d" % pick.randrange(1_000)
            writes: list[Write] = [Put(first, value), Put(second, value)]
            if pick.random() < 0.2:
                writes = (
                    [DeleteRange(first, second + b"\0")] if pick.random() < 0.5 else [Delete(first), Delete(second)]
                )
            try:
                version = await store.commit(checks, writes)
            except Conflict:
                continue
            told = await store.get([first])
            assert told[0] is None or told[0].version >= version or isinstance(writes[0], DeleteRange | Delete)

    async def read(store: SqliteStore, newest: dict[bytes, int], done: asyncio.Event) -> None:
        while not done.is_set():
            first, second = pick.choice(pairs)
            if pick.random() < 0.5:
                one, two = await store.get([first, second])
            else:
                rows = await store.scan(first, second + b"\0", limit=5)
                one, two = rows if rows else (None, None)
            assert (one is None) == (two is None), "torn"
            if one is not None and two is not None:
                assert (one.value, one.version) == (two.value, two.version), "torn"
                assert one.version >= newest.get(first, 0), "older than what was told before"
                newest[first] = one.version
            await asyncio.sleep(0)

    async def main() -> int:
        store = await open_sqlite(tmp_path / "data", system_world())
        newest: dict[bytes, int] = {}
        done = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(read(store, newest, done))
            await asyncio.gather(*[write(store) for _ in range(4)])
            done.set()
        kept = store.statistics().reads_kept
        await store.close()
        return kept

    assert run(main()) > 0
