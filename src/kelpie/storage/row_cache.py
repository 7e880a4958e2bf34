"""What was read is kept, as long as this process alone writes the database.

What is kept of a key is what everybody was last told of it: its row, or that it has none; and of a scan, its rows. A
group of commits takes out what it may change before it begins. Until it is settled that is read from the database,
which alone knows whether the commit has happened yet, and is not kept. So whatever is kept at any moment belongs to
one snapshot, and no reader goes back to a state before one that another has seen.

Which scans a write may change is told by the space of its key, the part before the first separator: a scan is kept
as long as nothing is written in its space. Spaces that are written all the time gain nothing; indexes do.

What was read lately is kept in two generations: when the young one is full, it becomes the old one, and what was old
and was not asked for since is dropped.
"""

from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct

from kelpie.limits import ROW_CACHE_BYTES_MAX, ROW_CACHE_SCAN_ROWS_MAX, ROW_CACHE_VALUE_BYTES_MAX
from kelpie.storage.keys import SEPARATOR
from kelpie.storage.store import ABSENT, DeleteRange, Put, Row, Write

DECODED_BYTES_FACTOR = 4  # a value and what its reader made of it, in bytes of the value
ENTRY_BYTES = 400  # the key, the row, their places; agents, states, blocks and runs took 0.7 to 0.9 of both together
YOUNG_BYTES_MAX = ROW_CACHE_BYTES_MAX // 2
_UNKNOWN = Row(b"", b"", ABSENT)  # no row that was read: it stands for a key that is not kept
_AFTER_SPACE = b"!"  # ends the range of all keys of a space
_SEVERAL = b" "  # stands for the spaces of a range that is not within one

Scan = tuple[bytes, bytes, int, bool]  # start, end, limit, reverse


class _KeptScan(Struct, frozen=True, gc=False):
    rows: list[Row]
    space: bytes
    writes: int  # that its space had seen
    size_bytes: int


class RowCache:
    """What was read of one database lately, within ROW_CACHE_BYTES_MAX of memory, estimated."""

    def __init__(self) -> None:
        self._young: dict[bytes, Row | None] = {}
        self._old: dict[bytes, Row | None] = {}
        self._young_scans: dict[Scan, _KeptScan] = {}
        self._old_scans: dict[Scan, _KeptScan] = {}
        self._young_bytes = 0
        self._keys: list[bytes] = []  # sorted; every key that is kept and perhaps some that are not any more
        self._writes: dict[bytes, int] = {}  # by space: how many groups have written there
        self._writing: dict[bytes, bool] = {}  # the keys that a group under way writes, and whether they were kept
        self._clearing: list[tuple[bytes, bytes]] = []  # the ranges that it removes
        self._spaces: set[bytes] = set()  # where it writes or removes; only asked for membership
        self.changes = 0  # how often a group was begun or settled

    def get(self, keys: Sequence[bytes]) -> list[Row | None] | None:
        """The rows of `keys`, in their order, from one snapshot; None if any of them is not known."""
        found: list[Row | None] = []
        for key in keys:
            row = self._young.get(key, _UNKNOWN)
            if row is _UNKNOWN:
                row = self._old.get(key, _UNKNOWN)
                if row is _UNKNOWN:
                    return None
                self._keep(key, row)
            found.append(row)
        return found

    def keep(self, keys: Sequence[bytes], rows: Sequence[Row | None]) -> None:
        """These rows were read, and no group was begun or settled since."""
        assert len(keys) == len(rows)
        for key, row in zip(keys, rows, strict=True):
            if key not in self._writing and not self._is_cleared(key):
                self._keep(key, row)

    def get_scan(self, scan: Scan) -> list[Row] | None:
        """The rows of a scan; None if they are not known."""
        kept = self._young_scans.get(scan)
        if kept is None:
            kept = self._old_scans.pop(scan, None)
            if kept is None or kept.writes != self._count(kept.space):
                return None
            self._keep_scan(scan, kept)
        elif kept.writes != self._count(kept.space):
            self._young_bytes -= kept.size_bytes
            del self._young_scans[scan]
            return None
        return kept.rows[:]

    def keep_scan(self, scan: Scan, rows: list[Row]) -> None:
        """This scan was made, and no group was begun or settled since."""
        space = _space_of_range(scan[0], scan[1])
        if space == _SEVERAL or space in self._spaces or _SEVERAL in self._spaces:
            return
        if len(rows) > ROW_CACHE_SCAN_ROWS_MAX:
            return
        value_bytes = sum([len(row.value) for row in rows])
        if value_bytes <= ROW_CACHE_VALUE_BYTES_MAX:
            size_bytes = ENTRY_BYTES * (1 + len(rows)) + DECODED_BYTES_FACTOR * value_bytes
            self._keep_scan(scan, _KeptScan(rows[:], space, self._count(space), size_bytes))

    def begin(self, writes: Sequence[Write]) -> None:
        """A group of commits with these writes begins: from now on they may have happened or not."""
        assert not self._spaces, "one group at a time"
        self.changes += 1
        for write in writes:
            if isinstance(write, DeleteRange):
                self._clearing.append((write.start, write.end))
                self._drop_range(write.start, write.end)
                self._spaces.add(_space_of_range(write.start, write.end))
            else:
                key = write.key
                if key in self._young or key in self._old:
                    self._drop(key)
                    self._writing[key] = True
                else:
                    self._writing.setdefault(key, False)
                self._spaces.add(_space_of(key))
        assert len(self._writing) + len(self._clearing) <= len(writes)
        for space in self._spaces:
            self._writes[space] = self._writes.get(space, 0) + 1

    def settle(self, done: Sequence[tuple[int, Sequence[Write]]]) -> None:
        """It is over. `done`: the version of each commit that was made durable and its writes, in their order."""
        self.changes += 1
        writing, clearing = self._writing, self._clearing
        self._writing, self._clearing, self._spaces = {}, [], set()
        newest: dict[bytes, Row | None] = {}
        for version, writes in done:
            for write in writes:
                if not isinstance(write, DeleteRange) and writing[write.key]:
                    newest[write.key] = Row(write.key, write.value, version) if isinstance(write, Put) else None
        for key, row in newest.items():
            if not any([start <= key < end for start, end in clearing]):
                self._keep(key, row)

    # -- inside --------------------------------------------------------------------------------------------

    def _count(self, space: bytes) -> int:
        """How many groups have written in this space, or in several at once."""
        return self._writes.get(space, 0) + self._writes.get(_SEVERAL, 0)

    def _keep(self, key: bytes, row: Row | None) -> None:
        if row is not None and len(row.value) > ROW_CACHE_VALUE_BYTES_MAX:
            return
        self._drop(key)
        at = bisect_left(self._keys, key)
        if at == len(self._keys) or self._keys[at] != key:
            self._keys.insert(at, key)
        self._young[key] = row
        self._grow(_entry_bytes(row))

    def _keep_scan(self, scan: Scan, kept: _KeptScan) -> None:
        assert scan not in self._young_scans
        self._young_scans[scan] = kept
        self._grow(kept.size_bytes)

    def _grow(self, size_bytes: int) -> None:
        self._young_bytes += size_bytes
        if self._young_bytes > YOUNG_BYTES_MAX:
            self._old, self._old_scans = self._young, self._young_scans
            self._young, self._young_scans, self._young_bytes = {}, {}, 0
            self._keys = sorted(self._old)

    def _drop(self, key: bytes) -> bool:
        """Whether it was kept. Its place among the keys goes with its generation."""
        row = self._young.pop(key, _UNKNOWN)
        if row is _UNKNOWN:
            return self._old.pop(key, _UNKNOWN) is not _UNKNOWN
        self._young_bytes -= _entry_bytes(row)
        return True

    def _drop_range(self, start: bytes, end: bytes) -> None:
        first, last = bisect_left(self._keys, start), bisect_left(self._keys, end)
        for key in self._keys[first:last]:
            self._drop(key)
        del self._keys[first:last]

    def _is_cleared(self, key: bytes) -> bool:
        return any([start <= key < end for start, end in self._clearing])


def _entry_bytes(row: Row | None) -> int:
    return ENTRY_BYTES if row is None else ENTRY_BYTES + DECODED_BYTES_FACTOR * len(row.value)


def _space_of(key: bytes) -> bytes:
    return key[: key.find(SEPARATOR)]


def _space_of_range(start: bytes, end: bytes) -> bytes:
    """The space that every key from `start` to before `end` is of."""
    space, separator, _ = start.partition(SEPARATOR)
    return space if separator and end <= space + _AFTER_SPACE else _SEVERAL
