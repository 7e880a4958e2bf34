"""A file becomes text and passages exactly once, whatever breaks on the way, and leaves nothing when it is removed."""

import asyncio

import msgspec
import pytest

from kelpie.actor.host import Host
from kelpie.agent.file_actor import FileKind, FileRooms
from kelpie.ids import NodeId
from kelpie.limits import FILE_EMBEDDED_AT_ONCE
from kelpie.llm.embedding import Embeddings
from kelpie.memory.folders import FILES, File, Folder, FolderChanges, Folders
from kelpie.memory.indexes import Indexes
from kelpie.memory.passages import Passages
from kelpie.sandbox.sandbox import Ended
from kelpie.storage.paging import Page
from kelpie.storage.records import Records
from kelpie.world import World
from kelpie_sim.sandbox import Behaviour, Ends, SimSandbox
from tests.unit.actor.build import Fault, a_store, running, virtual

LINES = FILE_EMBEDDED_AT_ONCE + 3
TEXT = "".join(f"{number:<9}\n" for number in range(LINES))
TOKENS = 3  # so that a chunk is one line


def reads(text: str) -> Behaviour:
    return Ends(ended=Ended(result=msgspec.json.encode({"ok": True, "text": text, "kind": "text", "clipped": False})))


class Place:
    """Rooms over one store, and hosts that come and go over them."""

    def __init__(self, world: World, behaviour: Behaviour) -> None:
        self.faulty, self.records = a_store(world)
        self.sandbox = SimSandbox(lambda job: behaviour)
        self.folders = Folders(self.records, world)
        self.world = world
        self.passages = self._passages(self.records)

    def _passages(self, records: Records) -> Passages:
        return Passages(records, self.world, Indexes())

    def host(self) -> Host:
        rooms = FileRooms(
            world=self.world,
            records=self.records,
            folders=self.folders,
            passages=self.passages,
            embedder=Embeddings(None),
            sandbox=self.sandbox,
        )
        return Host(self.world, self.records, FileKind(rooms), NodeId("n"))

    async def a_file(self) -> tuple[Folder, File]:
        folder = await self.folders.create("f", "kelpie/lexical-512", TOKENS, FolderChanges())
        return folder, await self.folders.store(folder, "a.txt", "a.txt", "text/plain", b"raw")

    async def settle(self, file: File) -> File | None:
        """The file once nothing is left to do."""
        for _ in range(600):
            await asyncio.sleep(0.5)
            found = await self.records.get(FILES.at(file.id))
            if found is None or found.value.status in ("completed", "error") and not found.value.hidden:
                return None if found is None else found.value
        raise AssertionError("the file is still worked on")

    async def texts(self, folder: Folder) -> list[str]:
        page = Page(limit=1_000, newest_first=False)
        return [passage.text for passage in await self.passages.page(folder.id, page)]


def test_a_file_is_read_cut_and_embedded_in_order() -> None:
    async def play(world: World) -> None:
        place = Place(world, reads(TEXT))
        folder, file = await place.a_file()
        async with running(place.host()):
            done = await place.settle(file)
        assert done is not None
        assert (done.status, done.chunks, done.chunks_embedded, done.lines) == ("completed", LINES, LINES, LINES)
        assert await place.folders.text(done) == TEXT
        assert await place.texts(folder) == TEXT.splitlines(keepends=True)
        assert [job.program for job in place.sandbox.jobs] == ["parse_document"]

    virtual(play)


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("at", range(1, 9))
def test_a_fault_at_any_commit_changes_nothing_in_the_end(fault: Fault, at: int) -> None:
    """The commit is lost, its answer is lost, or the store is away: afterwards everything is there once."""

    async def play(world: World) -> None:
        place = Place(world, reads(TEXT))
        folder, file = await place.a_file()
        async with running(place.host()):
            place.faulty.faults = {place.faulty.commits + at: fault}
            done = await place.settle(file)
        assert done is not None and done.status == "completed"
        assert await place.texts(folder) == TEXT.splitlines(keepends=True)

    virtual(play)


def test_what_cannot_be_read_ends_with_its_reason() -> None:
    async def play(world: World) -> None:
        for behaviour, note in (
            (Ends(ended=Ended(result=b'{"ok": false, "error": "it is binary"}')), "it is binary"),
            (Ends(ended=Ended(result=None, died="it ended with status 9")), "it ended with status 9"),
        ):
            place = Place(world, behaviour)
            _, file = await place.a_file()
            async with running(place.host()):
                done = await place.settle(file)
            assert done is not None and done.status == "error" and note in (done.note or "")

    virtual(play)


def test_a_file_that_is_removed_while_it_is_worked_on_or_afterwards_leaves_nothing() -> None:
    async def play(world: World) -> None:
        for wait_s in (0.0, 0.6, 5.0):
            place = Place(world, Ends(ended=reads(TEXT).ended, after_ms=500))  # type: ignore[union-attr]
            folder, file = await place.a_file()
            async with running(place.host()):
                await asyncio.sleep(wait_s)
                await place.folders.hide(file.id)
                assert await place.settle(file) is None
            assert await place.texts(folder) == []
            rows = await place.records.store.scan(b"file", b"filf", limit=100)
            assert [row.key for row in rows] == [], "no row of the file is left"

    virtual(play)
