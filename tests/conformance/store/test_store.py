"""Goal: each promise of storage/store.py. Method: the same small histories against every backend."""

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from kelpie.errors import Conflict
from kelpie.limits import COMMIT_OPERATIONS_MAX, GET_KEYS_MAX, KEY_BYTES_MAX, SCAN_ROWS_MAX, VALUE_BYTES_MAX
from kelpie.storage.store import ABSENT, Check, Delete, DeleteRange, Put, Row, Store
from tests.conformance.store.backends import BACKENDS, opened

Scenario = Callable[[Store], Coroutine[None, None, None]]


@pytest.fixture(params=list(BACKENDS))
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """Runs a scenario on an empty store of each backend."""

    async def run(scenario: Scenario) -> None:
        async with opened(request.param) as store:
            await scenario(store)

    return lambda scenario: asyncio.run(run(scenario))


async def fill(store: Store, count: int) -> tuple[int, list[Row]]:
    """`count` rows k000, k001 ... written by one commit."""
    pairs = [(b"k%03d" % at, b"v%d" % at) for at in range(count)]
    version = await store.commit([], [Put(key, value) for key, value in pairs])
    return version, [Row(key, value, version) for key, value in pairs]


async def everything(store: Store) -> list[tuple[bytes, bytes]]:
    """All keys and values."""
    return [(row.key, row.value) for row in await store.scan(b"\x00", b"\xff", limit=SCAN_ROWS_MAX)]


def test_get_answers_in_the_order_of_the_keys(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        _, rows = await fill(store, 3)
        assert await store.get([b"k002", b"none", b"k000"]) == [rows[2], None, rows[0]]
        assert await store.get([b"k001", b"k001"]) == [rows[1], rows[1]]
        assert await store.get([b"none"]) == [None]
        assert await store.get([b"k001"]) == [rows[1]]

    play(scenario)


def test_get_takes_as_many_keys_as_the_limit(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        _, rows = await fill(store, GET_KEYS_MAX)
        assert await store.get([row.key for row in reversed(rows)]) == rows[::-1]

    play(scenario)


def test_scan_is_ordered_bounded_and_reversible(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        _, rows = await fill(store, 10)
        assert await store.scan(b"k002", b"k005", limit=100) == rows[2:5]
        assert await store.scan(b"k002", b"k005", limit=100, reverse=True) == rows[2:5][::-1]
        assert await store.scan(b"k002", b"k009", limit=2) == rows[2:4]
        assert await store.scan(b"k002", b"k009", limit=2, reverse=True) == [rows[8], rows[7]]
        assert await store.scan(b"a", b"z", limit=10) == rows
        assert await store.scan(b"k0011", b"k003", limit=10) == [rows[2]]
        assert await store.scan(b"l", b"m", limit=10) == []

    play(scenario)


def test_order_is_that_of_bytes(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        keys = [b"\x00", b"a", b"a\x00", b"a ", b"a b", b"a!", b"a-", b"a0", b"aa", b"\xc3\xa9", b"\xff"]
        await store.commit([], [Put(key, b"") for key in reversed(keys)])
        assert [row.key for row in await store.scan(b"\x00", b"\xff\xff", limit=100)] == sorted(keys)

    play(scenario)


def test_large_reads_are_whole(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        rows: list[Row] = []
        for group in range(3):
            pairs = [(b"k%d-%03d" % (group, at), bytes([at % 256]) * VALUE_BYTES_MAX) for at in range(20)]
            version = await store.commit([], [Put(key, value) for key, value in pairs])
            rows += [Row(key, value, version) for key, value in pairs]
        assert await store.scan(b"k", b"l", limit=SCAN_ROWS_MAX) == rows
        assert await store.scan(b"k", b"l", limit=50, reverse=True) == rows[:9:-1]
        assert await store.get([row.key for row in rows[::-1]]) == rows[::-1]

    play(scenario)


def test_many_small_rows_are_read_whole(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        _, rows = await fill(store, SCAN_ROWS_MAX)
        assert await store.scan(b"k", b"l", limit=SCAN_ROWS_MAX) == rows

    play(scenario)


def test_any_bytes_up_to_the_limits_are_kept(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        key, value = b"\xff" * KEY_BYTES_MAX, bytes(range(256)) * (VALUE_BYTES_MAX // 256)
        version = await store.commit([], [Put(key, value), Put(b"k", b"")])
        assert await store.get([key, b"k"]) == [Row(key, value, version), Row(b"k", b"", version)]

    play(scenario)


def test_a_commit_has_as_many_operations_as_the_limit(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        await store.commit([], [Put(b"k%04d" % at, b"") for at in range(COMMIT_OPERATIONS_MAX)])
        assert len(await store.scan(b"k1", b"k2", limit=SCAN_ROWS_MAX)) == 1_000

    play(scenario)


def test_versions_grow_and_belong_to_the_commit(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        first = await store.commit([], [Put(b"a", b"1"), Put(b"b", b"1")])
        second = await store.commit([], [Put(b"a", b"2")])
        third = await store.commit([Check(b"a", second)], [])
        fourth = await store.commit([], [Delete(b"a")])
        assert ABSENT < first < second < third < fourth
        assert await store.get([b"a", b"b"]) == [None, Row(b"b", b"1", first)]
        assert await store.commit([], [Put(b"a", b"3")]) > fourth, "not even a deleted key's version comes again"

    play(scenario)


def test_checks_hold_on_the_version_seen(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        version = await store.commit([Check(b"a", ABSENT)], [Put(b"a", b"1")])
        version = await store.commit([Check(b"a", version), Check(b"b", ABSENT)], [Put(b"a", b"2")])
        assert await store.get([b"a"]) == [Row(b"a", b"2", version)]
        await store.commit([Check(b"a", version)], [Delete(b"a")])
        await store.commit([Check(b"a", ABSENT)], [Put(b"a", b"3")])
        assert await everything(store) == [(b"a", b"3")]

    play(scenario)


@pytest.mark.parametrize("what", ["changed", "deleted", "appeared", "never was", "second of two"])
def test_a_failed_check_is_a_conflict_and_nothing_is_applied(play: Callable[[Scenario], None], what: str) -> None:
    async def scenario(store: Store) -> None:
        old = await store.commit([], [Put(b"changed", b"1"), Put(b"deleted", b"1"), Put(b"kept", b"1")])
        new = await store.commit([], [Put(b"changed", b"2"), Delete(b"deleted"), Put(b"appeared", b"2")])
        checks = {
            "changed": [Check(b"changed", old)],
            "deleted": [Check(b"deleted", old)],
            "appeared": [Check(b"appeared", ABSENT)],
            "never was": [Check(b"never", old)],
            "second of two": [Check(b"changed", new), Check(b"appeared", old)],
        }[what]
        before = await everything(store)
        with pytest.raises(Conflict):
            await store.commit(checks, [Put(b"new", b"3"), DeleteRange(b"a", b"z"), Put(b"kept", b"3")])
        assert await everything(store) == before

    play(scenario)


def test_writes_apply_in_their_order(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        await fill(store, 5)
        version = await store.commit(
            [],
            [
                Put(b"k0015", b"gone"),
                DeleteRange(b"k001", b"k004"),
                Put(b"k002", b"again"),
                Put(b"twice", b"1"),
                Put(b"twice", b"2"),
                Put(b"brief", b"1"),
                Delete(b"brief"),
                Delete(b"k000"),
                Put(b"k000", b"back"),
                Delete(b"never"),
                DeleteRange(b"x", b"y"),
            ],
        )
        expected = [(b"k000", b"back"), (b"k002", b"again"), (b"k004", b"v4"), (b"twice", b"2")]
        assert await everything(store) == expected
        assert await store.get([b"k000", b"twice"]) == [Row(b"k000", b"back", version), Row(b"twice", b"2", version)]

    play(scenario)


def test_delete_range_spares_its_end(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        _, rows = await fill(store, 200)
        await store.commit([], [DeleteRange(b"k010", b"k190")])
        assert await store.scan(b"k", b"l", limit=SCAN_ROWS_MAX) == rows[:10] + rows[190:]

    play(scenario)


def test_a_snapshot_never_shows_half_a_commit(play: Callable[[Scenario], None]) -> None:
    """Method: writers move two keys together; readers must always see equal values and versions."""

    async def scenario(store: Store) -> None:
        await store.commit([], [Put(b"left", b"0"), Put(b"right", b"0")])
        done = asyncio.Event()

        async def move() -> None:
            for number in range(60):
                value = b"%d" % number
                await store.commit([], [Put(b"left", value), Put(b"pad%d" % number, b"x"), Put(b"right", value)])
                await asyncio.sleep(0)
            done.set()

        async def look() -> None:
            while not done.is_set():
                left, right = await store.get([b"left", b"right"])
                assert left is not None and right is not None
                assert (left.value, left.version) == (right.value, right.version)
                ends = await store.scan(b"left", b"right\x00", limit=SCAN_ROWS_MAX)
                assert (ends[0].value, ends[0].version) == (ends[-1].value, ends[-1].version)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(move())
            group.create_task(look())
            group.create_task(look())

    play(scenario)


def test_concurrent_increments_lose_no_update(play: Callable[[Scenario], None]) -> None:
    """Method: 12 writers add one 10 times each, by compare and set; the count and the history must be whole."""

    async def scenario(store: Store) -> None:
        seen: list[int] = []

        async def add(writer: int) -> None:
            for number in range(10):
                for _ in range(1_000):
                    (row,) = await store.get([b"count"])
                    check = Check(b"count", ABSENT if row is None else row.version)
                    count = 1 if row is None else int(row.value) + 1
                    mark = Put(b"mark %02d %02d" % (writer, number), b"%d" % count)
                    try:
                        await store.commit([check], [Put(b"count", b"%d" % count), mark])
                    except Conflict:
                        await asyncio.sleep(0)
                        continue
                    seen.append(count)
                    break

        async with asyncio.TaskGroup() as group:
            for writer in range(12):
                group.create_task(add(writer))
        marks = await store.scan(b"mark ", b"mark!", limit=SCAN_ROWS_MAX)
        assert sorted(seen) == list(range(1, 121))
        assert sorted(int(row.value) for row in marks) == list(range(1, 121))
        assert [row.value for row in await store.get([b"count"]) if row] == [b"120"]

    play(scenario)


def test_of_equal_claims_one_wins(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        async def claim(owner: int) -> int | None:
            try:
                await store.commit([Check(b"owner", ABSENT)], [Put(b"owner", b"%d" % owner)])
                return owner
            except Conflict:
                return None

        async with asyncio.TaskGroup() as group:
            claims = [group.create_task(claim(owner)) for owner in range(40)]
        winners = [claim.result() for claim in claims if claim.result() is not None]
        assert len(winners) == 1
        assert await everything(store) == [(b"owner", b"%d" % winners[0])]

    play(scenario)


def test_a_cancelled_commit_happens_whole_or_not_at_all(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(store.commit([], [Put(b"a%d" % at, b"1"), Put(b"b%d" % at, b"1")]))
                for at in range(20)
            ]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
        keys = {key for key, _ in await everything(store)}
        for at, task in enumerate(tasks):
            assert (b"a%d" % at in keys) == (b"b%d" % at in keys)
            assert task.cancelled() or b"a%d" % at in keys
        assert await store.commit([], [Put(b"after", b"1")]) > 0

    play(scenario)


def test_the_clock_does_not_go_back(play: Callable[[Scenario], None]) -> None:
    async def scenario(store: Store) -> None:
        times = [await store.now_ms() for _ in range(5)]
        assert times == sorted(times) and times[0] > 0

    play(scenario)
