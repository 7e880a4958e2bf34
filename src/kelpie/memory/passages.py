"""Passages: texts with vectors, kept on shelves, listed by time, found by meaning and by words.

A shelf is whatever has passages: an archive, a folder. Its own record is written by every commit that changes it, so
its version says whether an index in memory is still true, whoever wrote. On this node the writers of one shelf wait
for each other, and an index that is loaded is changed with them; after another node's commit it is built anew, from
one state of the shelf. Indexes are derived: losing one loses time and nothing else.
"""

import asyncio
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

import msgspec
import numpy as np
from msgspec import Raw, Struct

from kelpie.errors import CommitUnknown, Conflict, InvalidInput, LimitExceeded, NotFound, Unavailable
from kelpie.ids import FileId, PassageId
from kelpie.limits import (
    EDIT_ATTEMPTS_MAX,
    GET_KEYS_MAX,
    PAGE_ROWS_MAX,
    PASSAGE_BYTES_MAX,
    PASSAGE_COMMIT_BYTES,
    PASSAGE_COMMIT_ROWS,
    PASSAGE_TAGS_MAX,
    PASSAGES_PER_SHELF_MAX,
    PASSAGES_READ_AT_ONCE,
    SCAN_ROWS_MAX,
    SHELVES_MAX,
    TAG_CHARS_MAX,
)
from kelpie.memory.indexes import Indexes
from kelpie.memory.search_index import Entry, Hit, SearchIndex, Vector, Wanted
from kelpie.storage import keys
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Found, Records, Space, stand_back
from kelpie.world import World

NO_METADATA = Raw(b"null")
_VECTOR = np.dtype("<f4")


class Passage(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A text on a shelf. `vector`: its numbers in single precision, little-endian, of unit length."""

    id: PassageId
    shelf_id: str
    text: str
    vector: bytes
    tags: tuple[str, ...] = ()
    metadata: Raw = NO_METADATA
    file_id: FileId | None = None
    file_name: str | None = None
    created_at_us: int
    updated_at_us: int


class PassagePlace(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """Where on its shelf a passage stands."""

    created_at_us: int


class Shelf(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """What is true of all passages of a shelf. `dimensions` is 0 until it has had one."""

    id: str
    embedding: str  # the handle of the model that made the vectors
    dimensions: int = 0
    passages: int = 0


class FoundPassage(Struct, frozen=True, kw_only=True):
    """A passage that a search found, and how."""

    passage: Passage
    hit: Hit


SHELVES = Space("shelf", Shelf)  # at(shelf_id)
PASSAGES = Space("passage", Passage, large=True)  # at(shelf_id, created_at_us, passage_id)
PLACES = Space("passage_place", PassagePlace)  # at(shelf_id, passage_id)


class Passages:
    """The passages of all shelves."""

    def __init__(self, records: Records, world: World, indexes: Indexes) -> None:
        self._records = records
        self._world = world
        self.indexes = indexes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def get_shelf(self, shelf_id: str) -> Found[Shelf]:
        """The shelf. Raises NotFound."""
        found = await self._records.get(SHELVES.at(shelf_id))
        if found is None:
            raise NotFound(f"There are no passages of '{shelf_id}'", id=shelf_id)
        return found

    async def add(
        self, shelf_id: str, passages: Sequence[Passage], also: Callable[[Batch], None] | None = None
    ) -> list[Passage]:
        """Store passages, durably; as they are stored. One whose id is there already is left as it is.

        `also` adds to each commit.

        Many are stored in several commits, one after the other. Raises NotFound, LimitExceeded, InvalidInput, Conflict,
        all of which say that nothing was stored; CommitUnknown when a part was, or may have been.
        """
        for passage in passages:
            assert passage.shelf_id == shelf_id
            check_passage(passage)
        stored: list[Passage] = []
        async with self._lock(shelf_id):
            for some in _in_commits(passages):
                try:
                    stored += await self._add_some(shelf_id, some, also)
                except (Unavailable, LimitExceeded) as error:
                    if not stored:
                        raise
                    told = f"{len(stored)} of {len(passages)} passages were stored, then: {error.sentence}"
                    raise CommitUnknown(told) from error
        assert len(stored) == len(passages)
        return stored

    async def remove(self, shelf_id: str, passage_ids: Sequence[PassageId]) -> int:
        """Remove passages; how many of them were there."""
        removed = 0
        async with self._lock(shelf_id):
            for start in range(0, len(passage_ids), PASSAGE_COMMIT_ROWS):
                removed += await self._remove_some(shelf_id, passage_ids[start : start + PASSAGE_COMMIT_ROWS])
        return removed

    async def get_many(self, shelf_id: str, passage_ids: Sequence[str]) -> list[Passage]:
        """Those of the passages that are there, in the order of their ids."""
        found: list[Passage] = []
        for start in range(0, len(passage_ids), PASSAGES_READ_AT_ONCE):
            places = await self._places(shelf_id, passage_ids[start : start + PASSAGES_READ_AT_ONCE])
            found += await self._at(shelf_id, [(place, id) for id, place in places.items()])
        assert len(found) <= len(passage_ids)
        return found

    async def page(
        self, shelf_id: str, page: Page, is_wanted: Callable[[Passage], bool] | None = None
    ) -> list[Passage]:
        """A page by time of creation. Raises NotFound for a cursor that is no passage of the shelf."""
        assert 0 < page.limit <= PAGE_ROWS_MAX
        start, end = await self._bounds(shelf_id, page)
        wanted: list[Passage] = []
        for _ in range(PASSAGES_PER_SHELF_MAX // PASSAGES_READ_AT_ONCE + 1):
            at_once = PASSAGES_READ_AT_ONCE if is_wanted else min(page.limit - len(wanted), PASSAGES_READ_AT_ONCE)
            rows = await self._scan(start, end, at_once, page.newest_first)
            assert len(rows) <= at_once
            wanted += [row.value for row in rows if is_wanted is None or is_wanted(row.value)]
            if len(rows) < at_once or len(wanted) >= page.limit:
                break
            key = rows[-1].key
            start, end = (start, key) if page.newest_first else (key + b"\0", end)
        return wanted[: page.limit]

    async def search(self, shelf_id: str, wanted: Wanted) -> list[FoundPassage]:
        """The best passages, best first. Raises NotFound, LimitExceeded (too large an index), Conflict."""
        async with self._lock(shelf_id):
            index = await self._index(shelf_id)
            if index is not None and wanted.vector is not None:
                _check_size(shelf_id, index.dimensions, len(wanted.vector))
            hits = [] if index is None else await index.search(wanted)
        passages = await self._at(shelf_id, [(hit.at_us, hit.id) for hit in hits])
        by_id = {passage.id: passage for passage in passages}
        assert len(passages) <= len(hits)
        return [FoundPassage(passage=by_id[PassageId(hit.id)], hit=hit) for hit in hits if hit.id in by_id]

    async def warm(self, shelf_id: str) -> None:
        """Have the index ready for the next search."""
        async with self._lock(shelf_id):
            await self._index(shelf_id)

    async def shelves(self) -> list[Shelf]:
        """All shelves, by id. LimitExceeded when there are more than SHELVES_MAX."""
        found: list[Shelf] = []
        after: str | None = None
        while len(found) < SHELVES_MAX:
            rows = await self._records.scan(SHELVES, after=after, limit=SCAN_ROWS_MAX)
            assert len(rows) <= SCAN_ROWS_MAX
            found += [row.value for row in rows]
            if len(rows) < SCAN_ROWS_MAX:
                return found
            after = rows[-1].last_part
            assert after == found[-1].id
        raise LimitExceeded(f"there are {SHELVES_MAX} shelves or more", limit="SHELVES_MAX", maximum=SHELVES_MAX)

    # -- inside --------------------------------------------------------------------------------------------

    def _lock(self, shelf_id: str) -> asyncio.Lock:
        """Held by whoever changes the shelf or looks into its index; forgotten when nobody holds or awaits it."""
        lock = self._locks.get(shelf_id)
        if lock is None:
            lock = self._locks[shelf_id] = asyncio.Lock()
        return lock

    async def _add_some(
        self, shelf_id: str, some: Sequence[Passage], also: Callable[[Batch], None] | None
    ) -> list[Passage]:
        for attempt in range(EDIT_ATTEMPTS_MAX):
            shelf = await self.get_shelf(shelf_id)
            there = {one.id: one for one in await self.get_many(shelf_id, [passage.id for passage in some])}
            fresh = [passage for passage in some if passage.id not in there]
            if not fresh:
                return [there[passage.id] for passage in some]
            batch = Batch()
            batch.check(shelf)
            batch.put(SHELVES.at(shelf_id), _grown(shelf.value, fresh))
            for passage in fresh:
                batch.put_new(PASSAGES.at(shelf_id, passage.created_at_us, passage.id), passage)
                batch.put(PLACES.at(shelf_id, passage.id), PassagePlace(created_at_us=passage.created_at_us))
            assert len(fresh) + len(there) == len(some)
            if also is not None:
                also(batch)
            version = await self._committed(batch, attempt)
            if version is not None:
                assert version > shelf.version
                self._follow(shelf_id, shelf.version, version, fresh, ())
                return [there.get(passage.id, passage) for passage in some]
        raise _lost(shelf_id)

    async def _remove_some(self, shelf_id: str, passage_ids: Sequence[PassageId]) -> int:
        for attempt in range(EDIT_ATTEMPTS_MAX):
            shelf = await self.get_shelf(shelf_id)
            places = await self._places(shelf_id, passage_ids)
            if not places:
                return 0
            assert shelf.value.passages >= len(places)
            batch = Batch()
            batch.check(shelf)
            left = msgspec.structs.replace(shelf.value, passages=shelf.value.passages - len(places))
            batch.put(SHELVES.at(shelf_id), left)
            for passage_id, created_at_us in places.items():
                batch.delete(PASSAGES.at(shelf_id, created_at_us, passage_id))
                batch.delete(PLACES.at(shelf_id, passage_id))
            version = await self._committed(batch, attempt)
            if version is not None:
                assert version > shelf.version
                self._follow(shelf_id, shelf.version, version, (), list(places))
                return len(places)
        raise _lost(shelf_id)

    def _follow(self, shelf_id: str, before: int, after: int, added: Sequence[Passage], removed: Sequence[str]) -> None:
        """Change the index that is in memory as a commit has changed the shelf; it is dropped if it was not true."""
        kept = self.indexes.find(shelf_id)
        if kept is None:
            return
        assert before < after
        if kept.version != before:
            self.indexes.drop(shelf_id)
            return
        for passage in added:
            kept.index.add(_entry(passage))
        for passage_id in removed:
            kept.index.remove(passage_id)
        kept.version = after
        if kept.index.is_hollow:
            self.indexes.drop(shelf_id)

    async def _index(self, shelf_id: str) -> SearchIndex | None:
        """The index, true of the shelf as it is now; None when the shelf is empty. The shelf is locked."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            shelf = await self.get_shelf(shelf_id)
            assert shelf.value.id == shelf_id
            kept = self.indexes.find(shelf_id)
            if kept is not None and kept.version == shelf.version:
                self.indexes.trim()
                return kept.index
            self.indexes.drop(shelf_id)
            if shelf.value.passages == 0:
                return None
            index = await self._build(shelf.value)
            if (await self.get_shelf(shelf_id)).version == shelf.version:
                assert len(index) == shelf.value.passages, "the count is kept with the rows"
                self.indexes.keep(shelf_id, shelf.version, index)
                return index
            await stand_back(attempt, self._world.entropy)  # another node wrote meanwhile
        raise _lost(shelf_id)

    async def _build(self, shelf: Shelf) -> SearchIndex:
        assert shelf.dimensions > 0, "a shelf with passages knows their size"
        index = SearchIndex(shelf.dimensions, shelf.passages)
        start, end = keys.below(PASSAGES.name, shelf.id)
        for _ in range(PASSAGES_PER_SHELF_MAX // PASSAGES_READ_AT_ONCE + 1):
            rows = await self._scan(start, end, PASSAGES_READ_AT_ONCE, False)
            for row in rows:
                index.add(_entry(row.value))
            if len(rows) < PASSAGES_READ_AT_ONCE:
                break
            start = rows[-1].key + b"\0"
            await asyncio.sleep(0)
        assert len(index) <= PASSAGES_PER_SHELF_MAX + PASSAGES_READ_AT_ONCE
        return index

    async def _places(self, shelf_id: str, passage_ids: Sequence[str]) -> dict[str, int]:
        """When those of the passages that are there were created, by id."""
        assert len(passage_ids) <= GET_KEYS_MAX
        unique = list(dict.fromkeys(passage_ids))
        found = await self._records.get_all([PLACES.at(shelf_id, id) for id in unique])
        return {id: row.value.created_at_us for id, row in zip(unique, found, strict=True) if row is not None}

    async def _at(self, shelf_id: str, places: Sequence[tuple[int, str]]) -> list[Passage]:
        """Those of the passages at these places that are still there."""
        passages: list[Passage] = []
        for start in range(0, len(places), PASSAGES_READ_AT_ONCE):
            some = places[start : start + PASSAGES_READ_AT_ONCE]
            found = await self._records.get_all([PASSAGES.at(shelf_id, at_us, id) for at_us, id in some])
            passages += [row.value for row in found if row is not None]
        return passages

    async def _bounds(self, shelf_id: str, page: Page) -> tuple[bytes, bytes]:
        """The keys strictly between the page's cursors."""
        lower, upper = (page.before, page.after) if page.newest_first else (page.after, page.before)
        start, end = keys.below(PASSAGES.name, shelf_id)
        if lower is not None:
            start = await self._key(shelf_id, lower) + b"\0"
        if upper is not None:
            end = await self._key(shelf_id, upper)
        return start, end

    async def _key(self, shelf_id: str, passage_id: str) -> bytes:
        places = await self._places(shelf_id, [passage_id])
        if passage_id not in places:
            raise passage_not_found(passage_id)
        return PASSAGES.at(shelf_id, places[passage_id], passage_id).key

    async def _scan(self, start: bytes, end: bytes, limit: int, newest_first: bool) -> list[Found[Passage]]:
        return await self._records.scan_range(PASSAGES, start, end, limit=limit, reverse=newest_first)

    async def _committed(self, batch: Batch, attempt: int) -> int | None:
        """The commit's version; None: something checked has changed, look again."""
        try:
            return await self._records.commit(batch)
        except Conflict:
            await stand_back(attempt, self._world.entropy)
            return None


def put_shelf(batch: Batch, shelf_id: str, embedding: str) -> None:
    """A new shelf, as part of the commit that makes what it belongs to."""
    batch.check_absent(SHELVES.at(shelf_id))
    batch.put(SHELVES.at(shelf_id), Shelf(id=shelf_id, embedding=embedding))


def remove_shelf(batch: Batch, shelf: Found[Shelf]) -> None:
    """Take a shelf and all its passages away, as part of the commit that removes what it belongs to."""
    batch.check(shelf)
    batch.delete(SHELVES.at(shelf.value.id))
    batch.delete_below(PASSAGES, shelf.value.id)
    batch.delete_below(PLACES, shelf.value.id)


def pack_vector(vector: Vector) -> bytes:
    """A vector as it is stored, brought to unit length. It has a direction: not all of its numbers are 0."""
    length = float(np.linalg.norm(vector.astype(np.float64)))
    assert length > 0 and np.isfinite(length), "a vector has a direction"
    return (vector.astype(np.float64) / length).astype(_VECTOR).tobytes()


def unpack_vector(vector: bytes) -> Vector:
    """The numbers of a stored vector."""
    return np.frombuffer(vector, _VECTOR)


def check_passage(passage: Passage) -> None:
    """Raises LimitExceeded, InvalidInput when the passage cannot be stored."""
    size = len(passage.text.encode("utf-8", "surrogatepass"))
    if size > PASSAGE_BYTES_MAX:
        raise LimitExceeded(
            f"a passage of {size} bytes is over the limit of {PASSAGE_BYTES_MAX}; split it",
            limit="PASSAGE_BYTES_MAX",
            maximum=PASSAGE_BYTES_MAX,
        )
    if len(passage.tags) > PASSAGE_TAGS_MAX or any(len(tag) > TAG_CHARS_MAX for tag in passage.tags):
        raise LimitExceeded(
            f"a passage has at most {PASSAGE_TAGS_MAX} tags of {TAG_CHARS_MAX} characters",
            limit="PASSAGE_TAGS_MAX",
            maximum=PASSAGE_TAGS_MAX,
        )
    if passage.created_at_us < 0:
        raise InvalidInput("created_at: a passage is not older than 1970", field="created_at")


def passage_not_found(passage_id: str) -> NotFound:
    """The error for a passage that is not there."""
    return NotFound(f"Passage with id '{passage_id[:80]}' not found", passage_id=passage_id[:80])


def _grown(shelf: Shelf, fresh: Sequence[Passage]) -> Shelf:
    """The shelf with these passages as well. Raises LimitExceeded, InvalidInput."""
    sizes = {len(passage.vector) // _VECTOR.itemsize for passage in fresh}
    dimensions = shelf.dimensions or max(sizes)
    for size in sizes:
        _check_size(shelf.id, dimensions, size)
    total = shelf.passages + len(fresh)
    if total > PASSAGES_PER_SHELF_MAX:
        raise LimitExceeded(
            f"'{shelf.id}' would have {total} passages, over the limit of {PASSAGES_PER_SHELF_MAX}",
            limit="PASSAGES_PER_SHELF_MAX",
            maximum=PASSAGES_PER_SHELF_MAX,
        )
    return msgspec.structs.replace(shelf, dimensions=dimensions, passages=total)


def _check_size(shelf_id: str, dimensions: int, size: int) -> None:
    if size != dimensions:
        raise InvalidInput(
            f"the vectors of '{shelf_id}' have {dimensions} numbers and its embedding model now gives {size}; the two"
            " cannot be compared",
            field="embedding",
        )


def _in_commits(passages: Sequence[Passage]) -> list[list[Passage]]:
    """The passages in their order, in groups that one commit can hold."""
    groups: list[list[Passage]] = []
    size = 0
    for passage in passages:
        bytes_here = len(passage.text) * 2 + len(passage.vector) * 4 // 3 + len(passage.metadata)
        if not groups or len(groups[-1]) == PASSAGE_COMMIT_ROWS or size + bytes_here > PASSAGE_COMMIT_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(passage)
        size += bytes_here
    assert sum(len(group) for group in groups) == len(passages)
    assert all(groups)
    return groups


def _entry(passage: Passage) -> Entry:
    return Entry(
        id=passage.id,
        text=passage.text,
        vector=unpack_vector(passage.vector),
        at_us=passage.created_at_us,
        labels=passage.tags,
    )


def _lost(shelf_id: str) -> Conflict:
    return Conflict(f"the passages of '{shelf_id}' are being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")
