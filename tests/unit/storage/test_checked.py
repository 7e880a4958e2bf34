"""Goal: nothing over a limit passes, in either direction. Method: each excess by itself, and a store that lies."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from kelpie.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_OPERATIONS_MAX,
    GET_KEYS_MAX,
    KEY_BYTES_MAX,
    SCAN_ROWS_MAX,
    VALUE_BYTES_MAX,
)
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.store import Check, Delete, DeleteRange, Put, Row, Store, Write
from kelpie.system import system_world

LONG = b"x" * (KEY_BYTES_MAX + 1)
FULL_VALUES = COMMIT_BYTES_MAX // VALUE_BYTES_MAX + 1

TOO_MUCH: dict[str, Callable[[Store], Awaitable[object]]] = {
    "get nothing": lambda store: store.get([]),
    "get many": lambda store: store.get([b"k"] * (GET_KEYS_MAX + 1)),
    "get long": lambda store: store.get([LONG]),
    "get empty": lambda store: store.get([b""]),
    "scan none": lambda store: store.scan(b"a", b"b", limit=0),
    "scan many": lambda store: store.scan(b"a", b"b", limit=SCAN_ROWS_MAX + 1),
    "scan nowhere": lambda store: store.scan(b"b", b"b", limit=1),
    "scan backwards": lambda store: store.scan(b"b", b"a", limit=1),
    "commit nothing": lambda store: store.commit([], []),
    "commit many": lambda store: store.commit([], [Delete(b"k")] * (COMMIT_OPERATIONS_MAX + 1)),
    "commit large": lambda store: store.commit([], [Put(b"k", b"x" * VALUE_BYTES_MAX)] * FULL_VALUES),
    "check long": lambda store: store.commit([Check(LONG, 0)], [Put(b"k", b"")]),
    "check negative": lambda store: store.commit([Check(b"k", -1)], [Put(b"k", b"")]),
    "put long key": lambda store: store.commit([], [Put(LONG, b"")]),
    "put long value": lambda store: store.commit([], [Put(b"k", b"x" * (VALUE_BYTES_MAX + 1))]),
    "put text": lambda store: store.commit([], [Put(b"k", "text")]),  # type: ignore[arg-type]
    "delete empty": lambda store: store.commit([], [Delete(b"")]),
    "delete backwards": lambda store: store.commit([], [DeleteRange(b"b", b"a")]),
}


@pytest.mark.parametrize("what", list(TOO_MUCH))
def test_an_excess_of_ours_is_a_bug_and_does_not_reach_the_store(what: str) -> None:
    async def scenario() -> None:
        store = CheckedStore(MemoryStore(system_world()))
        with pytest.raises(AssertionError):
            await TOO_MUCH[what](store)
        assert await store.scan(b"\x00", b"\xff", limit=1) == []

    asyncio.run(scenario())


class LyingStore:
    """Answers what it was made with."""

    def __init__(self, answers: dict[str, list]) -> None:
        self.answers = answers

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        return self.answers["get"].pop(0)

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        return self.answers["scan"].pop(0)

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        return self.answers["commit"].pop(0)

    async def now_ms(self) -> int:
        return self.answers["now_ms"].pop(0)

    async def close(self) -> None:
        self.answers.clear()


@pytest.mark.parametrize(
    "rows",
    [[], [None, None, None], [Row(b"b", b"", 1), None], [Row(b"a", b"", 0), None], [Row(b"a", LONG * 200, 1), None]],
)
def test_a_get_that_lies_is_found(rows: list[Row | None]) -> None:
    with pytest.raises(AssertionError):
        asyncio.run(CheckedStore(LyingStore({"get": [rows]})).get([b"a", b"b"]))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("at", [[b"a", b"b", b"c"], [b"b", b"a", b"b"], [b"b", b"b"], [b"z"], [b"0"]])
def test_a_scan_that_lies_is_found(at: list[bytes], reverse: bool) -> None:
    store = CheckedStore(LyingStore({"scan": [[Row(key, b"", 1) for key in at]]}))
    with pytest.raises(AssertionError):
        asyncio.run(store.scan(b"a", b"c", limit=3, reverse=reverse))


def test_a_version_that_does_not_grow_is_found() -> None:
    async def scenario() -> None:
        store = CheckedStore(LyingStore({"commit": [5, 5], "get": [[Row(b"a", b"", 9)]], "now_ms": [2, 1]}))
        assert await store.commit([], [Put(b"a", b"")]) == 5
        with pytest.raises(AssertionError):
            await store.commit([], [Put(b"a", b"")])
        assert await store.get([b"a"]) == [Row(b"a", b"", 9)]
        store._store.answers["commit"] = [9]  # type: ignore[attr-defined]
        with pytest.raises(AssertionError):
            await store.commit([], [Put(b"a", b"")])
        assert await store.now_ms() == 2
        with pytest.raises(AssertionError):
            await store.now_ms()

    asyncio.run(scenario())


def test_no_verb_follows_close() -> None:
    async def scenario() -> None:
        store = CheckedStore(MemoryStore(system_world()))
        await store.close()
        for verb in (store.get([b"a"]), store.scan(b"a", b"b", limit=1), store.commit([], [Delete(b"a")])):
            with pytest.raises(AssertionError):
                await verb

    asyncio.run(scenario())
