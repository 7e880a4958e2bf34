"""Typed records over the store's rows, so that nobody is tempted to keep a dict instead.

A `Space` names one kind of record; `SPACE.at(part, ...)` points at one record in it; `Records` reads them;
a `Batch` collects the checks and writes of one commit. A record is JSON, readable in the database, whose
`form` field numbers its stored shape. A record larger than one value may be (limits.VALUE_BYTES_MAX) is
kept in chunks beside it. Head and chunks are written by one commit and nothing else, so chunks that bear
their head's version are the ones that the head was written with, and what is read is as of the snapshot in
which the heads were read. Otherwise the record has changed in between, and everything is read again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from kelpie.errors import Conflict, DataCorrupt, LimitExceeded
from kelpie.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_OPERATIONS_MAX,
    EDIT_RETRY_FIRST_MS,
    EDIT_RETRY_MS_MAX,
    GET_KEYS_MAX,
    RECORD_BYTES_MAX,
    RECORD_CHUNKS_MAX,
    VALUE_BYTES_MAX,
)
from kelpie.storage import keys
from kelpie.storage.store import ABSENT, Check, Delete, DeleteRange, Put, Row, Store, Write
from kelpie.world import Entropy

READ_AGAIN_MAX = 5
DECODE_AGAIN_EVERY = 64  # of the records that were decoded before, to see that nobody changed what all share
_CHUNKED = b"#"
_CHUNK_PREFIX = b"chunk "
_ENCODER = msgspec.json.Encoder()

T = TypeVar("T", bound=Struct)
S = TypeVar("S", bound=Struct)


class Space(Generic[T]):
    """One kind of record: its key prefix, its struct, and whether it may be larger than one value."""

    def __init__(self, name: str, kind: type[T], *, large: bool = False) -> None:
        assert name.isidentifier() and name != "chunk", name
        self.name = name
        self.kind = kind
        self.large = large
        self._decoder = msgspec.json.Decoder(kind)
        self._shared = 0  # how often a record was given out that was decoded before

    def at(self, *parts: str | int) -> "Ref[T]":
        """Points at the record under these key parts."""
        assert parts, "a record has a key"
        return Ref(self, keys.key(self.name, *parts))

    def decode(self, key: bytes, value: bytes) -> T:
        """The record in `value`; DataCorrupt if it is none."""
        try:
            return self._decoder.decode(value)
        except msgspec.MsgspecError as error:
            raise DataCorrupt(f"record {key!r} does not decode: {error}") from error

    def found(self, row: Row) -> "Found[T]":
        """The record in a row, decoded once for as long as the store keeps that row. DataCorrupt if it is none."""
        found: Found[T] | None = row.decoded
        if found is None:
            chunked = len(row.value) > VALUE_BYTES_MAX
            found = Found(row.key, self.decode(row.key, row.value), row.version, chunked=chunked)
            force_setattr(row, "decoded", found)
            return found
        assert type(found.value) is self.kind, "a key belongs to one space"
        self._shared += 1
        if self._shared % DECODE_AGAIN_EVERY == 0:
            assert found.value == self.decode(row.key, row.value), f"record {row.key!r} was changed by its reader"
        return found


class Ref(Generic[T]):
    """The place of one record."""

    __slots__ = ("key", "space")

    def __init__(self, space: Space[T], key: bytes) -> None:
        self.space = space
        self.key = key


class Found(Generic[T]):
    """A record as it was read: its key, its value, and the version to check against.

    `chunked` False promises that nothing of it is kept in chunks, so that a write need not clear any away.
    """

    __slots__ = ("chunked", "key", "value", "version")

    def __init__(self, key: bytes, value: T, version: int, *, chunked: bool = True) -> None:
        assert version > ABSENT
        self.key = key
        self.value = value
        self.version = version
        self.chunked = chunked

    @property
    def last_part(self) -> str:
        """The last part of the key; a cursor for `after` and `before`."""
        return keys.last_part(self.key)


class Batch:
    """The checks and writes of one commit, in order."""

    __slots__ = ("_whole", "bytes_total", "checks", "writes")

    def __init__(self) -> None:
        self.checks: list[Check] = []
        self.writes: list[Write] = []
        self._whole: set[bytes] = set()  # keys that have no chunks if the checks hold; only asked for membership
        self.bytes_total = 0  # of keys and values, as the store counts them

    def check(self, found: Found[T]) -> None:
        """The record must still be as it was read."""
        self._check(found.key, found.version)
        self.trust(found)

    def check_absent(self, ref: Ref[T]) -> None:
        """There must be no record there."""
        self._check(ref.key, ABSENT)
        self._whole.add(ref.key)

    def trust(self, found: Found[T]) -> None:
        """The record is still as it was read, by another check of this commit."""
        if not found.chunked:
            self._whole.add(found.key)

    def put(self, ref: Ref[T], value: T) -> None:
        """Write the record; LimitExceeded when it is larger than RECORD_BYTES_MAX."""
        assert isinstance(value, ref.space.kind), "a space holds one kind of record"
        raw = _ENCODER.encode(value)
        if ref.space.large:
            self._put_large(ref.key, raw)
            return
        assert len(raw) <= VALUE_BYTES_MAX, f"{ref.space.name} is declared small and has {len(raw)} bytes"
        self._put(ref.key, raw)

    def put_new(self, ref: Ref[T], value: T) -> None:
        """Write a record where there never was one: the key is new, or counted up under another record's check."""
        self._whole.add(ref.key)
        self.put(ref, value)

    def found(self, ref: Ref[T], value: T, version: int) -> Found[T]:
        """The record as this batch wrote it, once it is committed with that version."""
        return Found(ref.key, value, version, chunked=ref.key not in self._whole)

    def delete(self, ref: Ref[T]) -> None:
        """Remove the record, if it is there."""
        self.writes.append(Delete(ref.key))
        self.bytes_total += len(ref.key)
        if ref.space.large and ref.key not in self._whole:
            self._delete_range(*_chunk_range(ref.key))

    def delete_below(self, space: Space[T], *prefix: str | int) -> None:
        """Remove all records of `space` whose keys continue `prefix`."""
        start, end = keys.below(space.name, *prefix)
        self._delete_range(start, end)
        if space.large:
            self._delete_range(_CHUNK_PREFIX + start, _CHUNK_PREFIX + end)

    def _check(self, key: bytes, version: int) -> None:
        self.checks.append(Check(key, version))
        self.bytes_total += len(key)

    def _put(self, key: bytes, value: bytes) -> None:
        self.writes.append(Put(key, value))
        self.bytes_total += len(key) + len(value)

    def _put_large(self, key: bytes, raw: bytes) -> None:
        if len(raw) > RECORD_BYTES_MAX:
            raise LimitExceeded(
                f"a record of {len(raw)} bytes is over the limit of {RECORD_BYTES_MAX} bytes",
                limit="RECORD_BYTES_MAX",
                maximum=RECORD_BYTES_MAX,
            )
        if key not in self._whole:
            self._delete_range(*_chunk_range(key))
        if len(raw) <= VALUE_BYTES_MAX:
            self._whole.add(key)
            self._put(key, raw)
            return
        self._whole.discard(key)
        pieces = [raw[at : at + VALUE_BYTES_MAX] for at in range(0, len(raw), VALUE_BYTES_MAX)]
        assert 1 < len(pieces) <= RECORD_CHUNKS_MAX
        assert sum(len(piece) for piece in pieces) == len(raw)
        self._put(key, _CHUNKED + str(len(pieces)).encode())
        for at, piece in enumerate(pieces):
            self._put(_chunk_key(key, at), piece)

    def _delete_range(self, start: bytes, end: bytes) -> None:
        self.writes.append(DeleteRange(start, end))
        self.bytes_total += len(start) + len(end)


class Records:
    """Reads and commits records of any space in one store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def get(self, ref: Ref[T]) -> Found[T] | None:
        """The record, or None."""
        (row,) = await self._get([ref.key])
        return None if row is None else ref.space.found(row)

    async def get_two(self, first: Ref[T], second: Ref[S]) -> tuple[Found[T] | None, Found[S] | None]:
        """Two records of different kinds from one snapshot."""
        (pair,) = await self.get_pairs([(first, second)])
        return pair

    async def get_pairs(self, refs: Sequence[tuple[Ref[T], Ref[S]]]) -> list[tuple[Found[T] | None, Found[S] | None]]:
        """Pairs of records of two kinds, all from one snapshot; at most GET_KEYS_MAX records."""
        if not refs:
            return []
        rows = iter(await self._get([ref.key for pair in refs for ref in pair]))
        return [
            (
                None if one is None else first.space.found(one),
                None if two is None else second.space.found(two),
            )
            for (first, second), one, two in zip(refs, rows, rows, strict=True)
        ]

    async def get_all(self, refs: Sequence[Ref[T]]) -> list[Found[T] | None]:
        """The records of one space, in the order of `refs`, from one snapshot; at most GET_KEYS_MAX."""
        if not refs:
            return []
        space = refs[0].space
        assert all(ref.space is space for ref in refs), "one space"
        rows = await self._get([ref.key for ref in refs])
        return [None if row is None else space.found(row) for row in rows]

    async def scan(
        self,
        space: Space[T],
        *prefix: str | int,
        after: str | int | None = None,
        before: str | int | None = None,
        limit: int,
        reverse: bool = False,
    ) -> list[Found[T]]:
        """Records below `prefix`, by key, from one snapshot.

        `after` and `before` bound the next key part, both exclusive.
        """
        start, end = keys.below(space.name, *prefix)
        if after is not None:
            start = keys.past(space.name, *prefix, after)
        if before is not None:
            end = keys.key(space.name, *prefix, before)
        return await self.scan_range(space, start, end, limit=limit, reverse=reverse)

    async def scan_range(
        self, space: Space[T], start: bytes, end: bytes, *, limit: int, reverse: bool = False
    ) -> list[Found[T]]:
        """Records of one space with start <= key < end, by key, from one snapshot."""
        if start >= end:
            return []
        rows = await self._whole(lambda: self.store.scan(start, end, limit=limit, reverse=reverse))
        return [space.found(row) for row in rows if row is not None]

    async def commit(self, batch: Batch) -> int:
        """Commit; the version of the commit. Raises as Store.commit does."""
        assert batch.writes, "a commit changes something"
        assert len(batch.writes) + len(batch.checks) <= COMMIT_OPERATIONS_MAX
        if batch.bytes_total > COMMIT_BYTES_MAX:
            raise LimitExceeded(
                f"a change of {batch.bytes_total} bytes is over the limit of {COMMIT_BYTES_MAX} bytes",
                limit="COMMIT_BYTES_MAX",
                maximum=COMMIT_BYTES_MAX,
            )
        return await self.store.commit(batch.checks, batch.writes)

    async def _get(self, row_keys: Sequence[bytes]) -> Sequence[Row | None]:
        return await self._whole(lambda: self.store.get(row_keys))

    async def _whole(self, read_heads: Callable[[], Awaitable[Sequence[Row | None]]]) -> Sequence[Row | None]:
        """The rows that `read_heads` reads, those kept in chunks put together."""
        for _ in range(READ_AGAIN_MAX):
            heads = await read_heads()
            chunked = [head for head in heads if head is not None and head.value.startswith(_CHUNKED)]
            if not chunked:
                return heads
            joined = await self._join(chunked)
            if joined is not None:
                return [head if head is None else joined.get(head.key, head) for head in heads]
        raise Conflict("the records kept changing while they were read")

    async def _join(self, heads: Sequence[Row]) -> dict[bytes, Row] | None:
        """Each head with the chunks it was written with, by key; None if a record has changed since."""
        wanted = {head.key: [_chunk_key(head.key, at) for at in range(_chunk_count(head))] for head in heads}
        chunk_keys = [chunk_key for group in wanted.values() for chunk_key in group]
        found: dict[bytes, Row] = {}
        for at in range(0, len(chunk_keys), GET_KEYS_MAX):
            rows = await self.store.get(chunk_keys[at : at + GET_KEYS_MAX])
            found.update((row.key, row) for row in rows if row is not None)
        joined: dict[bytes, Row] = {}
        for head in heads:
            chunks = [found[chunk_key] for chunk_key in wanted[head.key] if chunk_key in found]
            whole = len(chunks) == len(wanted[head.key])
            if not whole or any(chunk.version != head.version for chunk in chunks):
                await self._expect_changed(head)
                return None
            joined[head.key] = Row(head.key, b"".join([chunk.value for chunk in chunks]), head.version)
        return joined

    async def _expect_changed(self, head: Row) -> None:
        """A head that is still there had all its chunks whenever one looked, or it never had them."""
        (row,) = await self.store.get([head.key])
        if row is not None and row.version == head.version:
            raise DataCorrupt(f"record {head.key!r} lacks chunks")


async def stand_back(attempt: int, entropy: Entropy) -> None:
    """Wait after a lost commit: at random, and longer with each attempt, so that of many writers one gets ahead."""
    assert attempt >= 0
    await asyncio.sleep(entropy.fraction() * min(EDIT_RETRY_FIRST_MS * 2**attempt, EDIT_RETRY_MS_MAX) / 1_000)


def _chunk_count(head: Row) -> int:
    digits = head.value[len(_CHUNKED) :]
    if not digits.isdigit() or not 1 < int(digits) <= RECORD_CHUNKS_MAX:
        raise DataCorrupt(f"record {head.key!r} has no proper count of chunks")
    return int(digits)


def _chunk_key(key: bytes, at: int) -> bytes:
    return b"%b%b %04x" % (_CHUNK_PREFIX, key, at)


def _chunk_range(key: bytes) -> tuple[bytes, bytes]:
    return b"%b%b " % (_CHUNK_PREFIX, key), b"%b%b!" % (_CHUNK_PREFIX, key)
