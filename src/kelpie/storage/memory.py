"""A store in this process's memory: the reference that every other backend must agree with.

Every verb runs to its end without waiting, so each is atomic by itself. Nothing outlives the object.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import assert_never

from kelpie.errors import Conflict
from kelpie.storage.store import ABSENT, Check, Delete, DeleteRange, Put, Row, Write
from kelpie.world import World


class MemoryStore:
    """Rows in a dict, their keys in a sorted list."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: dict[bytes, Row] = {}
        self._keys: list[bytes] = []  # the keys of _rows, ascending
        self._version = ABSENT
        self._clock_ms = 0
        self._closed = False

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        """The rows of `keys`, in their order."""
        assert not self._closed, "no verb follows close()"
        return [self._rows.get(key) for key in keys]

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """At most `limit` rows with start <= key < end."""
        assert not self._closed, "no verb follows close()"
        assert limit > 0 and start <= end
        first, last = bisect_left(self._keys, start), bisect_left(self._keys, end)
        if reverse:
            found = self._keys[max(first, last - limit) : last][::-1]
        else:
            found = self._keys[first : min(last, first + limit)]
        return [self._rows[key] for key in found]

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """Apply `writes` if all `checks` hold; the version of the commit."""
        assert not self._closed, "no verb follows close()"
        for check in checks:
            row = self._rows.get(check.key)
            if (ABSENT if row is None else row.version) != check.version:
                raise Conflict(f"key {check.key!r} has changed")
        self._version += 1
        for write in writes:
            self._apply(write)
        assert len(self._keys) == len(self._rows)
        return self._version

    async def now_ms(self) -> int:
        """The wall clock, held still while it goes back."""
        self._clock_ms = max(self._clock_ms, self._world.wall.now_ms())
        return self._clock_ms

    async def close(self) -> None:
        """The rows are dropped."""
        assert not self._closed, "closed once"
        self._closed = True
        self._rows.clear()
        self._keys.clear()

    def _apply(self, write: Write) -> None:
        match write:
            case Put(key=key, value=value):
                if key not in self._rows:
                    insort(self._keys, key)
                self._rows[key] = Row(key, value, self._version)
            case Delete(key=key):
                if self._rows.pop(key, None) is not None:
                    del self._keys[bisect_left(self._keys, key)]
            case DeleteRange(start=start, end=end):
                first, last = bisect_left(self._keys, start), bisect_left(self._keys, end)
                for key in self._keys[first:last]:
                    del self._rows[key]
                del self._keys[first:last]
            case _:
                assert_never(write)
