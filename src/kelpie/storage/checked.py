"""Wraps any store and asserts the limits of `limits.py` both ways; `node.py` never hands out a bare one.

What goes in was bounded at the door or by the record layer, so an excess is our own bug: an assertion. What
comes out is asserted too: a backend that returns rows out of order, from outside of the range, or of no
version is found here and not three floors up. Several writes to one key in one commit are allowed; the last
one counts. This is on every path to the data: plain loops, no copies.
"""

from collections.abc import Sequence
from typing import assert_never

from kelpie.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_OPERATIONS_MAX,
    GET_KEYS_MAX,
    KEY_BYTES_MAX,
    SCAN_ROWS_MAX,
    VALUE_BYTES_MAX,
)
from kelpie.storage.store import ABSENT, Check, Delete, DeleteRange, Put, Row, Store, Write


class CheckedStore:
    """A store that keeps its promises, and whose callers keep theirs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version_seen = ABSENT  # the highest that anyone was told
        self._clock_ms = 0
        self._closed = False

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        """The rows of `keys`, in their order; 1 to GET_KEYS_MAX keys."""
        assert not self._closed, "no verb follows close()"
        assert 0 < len(keys) <= GET_KEYS_MAX, f"{len(keys)} keys"
        for key in keys:
            _check_key(key)
        rows = await self._store.get(keys)
        assert len(rows) == len(keys), "one answer for each key"
        for key, row in zip(keys, rows, strict=True):
            if row is not None:
                assert row.key == key, "rows come in the order of the keys"
                self._see(row)
        return rows

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """At most `limit` rows with start <= key < end; `limit` is 1 to SCAN_ROWS_MAX."""
        assert not self._closed, "no verb follows close()"
        assert 0 < limit <= SCAN_ROWS_MAX, f"{limit} rows"
        _check_range(start, end)
        rows = await self._store.scan(start, end, limit=limit, reverse=reverse)
        assert len(rows) <= limit, "no more rows than asked for"
        last: bytes | None = None
        for row in rows:
            assert start <= row.key < end, "rows come from the range"
            assert last is None or (row.key < last if reverse else row.key > last), "rows come in order"
            last = row.key
            self._see(row)
        return rows

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """Apply `writes` if all `checks` hold; the version of the commit."""
        assert not self._closed, "no verb follows close()"
        operations = len(checks) + len(writes)
        assert 0 < operations <= COMMIT_OPERATIONS_MAX, f"{operations} operations"
        size_bytes = _checks_bytes(checks) + _writes_bytes(writes)
        assert size_bytes <= COMMIT_BYTES_MAX, f"a commit of {size_bytes} bytes"
        before = self._version_seen
        version = await self._store.commit(checks, writes)
        assert version > before, "a commit's version is higher than all that were seen before it began"
        self._version_seen = max(version, self._version_seen)
        return version

    async def now_ms(self) -> int:
        """The store's clock, which never goes back."""
        assert not self._closed, "no verb follows close()"
        before = self._clock_ms
        now_ms = await self._store.now_ms()
        assert now_ms >= before, "the store's clock never goes back"
        self._clock_ms = max(now_ms, self._clock_ms)
        return now_ms

    async def close(self) -> None:
        """Close the store within."""
        assert not self._closed, "closed once"
        self._closed = True
        await self._store.close()

    def _see(self, row: Row) -> None:
        assert row.version > ABSENT, "what exists has a version"
        assert len(row.value) <= VALUE_BYTES_MAX, f"a value of {len(row.value)} bytes"
        if row.version > self._version_seen:
            self._version_seen = row.version


def _check_key(key: bytes) -> None:
    assert type(key) is bytes and 0 < len(key) <= KEY_BYTES_MAX, f"key {key!r:.80}"


def _check_range(start: bytes, end: bytes) -> None:
    _check_key(start)
    _check_key(end)
    assert start < end, "a range holds something"


def _checks_bytes(checks: Sequence[Check]) -> int:
    size_bytes = 0
    for check in checks:
        _check_key(check.key)
        assert check.version >= ABSENT
        size_bytes += len(check.key)
    return size_bytes


def _writes_bytes(writes: Sequence[Write]) -> int:
    size_bytes = 0
    for write in writes:
        match write:
            case Put(key=key, value=value):
                _check_key(key)
                assert type(value) is bytes and len(value) <= VALUE_BYTES_MAX, f"a value of {len(value)} bytes"
                size_bytes += len(key) + len(value)
            case Delete(key=key):
                _check_key(key)
                size_bytes += len(key)
            case DeleteRange(start=start, end=end):
                _check_range(start, end)
                size_bytes += len(start) + len(end)
            case _:
                assert_never(write)
    return size_bytes
