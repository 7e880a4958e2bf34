"""Goal: records of any size are read whole, from one snapshot, or not at all. Method: the memory store, with
other commits slipped in between the steps of a read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest
from msgspec import Struct

from kelpie.errors import Conflict, DataCorrupt, LimitExceeded
from kelpie.limits import COMMIT_BYTES_MAX, GET_KEYS_MAX, RECORD_BYTES_MAX, VALUE_BYTES_MAX
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.records import READ_AGAIN_MAX, Batch, Found, Records, Ref, Space
from kelpie.storage.store import Check, DeleteRange, Put, Row, Write
from kelpie.system import system_world


class Note(Struct, frozen=True, kw_only=True):
    text: str
    form: int = 1


class Count(Struct, frozen=True, kw_only=True):
    count: int


NOTES = Space("note", Note, large=True)
SMALL = Space("small", Note)
COUNTS = Space("count", Count)
LARGE_TEXT = "ä" * (VALUE_BYTES_MAX * 3 // 2)  # three chunks and a bit, cut inside of a character


class Interrupted(CheckedStore):
    """Runs `between` before each get, and tells which one it is."""

    def __init__(self, between: Callable[[int], Awaitable[None]]) -> None:
        super().__init__(MemoryStore(system_world()))
        self.between = between
        self.gets = 0
        self.inside = False

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        if not self.inside:
            self.gets += 1
            self.inside = True
            await self.between(self.gets)
            self.inside = False
        return await super().get(keys)


def records() -> Records:
    return Records(CheckedStore(MemoryStore(system_world())))


async def put(to: Records, ref: Ref[Note], text: str) -> int:
    batch = Batch()
    batch.put(ref, Note(text=text))
    return await to.commit(batch)


async def delete(to: Records, ref: Ref[Note]) -> None:
    batch = Batch()
    batch.delete(ref)
    await to.commit(batch)


async def stored_keys(of: Records) -> list[bytes]:
    return [row.key for row in await of.store.scan(b"\x00", b"\xff", limit=1_000)]


def shown(found: Found[Note] | None) -> tuple[str, int] | None:
    return None if found is None else (found.value.text, found.version)


def test_a_record_is_readable_json() -> None:
    async def scenario() -> None:
        r = records()
        version = await put(r, SMALL.at("a", 1), "hello")
        assert await r.store.get([b"small a 0000000000000001"]) == [
            Row(b"small a 0000000000000001", b'{"text":"hello","form":1}', version)
        ]
        assert shown(await r.get(SMALL.at("a", 1))) == ("hello", version)
        assert await r.get(SMALL.at("a", 2)) is None

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["", "x", "x" * (VALUE_BYTES_MAX - 21), "x" * (VALUE_BYTES_MAX - 20), LARGE_TEXT])
def test_large_records_come_back_whole_and_leave_nothing(text: str) -> None:
    """Method: write over larger and smaller records, and delete."""

    async def scenario() -> None:
        r, ref = records(), NOTES.at("a")
        for before in ("x" * (RECORD_BYTES_MAX - 30), "small", LARGE_TEXT):
            await put(r, ref, before)
            version = await put(r, ref, text)
            assert shown(await r.get(ref)) == (text, version)
            pieces = -(-(len(text.encode()) + len(b'{"text":"","form":1}')) // VALUE_BYTES_MAX)
            assert len(await stored_keys(r)) == (1 if pieces == 1 else 1 + pieces)
        await delete(r, ref)
        assert await stored_keys(r) == []

    asyncio.run(scenario())


def test_neighbours_keep_their_chunks() -> None:
    async def scenario() -> None:
        r = records()
        for name in ("a", "a-b", "a b", "b"):
            await put(r, NOTES.at(name), LARGE_TEXT + name)
        await put(r, NOTES.at("a", "below"), LARGE_TEXT)
        await delete(r, NOTES.at("a"))
        batch = Batch()
        batch.delete_below(NOTES, "a")
        await r.commit(batch)
        found = await r.scan(NOTES, limit=10)
        assert [(one.last_part, one.value.text) for one in found] == [
            (name, LARGE_TEXT + name) for name in ("a b", "a-b", "b")
        ]

    asyncio.run(scenario())


def test_scan_pages_by_cursor_in_both_directions() -> None:
    async def scenario() -> None:
        r = records()
        names = ["a", "a b", "a%", "a-1", "a.1", "b", "c/d", "é"]
        for name in names:
            await put(r, SMALL.at("list", name), name)
        await put(r, SMALL.at("other", "x"), "x")
        page = await r.scan(SMALL, "list", limit=3)
        seen = [one.last_part for one in page]
        while page:
            page = await r.scan(SMALL, "list", after=seen[-1], limit=3)
            seen += [one.last_part for one in page]
        assert seen == names
        back = await r.scan(SMALL, "list", before="b", limit=2, reverse=True)
        assert [one.last_part for one in back] == ["a.1", "a-1"]
        between = await r.scan(SMALL, "list", after="a", before="b", limit=9)
        assert [one.last_part for one in between] == ["a b", "a%", "a-1", "a.1"]
        assert await r.scan(SMALL, "list", after="b", before="a", limit=9) == []

    asyncio.run(scenario())


@pytest.mark.parametrize("later", [LARGE_TEXT + "!", "short", None], ids=["large", "whole", "deleted"])
def test_a_record_that_changes_while_it_is_read_is_read_again(later: str | None) -> None:
    """Method: after its head has been read, the chunked record becomes another one, a whole value, or nothing."""

    async def scenario() -> None:
        versions = [0]

        async def between(get: int) -> None:
            if get == 2:
                if later is None:
                    await delete(plain, ref)
                else:
                    versions.append(await put(plain, ref, later))

        store = Interrupted(between)
        r, plain, ref = Records(store), Records(store), NOTES.at("a")
        await put(plain, ref, LARGE_TEXT)
        assert shown(await r.get(ref)) == (None if later is None else (later, versions[-1]))

    asyncio.run(scenario())


def test_two_records_and_a_list_are_of_one_snapshot() -> None:
    """Method: both are rewritten while the chunks of one are read; old with new must not be seen together."""

    async def scenario() -> None:
        async def between(get: int) -> None:
            if get % 4 == 2 and get < 12:
                batch = Batch()
                batch.put(NOTES.at("a"), Note(text=LARGE_TEXT + str(get)))
                batch.put(COUNTS.at("n"), Count(count=get))
                batch.put(NOTES.at("b"), Note(text=str(get)))
                await plain.commit(batch)

        store = Interrupted(between)
        r = plain = Records(store)
        await between(2)
        note, count = await r.get_two(NOTES.at("a"), COUNTS.at("n"))
        assert note is not None and count is not None
        assert (note.value.text, note.version) == (f"{LARGE_TEXT}{count.value.count}", count.version)
        large, small, none = await r.get_all([NOTES.at("a"), NOTES.at("b"), NOTES.at("c")])
        assert large is not None and small is not None and none is None
        assert (large.value.text, large.version) == (LARGE_TEXT + small.value.text, small.version)
        large, small = await r.scan(NOTES, limit=2)
        assert (large.value.text, large.version) == (LARGE_TEXT + small.value.text, small.version)

    asyncio.run(scenario())


def test_a_record_that_keeps_changing_ends_in_conflict() -> None:
    async def scenario() -> None:
        async def between(get: int) -> None:
            await put(plain, ref, LARGE_TEXT + str(get))

        store = Interrupted(between)
        r = plain = Records(store)
        ref = NOTES.at("a")
        await put(plain, ref, LARGE_TEXT)
        with pytest.raises(Conflict):
            await r.get(ref)
        assert store.gets == READ_AGAIN_MAX * 3, "each time: the head, its chunks, the head again"

    asyncio.run(scenario())


def test_many_large_records_are_read_in_several_gets() -> None:
    async def scenario() -> None:
        r = records()
        count = GET_KEYS_MAX // 3
        texts = [LARGE_TEXT + str(at) for at in range(count)]
        for at, text in enumerate(texts):
            await put(r, NOTES.at(at), text)
        found = await r.get_all([NOTES.at(at) for at in range(count)])
        assert [one.value.text for one in found if one] == texts
        assert [one.value.text for one in await r.scan(NOTES, limit=1_000)] == texts

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "writes",
    [
        [Put(b"note a", b"{")],
        [Put(b"note a", b'{"txt":1}')],
        [Put(b"note a", b"\xff\xff")],
        [Put(b"note a", b"")],
        [Put(b"note a", b"#")],
        [Put(b"note a", b"#x")],
        [Put(b"note a", b"#1")],
        [Put(b"note a", b"#999")],
        [Put(b"note a", b"#2"), Put(b"chunk note a 0000", b"{}")],
        [Put(b"note a", b"#2"), Put(b"chunk note a 0000", b"{"), Put(b"chunk note a 0001", b"x")],
    ],
)
def test_bytes_that_are_no_record_are_corrupt_data(writes: list[Write]) -> None:
    async def scenario() -> None:
        r = records()
        await r.store.commit([], writes)
        for read in (r.get(NOTES.at("a")), r.get_all([NOTES.at("a")]), r.scan(NOTES, limit=1)):
            with pytest.raises(DataCorrupt):
                await read

    asyncio.run(scenario())


def test_chunks_of_another_write_are_corrupt_data() -> None:
    async def scenario() -> None:
        r = records()
        await put(r, NOTES.at("a"), LARGE_TEXT)
        await r.store.commit([], [Put(b"chunk note a 0001", b"x")])
        with pytest.raises(DataCorrupt):
            await r.get(NOTES.at("a"))

    asyncio.run(scenario())


def test_a_batch_counts_what_the_store_counts() -> None:
    batch = Batch()
    batch.put(SMALL.at("k"), Note(text=""))
    batch.delete(NOTES.at("k"))
    batch.check_absent(COUNTS.at("c"))
    batch.check(Found(b"small k", Note(text=""), 7))
    assert batch.checks == [Check(b"count c", 0), Check(b"small k", 7)]
    assert batch.writes[2] == DeleteRange(b"chunk note k ", b"chunk note k!")
    assert batch.bytes_total == len(b"small k") * 2 + 20 + len(b"note k") + len(b"chunk note k ") * 2 + len(b"count c")


def test_too_much_is_refused_before_the_store_sees_it() -> None:
    async def scenario() -> None:
        r, batch = records(), Batch()
        with pytest.raises(LimitExceeded) as refused:
            batch.put(NOTES.at("a"), Note(text="x" * RECORD_BYTES_MAX))
        assert refused.value.fields == {"limit": "RECORD_BYTES_MAX", "maximum": RECORD_BYTES_MAX}
        batch = Batch()
        for at in range(COMMIT_BYTES_MAX // 80_000 + 1):
            batch.put(SMALL.at(at), Note(text="x" * 80_000))
        with pytest.raises(LimitExceeded):
            await r.commit(batch)
        with pytest.raises(AssertionError):
            batch.put(SMALL.at("a"), Note(text="x" * VALUE_BYTES_MAX))
        assert await stored_keys(r) == []

    asyncio.run(scenario())


def test_a_check_on_what_was_read_guards_the_write() -> None:
    async def scenario() -> None:
        r, ref = records(), NOTES.at("a")
        await put(r, ref, LARGE_TEXT)
        found = await r.get(ref)
        assert found is not None
        await put(r, ref, "newer")
        batch = Batch()
        batch.check(found)
        batch.put(ref, Note(text="older"))
        with pytest.raises(Conflict):
            await r.commit(batch)
        assert (await r.get_all([])) == []
        assert [one.value.text for one in await r.scan(NOTES, limit=1)] == ["newer"]

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["put", "checked", "as written"])
def test_chunks_are_cleared_away_by_whoever_makes_the_record_small_and_looked_for_only_where_they_may_be(
    path: str,
) -> None:
    """Grow and shrink twice, by each way in which a writer may know what it replaces."""

    async def main() -> None:
        to, ref = records(), NOTES.at("n")
        known: Found[Note] | None = None
        for text in ("", LARGE_TEXT, "small", LARGE_TEXT, LARGE_TEXT * 2, "s"):
            batch = Batch()
            if path != "put":
                batch.check_absent(ref) if known is None else batch.check(known)
            batch.put(ref, Note(text=text))
            clears = any(isinstance(write, DeleteRange) for write in batch.writes)
            if path != "put":
                assert clears == (known is not None and len(known.value.text) >= len(LARGE_TEXT))
            version = await to.commit(batch)
            read = await to.get(ref)
            assert shown(read) == (text, version)
            size = len(msgspec.json.encode(Note(text=text)))
            assert len(await stored_keys(to)) == (1 if len(text) < 10 else 1 + -(-size // VALUE_BYTES_MAX))
            known = batch.found(ref, Note(text=text), version) if path == "as written" else read
            assert known is not None and read is not None and known.chunked == read.chunked == (len(text) > 10)

    asyncio.run(main())


def test_a_new_record_clears_nothing_away() -> None:
    batch = Batch()
    batch.put_new(NOTES.at("n"), Note(text="a"))
    batch.put_new(NOTES.at("m"), Note(text=LARGE_TEXT))
    assert not any(isinstance(write, DeleteRange) for write in batch.writes)
