"""The store's contract: a small ordered transactional key-value store, reached in single round trips.

Four verbs. `get` and `scan` read one consistent snapshot each; `commit` applies all of its writes or none,
if and only if every check still holds; `now_ms` is the store's own clock, the one that leases are measured
by. There are no open transactions: a caller reads, remembers versions, decides, and commits with checks on
what it read. A set of such commits in which everything read is checked is serializable.

A commit ends in one of three ways: it returns (applied and durable), it raises Conflict, Busy, StoreDown
or StorageFull (not applied, now or ever), or it raises CommitUnknown (applied or not; it is no longer under way, and
a later read tells). Every backend, the simulated one included, passes `tests/conformance/store`.

Deno KV and etcd offer the same shape; the sizes are such that FoundationDB could keep every row.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

ABSENT = 0
"""The version of a key that holds nothing."""


class Row(Struct, frozen=True, gc=False, eq=False):
    """A stored value, and the version of the commit that wrote it (> 0, growing store-wide)."""

    key: bytes
    value: bytes
    version: int
    decoded: Any = None  # what records.py made of it, for the next who is given this very row; no part of what it is

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Row):
            return NotImplemented
        return (self.key, self.value, self.version) == (other.key, other.value, other.version)


class Check(Struct, frozen=True, gc=False):
    """Holds while `key` still has `version`; ABSENT means that the key must not exist."""

    key: bytes
    version: int


class Put(Struct, frozen=True, gc=False):
    """Set `key` to `value`."""

    key: bytes
    value: bytes


class Delete(Struct, frozen=True, gc=False):
    """Remove `key`, if it exists."""

    key: bytes


class DeleteRange(Struct, frozen=True, gc=False):
    """Remove every key in [start, end)."""

    start: bytes
    end: bytes


Write = Put | Delete | DeleteRange


class Store(Protocol):
    """What a backend is. All times in milliseconds; all sizes bounded by `limits.py`."""

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        """The rows of `keys`, in their order, all from one snapshot; 1 to GET_KEYS_MAX keys."""
        ...

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """At most `limit` rows with start <= key < end, by key, from one snapshot; `reverse`: from the end."""
        ...

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """Apply `writes` in their order if all `checks` hold; returns the commit's version once it is durable.

        Raises Conflict (a check did not hold), Busy, StoreDown, StorageFull: nothing was applied; CommitUnknown:
        see above. A caller that is cancelled while it waits knows no more than after CommitUnknown. Every verb may
        raise a Broken, after which the store is of no more use to this process.
        """
        ...

    async def now_ms(self) -> int:
        """The store's clock; it never goes back while the store is open."""
        ...

    async def close(self) -> None:
        """Finish what was begun, release what is held. No verb may follow."""
        ...
