"""A file on its way from bytes to searchable text: an actor, so that one node works on it, and a crash stops nothing.

    pending -> parsing --text is stored--> embedding --every chunk has its passage--> completed
                  \\-- cannot be read: error, with the reason

Each arrow is a commit under the actor's fence, and the work between two of them may be done twice: text is written
under the same keys, a passage's id comes from file and chunk. A file that was hidden is taken apart instead. What ends
the actor FILE_ATTEMPTS_MAX times with a crash is given up, in words.
"""

import asyncio
import base64
import hashlib
import logging

import msgspec
from msgspec import Struct

from kelpie.actor.call import ActorAddress
from kelpie.actor.directory import OWNERS
from kelpie.actor.mailbox import Mailbox
from kelpie.actor.recovery import Done, end_work
from kelpie.actor.tenure import Tenure
from kelpie.errors import (
    ActivationLost,
    Conflict,
    LimitExceeded,
    ModelRefused,
    NotFound,
    Unavailable,
)
from kelpie.ids import FileId, PassageId, uuid_from_bytes
from kelpie.limits import (
    CHARS_PER_TOKEN,
    FILE_ATTEMPTS_MAX,
    FILE_EMBEDDED_AT_ONCE,
    FILE_PARSE_MS,
    FILE_TEXT_CHARS_MAX,
    FILE_TEXT_PIECE_CHARS,
)
from kelpie.memory.archive import Embedder
from kelpie.memory.folders import FILES, File, Folder, Folders, chunk_lines, drop_raw, drop_text, put_text, with_text
from kelpie.memory.passages import Passage, Passages, pack_vector
from kelpie.sandbox.sandbox import Job, Sandbox
from kelpie.storage.records import Batch, Found, Records
from kelpie.world import World

RETRY_FIRST_MS = 500
RETRY_MS_MAX = 60_000
log = logging.getLogger("kelpie.files")


class Parsed(Struct, frozen=True, kw_only=True):
    """What the parser found."""

    ok: bool
    text: str = ""
    kind: str = ""
    clipped: bool = False
    error: str = ""


_PARSED = msgspec.json.Decoder(Parsed)


class FileRooms(Struct, frozen=True, kw_only=True):
    """What a file's actor works with."""

    world: World
    records: Records
    folders: Folders
    passages: Passages
    embedder: Embedder
    sandbox: Sandbox


class Gone(Exception):
    """The file was changed by somebody else: it is hidden, or its folder is gone. Never leaves this module."""


class FileActor:
    """One file, awake. Implements `actor.activation.Actor`."""

    def __init__(self, tenure: Tenure, rooms: FileRooms, *, blamed: bool) -> None:
        self._tenure = tenure
        self._rooms = rooms
        self._blamed = blamed
        self._id = FileId(tenure.address)
        self._found: Found[File] | None = None
        self._awake = asyncio.Event()
        self._stopping = False
        self._over = False

    @property
    def busy(self) -> bool:
        """Whether the file is being worked on."""
        return not self._over

    async def load(self) -> None:
        """Read the file's record."""
        self._found = await self._rooms.records.get(FILES.at(self._id))
        if self._found is None:
            batch = Batch()
            batch.delete(OWNERS.at(self._tenure.address))
            end_work(batch, self._tenure.address)
            await self._tenure.commit(batch)
            raise NotFound(f"File with id '{self._id}' not found", id=self._id)

    async def run(self, mailbox: Mailbox) -> None:
        """Work until nothing is left to do; a call says that there may be more."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work(), name=f"file {self._id}")
            while not self._over or not (self._stopping or self._found is None):
                letter = mailbox.take(int(asyncio.get_running_loop().time() * 1000))
                if letter is None:
                    self._awake.clear()
                    await self._awake.wait()
                    continue
                letter.answer(Done())
                if self._over:
                    self._over = False
                    group.create_task(self._work(), name=f"file {self._id}")
            mailbox.close(ActivationLost(f"'{self._id}' has nothing left to do"))

    def wake(self) -> None:
        """There is a call."""
        self._awake.set()

    def stop(self) -> None:
        """End when the work is done."""
        self._stopping = True
        self._awake.set()

    # -- the work ------------------------------------------------------------------------------------------

    @property
    def _file(self) -> File:
        assert self._found is not None
        return self._found.value

    async def _work(self) -> None:
        """From where the record stands to its end; again when somebody changed it meanwhile."""
        wait_ms = RETRY_FIRST_MS
        while not self._over:
            try:
                self._found = await self._rooms.records.get(FILES.at(self._id))
                if self._found is not None:
                    await self._go_on()
                self._over = True
            except Gone:
                self._rooms.world.marks.reached("a file was changed by others while it was worked on")
            except Unavailable as error:
                log.warning("file %s waits: %s", self._id, error.sentence)
                await asyncio.sleep(wait_ms / 1000)
                wait_ms = min(wait_ms * 2, RETRY_MS_MAX)
        self._awake.set()

    async def _go_on(self) -> None:
        if self._blamed:
            self._blamed = False
            await self._blame()
        while True:
            self._tenure.check_may_act()
            file = self._file
            assert file.id == self._id
            assert file.chunks is None or file.chunks_embedded <= file.chunks
            if file.hidden:
                return await self._take_apart()
            match file.status:
                case "pending":
                    await self._change(status="parsing")
                case "parsing":
                    await self._parse()
                case "embedding":
                    await self._embed()
                case _:
                    return

    async def _blame(self) -> None:
        """A crash ended the last activation: count it, and give the file up when it was not the first."""
        attempts = self._file.attempts + 1
        if attempts >= FILE_ATTEMPTS_MAX and not self._file.hidden:
            return await self._fail(f"given up: the server failed {attempts} times while it read this file")
        await self._change(attempts=attempts)

    async def _parse(self) -> None:
        """Have the bytes read in a process of its own, and store the text."""
        content = base64.b64encode(await self._rooms.folders.raw(self._file)).decode()
        given = {"name": self._file.original_name, "content": content, "chars_max": FILE_TEXT_CHARS_MAX}
        job = Job(program="parse_document", input=msgspec.json.encode(given), deadline_ms=FILE_PARSE_MS)
        ended = await self._rooms.sandbox.run(job)
        if ended.result is None:
            return await self._fail(f"the file could not be read: {ended.died or 'its reader ended early'}")
        parsed = _PARSED.decode(ended.result)
        if not parsed.ok:
            return await self._fail(parsed.error)
        await self._store(parsed)

    async def _store(self, parsed: Parsed) -> None:
        text = parsed.text
        pieces = [text[at : at + FILE_TEXT_PIECE_CHARS] for at in range(0, len(text), FILE_TEXT_PIECE_CHARS)]
        for number, piece in enumerate(pieces):
            batch = self._checked()
            put_text(batch, self._id, number, piece)
            await self._commit(batch)
        folder = await self._folder()
        note = f"clipped: the first {len(text)} characters of its text are kept" if parsed.clipped else None
        await self._put(msgspec.structs.replace(with_text(self._file, text, folder.chunk_tokens), note=note))

    async def _embed(self) -> None:
        """A few more chunks, or the end."""
        file, folder = self._file, await self._folder()
        assert file.chunks is not None
        if file.chunks_embedded >= file.chunks:
            batch = self._checked()
            drop_raw(batch, self._id)
            end_work(batch, ActorAddress(self._id))
            return await self._change(batch, status="completed")
        chunks = chunk_lines(await self._rooms.folders.text(file), folder.chunk_tokens * CHARS_PER_TOKEN)
        assert len(chunks) == file.chunks, "the same text gives the same chunks"
        start = file.chunks_embedded
        some = chunks[start : start + FILE_EMBEDDED_AT_ONCE]
        try:
            vectors = await self._rooms.embedder.embed(folder.embedding, some)
            now_us = self._rooms.world.wall.now_us()
            passages = [
                Passage(
                    id=passage_id(self._id, start + at),
                    shelf_id=folder.id,
                    text=chunk,
                    vector=pack_vector(vectors[at]),
                    file_id=self._id,
                    file_name=file.name,
                    created_at_us=file.created_at_us + start + at,
                    updated_at_us=now_us,
                )
                for at, chunk in enumerate(some)
            ]
            await self._rooms.passages.add(folder.id, passages)
        except NotFound:
            raise Gone from None
        except (ModelRefused, LimitExceeded) as error:
            return await self._fail(f"its text could not be embedded: {error.sentence}")
        await self._change(chunks_embedded=start + len(some))

    async def _fail(self, reason: str) -> None:
        batch = self._checked()
        drop_raw(batch, self._id)
        end_work(batch, ActorAddress(self._id))
        await self._change(batch, status="error", note=reason[:1_000])

    async def _take_apart(self) -> None:
        """The passages, then all rows; the record and the claim go last."""
        file = self._file
        ids = [passage_id(self._id, number) for number in range(file.chunks or 0)]
        try:
            await self._rooms.passages.remove(file.folder_id, ids)
        except NotFound:
            pass  # the shelf went with its folder
        batch = self._checked()
        drop_raw(batch, self._id)
        drop_text(batch, self._id)
        self._rooms.folders.files.remove(batch, self._found_file())
        end_work(batch, ActorAddress(self._id))
        batch.delete(OWNERS.at(self._id))
        await self._commit(batch)
        self._found = None

    # -- commits -------------------------------------------------------------------------------------------

    def _found_file(self) -> Found[File]:
        assert self._found is not None
        return self._found

    def _checked(self) -> Batch:
        batch = Batch()
        batch.check(self._found_file())
        return batch

    async def _change(self, batch: Batch | None = None, **fields: object) -> None:
        """Commit the record with these fields changed. Raises Gone when somebody else changed it."""
        await self._put(msgspec.structs.replace(self._file, **fields), batch)

    async def _put(self, file: File, batch: Batch | None = None) -> None:
        """Commit the record as that. Raises Gone when somebody else changed it."""
        found = self._found_file()
        now_us = max(self._rooms.world.wall.now_us(), found.value.updated_at_us)
        changed = msgspec.structs.replace(file, updated_at_us=now_us)
        batch = batch or self._checked()
        batch.put(FILES.at(self._id), changed)
        version = await self._commit(batch)
        self._found = Found(found.key, changed, version, chunked=False)

    async def _commit(self, batch: Batch) -> int:
        try:
            return await self._tenure.commit(batch)
        except Conflict:
            raise Gone from None

    async def _folder(self) -> Folder:
        try:
            return (await self._rooms.folders.all.get(self._file.folder_id)).value
        except NotFound:
            raise Gone from None


class FileKind:
    """Makes the actors of files. Implements `actor.activation.ActorKind`."""

    def __init__(self, rooms: FileRooms) -> None:
        self._rooms = rooms

    async def check(self, address: ActorAddress) -> None:
        """Nothing to check: a file that is gone takes its mark with it when it is loaded."""

    def make(self, tenure: Tenure, *, blamed: bool) -> FileActor:
        """A file, not yet loaded."""
        return FileActor(tenure, self._rooms, blamed=blamed)


def passage_id(file_id: FileId, chunk: int) -> PassageId:
    """The id of a chunk's passage: always the same, so that it is never stored twice."""
    raw = hashlib.sha256(f"{file_id} {chunk}".encode()).digest()[:16]
    return PassageId(f"passage-{uuid_from_bytes(raw)}")
