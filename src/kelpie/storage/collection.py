"""Records of one kind that people make, change, list and remove: under their ids, and in the order of creation.

A `Collection` keeps two or three rows for a record, always written by one commit: the record itself, its place in the
order of creation and, where names are unique, who has the name. `Links` say which records of two kinds belong
together, and can be asked from both sides. What else must change with a record goes into the same batch.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from kelpie.errors import AlreadyExists, Conflict, LimitExceeded, NotFound
from kelpie.limits import (
    COLLECTION_READ_AT_ONCE,
    COLLECTION_SCANNED_MAX,
    EDIT_ATTEMPTS_MAX,
    LINKS_LOOKED_AT_MAX,
    LINKS_MAX,
    PAGE_ROWS_MAX,
    SCAN_ROWS_MAX,
)
from kelpie.storage import keys
from kelpie.storage.paging import Page, rows_to_read
from kelpie.storage.records import Batch, Found, Records, Ref, Space, stand_back
from kelpie.world import Entropy


class Listed(Struct, frozen=True, kw_only=True):
    """What every record of a collection has; its own struct adds the rest. Neither of the two ever changes."""

    id: str
    created_at_us: int


class ById(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """Points at a record: from its place in time, or from its name."""

    id: str


class Link(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """That two records belong together, since when."""

    at_us: int


T = TypeVar("T", bound=Listed)


class Collection(Generic[T]):
    """All records of one space. `title` is how errors call one; `name_of` gives what must be unique, or None."""

    def __init__(
        self,
        records: Records,
        entropy: Entropy,
        space: Space[T],
        title: str,
        *,
        name_of: Callable[[T], str | None] | None = None,
    ) -> None:
        assert title[:1].isupper(), "errors begin with it"
        self._records = records
        self._entropy = entropy
        self._space = space
        self._title = title
        self._name_of = name_of
        self._by_time = Space(f"{space.name}_by_time", ById)  # at(created_at_us, id)
        self._by_name = Space(f"{space.name}_by_name", ById)  # at(sha256 of the name)

    # -- one record ----------------------------------------------------------------------------------------

    async def get(self, id: str) -> Found[T]:
        """The record. Raises NotFound."""
        found = await self._records.get(self._space.at(id))
        if found is None:
            raise self.not_found(id)
        return found

    async def get_many(self, ids: Sequence[str]) -> list[T]:
        """Those of the records that are there, in the order of their ids; at most PAGE_ROWS_MAX."""
        assert len(ids) <= PAGE_ROWS_MAX
        found: list[T] = []
        for start in range(0, len(ids), COLLECTION_READ_AT_ONCE):
            some = ids[start : start + COLLECTION_READ_AT_ONCE]
            rows = await self._records.get_all([self._space.at(id) for id in some])
            found += [row.value for row in rows if row is not None]
        assert len(found) <= len(ids)
        return found

    async def find_named(self, name: str) -> Found[T] | None:
        """The record of that name, if there is one. Raises Conflict when it keeps being renamed."""
        assert self._name_of is not None, "only where names are unique"
        for _ in range(EDIT_ATTEMPTS_MAX):
            pointer = await self._records.get(self._name_ref(name))
            if pointer is None:
                return None
            found = await self._records.get(self._space.at(pointer.value.id))
            if found is not None and self._name_of(found.value) == name:
                return found
        raise Conflict(f"{self._title} '{name[:80]}' is being changed by others")

    async def create(self, record: T, also: Callable[[Batch], None] | None = None) -> T:
        """Store a new record; `also` adds to the commit. Raises AlreadyExists (the name is taken)."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            await self._check_free(record)
            batch = Batch()
            self.put_new(batch, record)
            if also is not None:
                also(batch)
            if await self._committed(batch, attempt):
                return record
        raise self._lost(record.id)

    async def edit(self, id: str, change: Callable[[T], T]) -> T:
        """Change a record, again as often as another edit comes first, but not without end; as it is now.

        Raises NotFound, AlreadyExists, Conflict, and what `change` raises. No change is no commit.
        """
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self.get(id)
            changed = change(found.value)
            if changed == found.value:
                return changed
            if self._renamed(found.value, changed):
                await self._check_free(changed)
            assert changed.id == id
            batch = Batch()
            self.put_changed(batch, found, changed)
            if await self._committed(batch, attempt):
                return changed
        raise self._lost(id)

    async def delete(self, id: str, also: Callable[[Batch], None] | None = None) -> T:
        """Remove a record; what it was. `also` adds to the commit. Raises NotFound, Conflict."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self.get(id)
            batch = Batch()
            self.remove(batch, found)
            if also is not None:
                also(batch)
            if await self._committed(batch, attempt):
                return found.value
        raise self._lost(id)

    # -- parts of a caller's commit ------------------------------------------------------------------------

    def put_new(self, batch: Batch, record: T) -> None:
        """Store a record that is not there yet; the commit fails with Conflict if its id or name is."""
        ref = self._space.at(record.id)
        batch.check_absent(ref)
        batch.put(ref, record)
        batch.put(self._time_ref(record), ById(id=record.id))
        self._put_name(batch, record)

    def put_changed(self, batch: Batch, found: Found[T], record: T) -> None:
        """Store a changed record, if it is still as it was found."""
        assert (record.id, record.created_at_us) == (found.value.id, found.value.created_at_us)
        batch.check(found)
        batch.put(self._space.at(record.id), record)
        if self._renamed(found.value, record):
            self._delete_name(batch, found.value)
            self._put_name(batch, record)

    def remove(self, batch: Batch, found: Found[T]) -> None:
        """Remove a record, if it is still as it was found."""
        batch.check(found)
        batch.delete(self._space.at(found.value.id))
        batch.delete(self._time_ref(found.value))
        self._delete_name(batch, found.value)

    # -- lists ---------------------------------------------------------------------------------------------

    async def page(self, page: Page, is_wanted: Callable[[T], bool] | None = None) -> list[T]:
        """A page by time of creation. Raises NotFound for a cursor that is no record of this kind.

        LimitExceeded when COLLECTION_SCANNED_MAX records were looked at and the page is not full.
        """
        assert 0 < page.limit <= PAGE_ROWS_MAX
        start, end = await self._bounds(page)
        wanted: list[T] = []
        scanned = 0
        while scanned < COLLECTION_SCANNED_MAX:
            at_once = rows_to_read(page.limit, scanned, COLLECTION_READ_AT_ONCE)
            ids = await self._scan(start, end, at_once, page.newest_first)
            found = await self.get_many([id for id, _ in ids])
            wanted += [record for record in found if is_wanted is None or is_wanted(record)]
            if len(ids) < at_once or len(wanted) >= page.limit:
                return wanted[: page.limit]
            key = ids[-1][1]
            start, end = (start, key) if page.newest_first else (key + b"\0", end)
            scanned += len(ids)
        raise self._too_many()

    async def count(self, is_wanted: Callable[[T], bool] | None = None) -> int:
        """How many there are. LimitExceeded when there are more than COLLECTION_SCANNED_MAX to look at."""
        start, end = keys.below(self._by_time.name)
        at_once = SCAN_ROWS_MAX if is_wanted is None else COLLECTION_READ_AT_ONCE
        counted = scanned = 0
        while scanned <= COLLECTION_SCANNED_MAX:
            assert counted <= scanned
            ids = await self._scan(start, end, at_once, False)
            if is_wanted is None:
                counted += len(ids)
            else:
                counted += sum(is_wanted(record) for record in await self.get_many([id for id, _ in ids]))
            if len(ids) < at_once:
                return counted
            assert start <= ids[-1][1] < end
            start = ids[-1][1] + b"\0"
            scanned += len(ids)
        raise self._too_many()

    def not_found(self, id: str) -> NotFound:
        """The error for a record that is not there."""
        return NotFound(f"{self._title} with id '{id[:80]}' not found", id=id[:80])

    # -- inside --------------------------------------------------------------------------------------------

    async def _bounds(self, page: Page) -> tuple[bytes, bytes]:
        """The index keys strictly between the page's cursors."""
        lower, upper = (page.before, page.after) if page.newest_first else (page.after, page.before)
        start, end = keys.below(self._by_time.name)
        if lower is not None:
            start = self._time_ref((await self.get(lower)).value).key + b"\0"
        if upper is not None:
            end = self._time_ref((await self.get(upper)).value).key
        return start, end

    async def _scan(self, start: bytes, end: bytes, limit: int, newest_first: bool) -> list[tuple[str, bytes]]:
        """Ids and index keys of the next records in the range."""
        if start >= end:
            return []
        rows = await self._records.store.scan(start, end, limit=limit, reverse=newest_first)
        return [(self._by_time.decode(row.key, row.value).id, row.key) for row in rows]

    async def _check_free(self, record: T) -> None:
        """AlreadyExists if another record has the name."""
        name = None if self._name_of is None else self._name_of(record)
        if name is None:
            return
        other = await self.find_named(name)
        if other is not None and other.value.id != record.id:
            shown = name.rpartition("\0")[2][:200]  # a name may have a place before it
            raise AlreadyExists(f"{self._title} with name '{shown}' already exists", name=shown)

    async def _committed(self, batch: Batch, attempt: int) -> bool:
        """Whether the commit was applied; False: something checked has changed, look again."""
        try:
            await self._records.commit(batch)
        except Conflict:
            await stand_back(attempt, self._entropy)
            return False
        return True

    def _renamed(self, before: T, after: T) -> bool:
        return self._name_of is not None and self._name_of(before) != self._name_of(after)

    def _put_name(self, batch: Batch, record: T) -> None:
        name = None if self._name_of is None else self._name_of(record)
        if name is not None:
            batch.check_absent(self._name_ref(name))
            batch.put(self._name_ref(name), ById(id=record.id))

    def _delete_name(self, batch: Batch, record: T) -> None:
        name = None if self._name_of is None else self._name_of(record)
        if name is not None:
            batch.delete(self._name_ref(name))

    def _time_ref(self, record: T) -> Ref[ById]:
        return self._by_time.at(record.created_at_us, record.id)

    def _name_ref(self, name: str) -> Ref[ById]:
        return self._by_name.at(hashlib.sha256(name.encode()).hexdigest())

    def _lost(self, id: str) -> Conflict:
        return Conflict(f"{self._title} '{id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    def _too_many(self) -> LimitExceeded:
        return LimitExceeded(
            f"more than {COLLECTION_SCANNED_MAX} records would have to be looked at; narrow the question",
            limit="COLLECTION_SCANNED_MAX",
            maximum=COLLECTION_SCANNED_MAX,
        )


@functools.cache
def _link_spaces(name: str) -> tuple[Space[Link], Space[Link]]:
    """Where the links of a pair are kept: at(left, right), and at(right, left)."""
    return Space(f"{name}_link", Link), Space(f"{name}_back", Link)


class Links:
    """Which records of two kinds belong together, many on either side: `name` names the pair, e.g. `archive_agent`."""

    def __init__(self, records: Records, name: str) -> None:
        self._records = records
        self._forward, self._backward = _link_spaces(name)

    def put(self, batch: Batch, left: str, right: str, at_us: int) -> None:
        """The two belong together from now on."""
        batch.put(self._forward.at(left, right), Link(at_us=at_us))
        batch.put(self._backward.at(right, left), Link(at_us=at_us))

    def remove(self, batch: Batch, left: str, right: str) -> None:
        """They do not any more."""
        batch.delete(self._forward.at(left, right))
        batch.delete(self._backward.at(right, left))

    async def has(self, left: str, right: str) -> bool:
        """Whether they belong together."""
        return await self._records.get(self._forward.at(left, right)) is not None

    async def rights_of(self, left: str) -> list[str]:
        """What belongs to `left`, in the order in which it was put there. LimitExceeded over LINKS_MAX."""
        return await self._read(self._forward, left)

    async def linked_among(self, lefts: Sequence[str]) -> frozenset[str]:
        """Those of `lefts` that something may belong to; to all others nothing does.

        One read of the span that they lie in: where it holds LINKS_LOOKED_AT_MAX links, there may be more, nothing is
        known, and all of `lefts` are given back.
        """
        if not lefts:
            return frozenset()
        start, end = keys.key(self._forward.name, min(lefts)), keys.past(self._forward.name, max(lefts))
        found = await self._records.scan_range(self._forward, start, end, limit=LINKS_LOOKED_AT_MAX)
        if len(found) == LINKS_LOOKED_AT_MAX:
            return frozenset(lefts)
        return frozenset(keys.part(each.key, 1) for each in found) & frozenset(lefts)

    async def lefts_of(self, right: str) -> list[str]:
        """What `right` belongs to, in the order in which it was put there. LimitExceeded over LINKS_MAX."""
        return await self._read(self._backward, right)

    async def _read(self, space: Space[Link], one: str) -> list[str]:
        found: list[Found[Link]] = []
        while len(found) < LINKS_MAX:
            after = found[-1].last_part if found else None
            page = await self._records.scan(space, one, after=after, limit=SCAN_ROWS_MAX)
            found += page
            if len(page) < SCAN_ROWS_MAX:
                return [each.last_part for each in sorted(found, key=lambda each: (each.value.at_us, each.last_part))]
        assert len(found) <= LINKS_MAX + SCAN_ROWS_MAX
        raise LimitExceeded(f"'{one}' is linked to {LINKS_MAX} others or more", limit="LINKS_MAX", maximum=LINKS_MAX)
