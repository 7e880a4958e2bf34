"""Goal: any history of commits and reads gives what a plain dict gives. Method: Hypothesis writes the histories."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kelpie.errors import Conflict
from kelpie.storage.store import ABSENT, Check, Delete, DeleteRange, Put, Row, Store, Write
from tests.conformance.store.backends import BACKENDS, opened

KEYS = [b"a", b"a b", b"a c", b"a!", b"a-b", b"b", b"b\x00", b"c"]
ENDS = [*KEYS, b"\xff"]

some_key = st.sampled_from(KEYS)
some_range = st.tuples(st.sampled_from(ENDS), st.sampled_from(ENDS)).map(sorted).filter(lambda ends: ends[0] < ends[1])
some_write = st.one_of(
    st.builds(Put, some_key, st.binary(max_size=3)),
    st.builds(Delete, some_key),
    some_range.map(lambda ends: DeleteRange(*ends)),
)
# A check names a key and how many commits ago its version was seen: 0 is now.
some_check = st.tuples(some_key, st.sampled_from([0, 0, 0, 1, 2]))
some_commit = st.tuples(
    st.just("commit"), st.lists(some_check, max_size=3), st.lists(some_write, min_size=1, max_size=5)
)
some_scan = st.tuples(st.just("scan"), some_range, st.integers(1, 9), st.booleans())
some_get = st.tuples(st.just("get"), st.lists(some_key, min_size=1, max_size=6))
some_history = st.lists(st.one_of(some_commit, some_scan, some_get), min_size=1, max_size=12)


class Model:
    """What a store is, in the fewest words."""

    def __init__(self) -> None:
        self.past: list[dict[bytes, Row]] = [{}]

    @property
    def rows(self) -> dict[bytes, Row]:
        return self.past[-1]

    def seen(self, key: bytes, commits_ago: int) -> int:
        row = self.past[max(0, len(self.past) - 1 - commits_ago)].get(key)
        return ABSENT if row is None else row.version

    def scan(self, start: bytes, end: bytes, limit: int, reverse: bool) -> list[Row]:
        found = [self.rows[key] for key in sorted(self.rows, reverse=reverse) if start <= key < end]
        return found[:limit]

    def apply(self, writes: list[Write], version: int) -> None:
        rows = dict(self.rows)
        for write in writes:
            match write:
                case Put(key=key, value=value):
                    rows[key] = Row(key, value, version)
                case Delete(key=key):
                    rows.pop(key, None)
                case DeleteRange(start=start, end=end):
                    rows = {key: row for key, row in rows.items() if not start <= key < end}
        self.past.append(rows)


async def follow(store: Store, history: list[tuple]) -> None:
    model, last_version = Model(), ABSENT
    for verb, *given_to in history:
        if verb == "scan":
            (start, end), limit, reverse = given_to
            found = await store.scan(start, end, limit=limit, reverse=reverse)
            assert found == model.scan(start, end, limit, reverse)
        elif verb == "get":
            assert await store.get(given_to[0]) == [model.rows.get(key) for key in given_to[0]]
        else:
            checks = [Check(key, model.seen(key, commits_ago)) for key, commits_ago in given_to[0]]
            if all(check.version == model.seen(check.key, 0) for check in checks):
                version = await store.commit(checks, given_to[1])
                assert version > last_version
                model.apply(given_to[1], version)
                last_version = version
            else:
                with pytest.raises(Conflict):
                    await store.commit(checks, given_to[1])
    assert await store.scan(b"\x00", b"\xff\xff", limit=100) == model.scan(b"", b"\xff\xff", 100, False)


async def concurrently(store: Store, batches: list[list[Write]]) -> None:
    """All at once: the result is that of applying them in the order of their versions."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.commit([], writes)) for writes in batches]
    model = Model()
    for version, writes in sorted((task.result(), at) for at, task in enumerate(tasks)):
        model.apply(batches[writes], version)
    assert await store.scan(b"\x00", b"\xff\xff", limit=100) == model.scan(b"", b"\xff\xff", 100, False)


def quick(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_any_history_agrees_with_a_dict(backend: str) -> None:
    @quick(40)
    @given(some_history)
    def agrees(history: list[tuple]) -> None:
        async def run() -> None:
            async with opened(backend) as store:
                await follow(store, history)

        asyncio.run(run())

    agrees()


@pytest.mark.parametrize("backend", list(BACKENDS))
def test_concurrent_commits_are_as_if_one_after_the_other(backend: str) -> None:
    @quick(15)
    @given(st.lists(st.lists(some_write, min_size=1, max_size=4), min_size=2, max_size=8))
    def serial(batches: list[list[Write]]) -> None:
        async def run() -> None:
            async with opened(backend) as store:
                await concurrently(store, batches)

        asyncio.run(run())

    serial()
