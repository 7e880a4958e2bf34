"""Folders of files, as records: what was uploaded, what its text is, how far it is processed, which agents have it.

A file is accepted when its bytes are durable; its text and passages follow (`agent/file_actor.py`). Bytes and text may
be larger than a record, so both are kept in pieces, written before the file's record says that they are there. Removing
a file first hides it, with a mark for the file's actor, which then takes its pieces and passages away.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import begin_work
from kelpie.errors import AlreadyExists, Conflict, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import FileId, FolderId, new_id
from kelpie.limits import (
    CHARS_PER_TOKEN,
    COLLECTION_READ_AT_ONCE,
    EDIT_ATTEMPTS_MAX,
    FILE_NAME_CHARS_MAX,
    FILE_PIECE_BYTES,
    FILE_PIECES_PER_COMMIT,
    FILE_TEXT_CHARS_MAX,
    FILE_TEXT_PIECE_CHARS,
    FILES_PER_FOLDER_MAX,
    FOLDER_INSTRUCTIONS_CHARS_MAX,
    METADATA_BYTES_MAX,
    PAGE_ROWS_MAX,
    SCAN_ROWS_MAX,
    TEXT_FIELD_CHARS_MAX,
)
from kelpie.memory.passages import SHELVES, put_shelf, remove_shelf
from kelpie.storage import keys
from kelpie.storage.collection import ById, Collection, Links, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records, Space, stand_back
from kelpie.world import World

NO_METADATA = Raw(b"null")


class Folder(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A folder; names are unique. `embedding` is the handle of the model of all its vectors, and never changes."""

    id: FolderId
    name: str
    embedding: str
    chunk_tokens: int
    description: str | None = None
    instructions: str | None = None
    metadata: Raw = NO_METADATA
    updated_at_us: int


class File(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A file. `name` is unique in its folder; `note` says what went wrong, or what is not there of its text."""

    id: FileId
    folder_id: FolderId
    name: str
    original_name: str
    media_type: str
    size_bytes: int
    raw_pieces: int
    status: str = "pending"  # then parsing, embedding, and completed or error
    note: str | None = None
    text_pieces: int = 0
    text_chars: int = 0
    lines: int = 0
    chunks: int | None = None
    chunks_embedded: int = 0
    hidden: bool = False  # it is gone for everybody; its actor takes its rows away
    attempts: int = 0  # that a crash ended
    updated_at_us: int


class Piece(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A part of a file's bytes."""

    data: bytes


class TextPiece(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A part of a file's text."""

    text: str


class FolderChanges(Struct, frozen=True, kw_only=True):
    """What an edit changes; None stays as it is."""

    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    metadata: Raw | None = None


FOLDERS = Space("folder", Folder, large=True)  # at(folder_id)
FILES = Space("file", File)  # at(file_id)
FOLDER_FILES = Space("folder_file", ById)  # at(folder_id, created_at_us, file_id)
RAW_PIECES = Space("file_raw", Piece, large=True)  # at(file_id, number)
TEXT_PIECES = Space("file_text", TextPiece, large=True)  # at(file_id, number)


class Folders:
    """The folders and files in the store."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world
        self.all: Collection[Folder] = Collection(
            records, world.entropy, FOLDERS, "Folder", name_of=lambda folder: folder.name
        )
        self.files: Collection[File] = Collection(
            records, world.entropy, FILES, "File", name_of=lambda file: f"{file.folder_id}/{file.name}"
        )
        self.agents = folder_agents(records)

    # -- folders -------------------------------------------------------------------------------------------

    async def create(self, name: str, embedding: str, chunk_tokens: int, changes: FolderChanges) -> Folder:
        """A new folder, with an empty shelf for its passages. Raises AlreadyExists, InvalidInput, LimitExceeded."""
        return await self.put(self.draft(name, embedding, chunk_tokens, changes))

    def draft(self, name: str, embedding: str, chunk_tokens: int, changes: FolderChanges) -> Folder:
        """A new folder, checked but not stored. Raises InvalidInput, LimitExceeded."""
        now_us = self._world.wall.now_us()
        folder = Folder(
            id=FolderId(new_id("source", self._world.entropy)),
            name=name,
            embedding=embedding,
            chunk_tokens=chunk_tokens,
            description=changes.description,
            instructions=changes.instructions,
            metadata=NO_METADATA if changes.metadata is None else changes.metadata,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        check_folder(folder)
        assert folder.id.startswith("source-"), "the wire calls folders so"
        return folder

    async def put(self, folder: Folder) -> Folder:
        """Store a new folder with an empty shelf. Raises AlreadyExists."""
        return await self.all.create(folder, lambda batch: put_shelf(batch, folder.id, folder.embedding))

    async def edit(self, folder_id: FolderId, changes: FolderChanges) -> Folder:
        """Change a folder. Raises NotFound, AlreadyExists, InvalidInput, LimitExceeded."""
        given = {name: value for name in changes.__struct_fields__ if (value := getattr(changes, name)) is not None}

        def change(now: Folder) -> Folder:
            changed = msgspec.structs.replace(now, **given)
            if changed == now:
                return now
            check_folder(changed)
            return msgspec.structs.replace(changed, updated_at_us=max(self._world.wall.now_us(), now.updated_at_us))

        return await self.all.edit(folder_id, change)

    async def delete(self, folder_id: FolderId) -> None:
        """Remove a folder that no agent has, with its files and passages. Raises NotFound, Conflict."""
        await self.all.get(folder_id)
        while files := await self.page(folder_id, Page(limit=COLLECTION_READ_AT_ONCE)):
            for file in files:
                await self.hide(file.id)
        for attempt in range(EDIT_ATTEMPTS_MAX):
            folder, shelf = await self.all.get(folder_id), await self._records.get(SHELVES.at(folder_id))
            assert folder.value.id == folder_id
            assert shelf is None or shelf.value.id == folder_id
            batch = Batch()
            self.all.remove(batch, folder)
            batch.delete_below(FOLDER_FILES, folder_id)
            if shelf is not None:
                remove_shelf(batch, shelf)
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return
        raise Conflict(f"folder '{folder_id}' is being changed by others while it is removed")

    # -- files ---------------------------------------------------------------------------------------------

    async def store(self, folder: Folder, name: str, original_name: str, media_type: str, content: bytes) -> File:
        """Accept a file, durably: its bytes, then its record with the mark that brings its actor to life.

        Raises AlreadyExists (the name is taken in this folder), InvalidInput, LimitExceeded, NotFound.
        """
        check_file_name(name)
        now_us = self._world.wall.now_us()
        pieces = [content[at : at + FILE_PIECE_BYTES] for at in range(0, len(content), FILE_PIECE_BYTES)]
        file = File(
            id=FileId(new_id("file", self._world.entropy)),
            folder_id=folder.id,
            name=name,
            original_name=original_name,
            media_type=media_type,
            size_bytes=len(content),
            raw_pieces=len(pieces),
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        assert sum(len(piece) for piece in pieces) == len(content)
        assert content, "an empty file is refused at the door"
        await self._check_room(folder.id)
        if await self.files.find_named(f"{folder.id}/{name}") is not None:
            raise AlreadyExists(f"File '{name}' already exists in folder '{folder.name}'", name=name)
        await self._put_pieces(file.id, pieces)
        return await self._put_file(file)

    async def store_text(self, file: File, text: str) -> File:
        """Accept a file whose text is known already; its actor embeds it. Raises as `store` does."""
        check_file_name(file.name)
        assert file.status == ("embedding" if text else "error")
        assert (file.raw_pieces, file.text_chars) == (0, len(text))
        await self._check_room(file.folder_id)
        for number in range(file.text_pieces):
            batch = Batch()
            put_text(batch, file.id, number, text[number * FILE_TEXT_PIECE_CHARS :][:FILE_TEXT_PIECE_CHARS])
            await self._records.commit(batch)
        return await self._put_file(file)

    async def file(self, folder_id: FolderId | None, file_id: FileId) -> File:
        """The file, of that folder if one is named. Raises NotFound, also for one that is being removed."""
        found = await self.files.get(file_id)
        if found.value.hidden or folder_id not in (None, found.value.folder_id):
            raise self.files.not_found(file_id)
        return found.value

    async def named(self, folder_id: FolderId, name: str) -> File | None:
        """The file of that name in the folder."""
        found = await self.files.find_named(f"{folder_id}/{name}")
        return None if found is None or found.value.hidden else found.value

    async def hide(self, file_id: FileId) -> None:
        """Make a file invisible; its actor takes its rows away. Its name is free at once. Raises NotFound."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self.files.get(file_id)
            file = found.value
            assert file.id == file_id
            if file.hidden:
                return
            assert "\0" not in file.name, "a visible file has a printable name"
            now_us = self._world.wall.now_us()
            batch = Batch()
            hidden = msgspec.structs.replace(file, hidden=True, name=f"{file.name}\0{file.id}", updated_at_us=now_us)
            self.files.put_changed(batch, found, hidden)
            batch.delete(FOLDER_FILES.at(file.folder_id, file.created_at_us, file_id))
            begin_work(batch, ActorAddress(file_id))
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return
        raise Conflict(f"file '{file_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def page(self, folder_id: FolderId, page: Page) -> list[File]:
        """A page of the folder's files, by time. Raises NotFound for a cursor that is none of them."""
        assert 0 < page.limit <= PAGE_ROWS_MAX
        lower, upper = (page.before, page.after) if page.newest_first else (page.after, page.before)
        start, end = keys.below(FOLDER_FILES.name, folder_id)
        if lower is not None:
            start = await self._key(folder_id, lower) + b"\0"
        if upper is not None:
            end = await self._key(folder_id, upper)
        if start >= end:
            return []
        rows = await self._records.store.scan(start, end, limit=page.limit, reverse=page.newest_first)
        assert len(rows) <= page.limit
        return await self.files.get_many([FOLDER_FILES.decode(row.key, row.value).id for row in rows])

    async def count_files(self, folder_id: FolderId) -> int:
        """How many files the folder has; at most FILES_PER_FOLDER_MAX."""
        start, end = keys.below(FOLDER_FILES.name, folder_id)
        return len(await self._records.store.scan(start, end, limit=SCAN_ROWS_MAX))

    async def raw(self, file: File) -> bytes:
        """The bytes that were uploaded; they are kept until the text is."""
        found = await self._records.get_all([RAW_PIECES.at(file.id, number) for number in range(file.raw_pieces)])
        assert all(piece is not None for piece in found), "pieces are written before the record"
        return b"".join(piece.value.data for piece in found if piece is not None)

    async def text(self, file: File) -> str:
        """The file's text; empty as long as it is not read."""
        if not file.text_pieces:
            return ""
        found = await self._records.get_all([TEXT_PIECES.at(file.id, number) for number in range(file.text_pieces)])
        return "".join(piece.value.text for piece in found if piece is not None)

    async def _put_file(self, file: File) -> File:
        """The record of a file whose pieces are stored, with the mark that brings its actor to life if it has work."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self.all.get(file.folder_id)
            assert found.value.id == file.folder_id
            assert not file.hidden
            batch = Batch()
            batch.check(found)  # a folder that is removed meanwhile takes no file
            self.files.put_new(batch, file)
            batch.put(FOLDER_FILES.at(file.folder_id, file.created_at_us, file.id), ById(id=file.id))
            if file.status != "error":
                begin_work(batch, ActorAddress(file.id))
            try:
                await self._records.commit(batch)
            except Conflict:
                if await self.files.find_named(f"{file.folder_id}/{file.name}") is not None:
                    await self._drop_pieces(file.id)
                    raise AlreadyExists(f"File '{file.name}' already exists in this folder", name=file.name) from None
                await stand_back(attempt, self._world.entropy)
                continue
            return file
        raise Conflict(f"folder '{file.folder_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def _put_pieces(self, file_id: FileId, pieces: Sequence[bytes]) -> None:
        """In several commits, for a commit is bounded; nobody sees them before the record."""
        for start in range(0, len(pieces), FILE_PIECES_PER_COMMIT):
            batch = Batch()
            for number, data in enumerate(pieces[start : start + FILE_PIECES_PER_COMMIT], start):
                batch.put(RAW_PIECES.at(file_id, number), Piece(data=data))
            await self._records.commit(batch)

    async def _drop_pieces(self, file_id: FileId) -> None:
        batch = Batch()
        drop_raw(batch, file_id)
        drop_text(batch, file_id)
        await self._records.commit(batch)

    async def _check_room(self, folder_id: FolderId) -> None:
        if await self.count_files(folder_id) >= FILES_PER_FOLDER_MAX:
            raise LimitExceeded(
                f"the folder has {FILES_PER_FOLDER_MAX} files already",
                limit="FILES_PER_FOLDER_MAX",
                maximum=FILES_PER_FOLDER_MAX,
            )

    async def _key(self, folder_id: FolderId, file_id: str) -> bytes:
        file = await self.file(folder_id, FileId(file_id))
        return FOLDER_FILES.at(folder_id, file.created_at_us, file.id).key


def folder_agents(records: Records) -> Links:
    """Which folders have which agents: folder on the left, agent on the right."""
    return Links(records, "folder_agent")


async def put_agent(records: Records, batch: Batch, folder_ids: Sequence[FolderId], agent_id: str, at_us: int) -> None:
    """The agent has these folders from this commit on. Raises NotFound."""
    for folder_id in folder_ids:
        found = await records.get(FOLDERS.at(folder_id))
        if found is None:
            raise NotFound(f"Folder with id '{folder_id}' not found", id=folder_id)
        batch.check(found)
        folder_agents(records).put(batch, folder_id, agent_id, at_us)


def with_text(file: File, text: str, chunk_tokens: int) -> File:
    """The file once that is its text, which is to be embedded next."""
    pieces = -(-len(text) // FILE_TEXT_PIECE_CHARS)
    chunks = chunk_lines(text, chunk_tokens * CHARS_PER_TOKEN)
    assert pieces and chunks, "a file without text is an error of the parser's"
    assert len(text) <= FILE_TEXT_CHARS_MAX
    return msgspec.structs.replace(
        file,
        status="embedding",
        text_pieces=pieces,
        text_chars=len(text),
        lines=len(text.splitlines()),
        chunks=len(chunks),
        chunks_embedded=0,
    )


def put_text(batch: Batch, file_id: FileId, number: int, text: str) -> None:
    """A piece of the text, of at most FILE_TEXT_PIECE_CHARS characters."""
    assert len(text) <= FILE_TEXT_PIECE_CHARS
    batch.put(TEXT_PIECES.at(file_id, number), TextPiece(text=text))


def drop_raw(batch: Batch, file_id: FileId) -> None:
    """The bytes are not needed any more."""
    batch.delete_below(RAW_PIECES, file_id)


def drop_text(batch: Batch, file_id: FileId) -> None:
    """Nor is the text."""
    batch.delete_below(TEXT_PIECES, file_id)


def check_folder(folder: Folder) -> None:
    """InvalidInput or LimitExceeded, naming the field, unless the folder may be stored."""
    if not folder.name.strip() or not folder.name.isprintable():
        raise InvalidInput("name: a folder's name is printable and not blank", field="name")
    bounds = (
        ("name", folder.name, FILE_NAME_CHARS_MAX, "FILE_NAME_CHARS_MAX"),
        ("description", folder.description or "", TEXT_FIELD_CHARS_MAX, "TEXT_FIELD_CHARS_MAX"),
        ("instructions", folder.instructions or "", FOLDER_INSTRUCTIONS_CHARS_MAX, "FOLDER_INSTRUCTIONS_CHARS_MAX"),
    )
    for field, text, most, limit in bounds:
        if len(text) > most:
            raise LimitExceeded(
                f"{field}: {len(text)} characters are over the limit of {most}", field=field, limit=limit, maximum=most
            )
    if len(bytes(folder.metadata)) > METADATA_BYTES_MAX:
        raise LimitExceeded("metadata: over its limit", limit="METADATA_BYTES_MAX", maximum=METADATA_BYTES_MAX)


def check_file_name(name: str) -> None:
    """InvalidInput or LimitExceeded unless a file may have that name."""
    if not name.strip() or not name.isprintable() or "/" in name or name in (".", ".."):
        raise InvalidInput(f"a file's name is printable, without slashes, not {name[:80]!r}", field="name")
    if len(name) > FILE_NAME_CHARS_MAX:
        raise LimitExceeded(
            f"name: {len(name)} characters are over the limit of {FILE_NAME_CHARS_MAX}",
            limit="FILE_NAME_CHARS_MAX",
            maximum=FILE_NAME_CHARS_MAX,
        )


def chunk_lines(text: str, chars_max: int) -> list[str]:
    """The text in chunks of at most `chars_max` characters, cut at line ends where there are any, nothing left out.

    Joined, the chunks are the text. The same text always gives the same chunks.
    """
    assert chars_max > 0
    chunks: list[str] = []
    chunk = ""
    for line in text.splitlines(keepends=True):
        if len(chunk) + len(line) > chars_max and chunk:
            chunks.append(chunk)
            chunk = ""
        while len(line) > chars_max:
            chunks.append(line[:chars_max])
            line = line[chars_max:]
        chunk += line
    if chunk:
        chunks.append(chunk)
    assert sum(len(one) for one in chunks) == len(text)
    return chunks
