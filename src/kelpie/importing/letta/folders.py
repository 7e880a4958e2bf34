"""Folders with their agents, files with their text, the passages of files with their vectors, and what is open."""

import msgspec

from kelpie.agent.file_desk import OPEN_FILES, OpenFile
from kelpie.agent.state import AGENTS
from kelpie.api.letta.agent_file.pen import Pen
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.errors import LimitExceeded
from kelpie.ids import AgentId, FileId, FolderId, PassageId
from kelpie.importing.journal import digest
from kelpie.importing.letta.agents import Agents
from kelpie.importing.letta.archives import read_embedding, read_passage
from kelpie.importing.letta.ground import Ground, checked_id, raw_object
from kelpie.importing.letta.kinds import sum_of
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.limits import FILE_TEXT_CHARS_MAX, FILE_TEXT_PIECE_CHARS
from kelpie.memory.folders import FILES, FOLDER_FILES, FOLDERS, File, Folder, check_file_name, check_folder, put_text
from kelpie.memory.passages import PASSAGES, PLACES, put_shelf
from kelpie.storage.collection import ById
from kelpie.storage.records import Batch

CHUNK_TOKENS = 300  # what folders are cut by there unless they say otherwise


class Folders:
    """Folders keep their ids. After agents, which get them by the same commits."""

    name, table = "folders", "sources"

    def __init__(self, ground: Ground, agents: Agents) -> None:
        self._ground = ground
        self._agents = agents

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A folder, its shelf, and who has it."""
        house, folder_id = self._ground.house, FolderId(checked_id("source", row))
        if await house.records.get(FOLDERS.at(folder_id)) is not None:
            return Present()
        if await house.folders.all.find_named(row["name"]) is not None:
            return Staying(reason="a folder of that name is here already")
        config = row.get("embedding_config") or {}
        folder = Folder(
            id=folder_id,
            name=row["name"],
            embedding=read_embedding(config),
            chunk_tokens=config.get("embedding_chunk_size") or CHUNK_TOKENS,
            description=row.get("description"),
            instructions=row.get("instructions"),
            metadata=raw_object(row.get("metadata_")),
            created_at_us=read_time(row["created_at"]),
            updated_at_us=read_time(row["updated_at"]),
        )
        check_folder(folder)
        house.folders.all.put_new(batch, folder)
        put_shelf(batch, folder_id, folder.embedding)
        without: set[str] = set()
        for link in await self._ground.links("sources_agents", "agent_id", source_id=folder_id):
            agent_id = AgentId(link["agent_id"])
            if agent_id in self._agents.coming:
                continue
            found = await house.records.get(AGENTS.at(agent_id))
            if found is None:
                without.add("an agent that has it did not come along")
                continue
            batch.check(found)
            batch.put(
                AGENTS.at(agent_id), msgspec.structs.replace(found.value, folders=(*found.value.folders, folder_id))
            )
            house.folders.agents.put(batch, folder_id, agent_id, folder.created_at_us)
        also(batch, Carried(sum=digest(FOLDERS.at(folder_id), folder), without=tuple(sorted(without))))
        return DONE

    async def stored(self, id: str) -> int:
        """The folder as it is stored."""
        return await sum_of(self._ground, FOLDERS.at(id))


class Files:
    """Files keep their ids and their text; the bytes that were uploaded are not kept there."""

    name, table = "files", "files"

    def __init__(self, ground: Ground, *, dry: bool) -> None:
        self._ground = ground
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A file with its text, which is stored before it, where nobody looks for it."""
        house, file_id, folder_id = self._ground.house, FileId(checked_id("file", row)), FolderId(row["source_id"])
        if await house.records.get(FILES.at(file_id)) is not None:
            return Present()
        folder = await house.records.get(FOLDERS.at(folder_id))
        if folder is None and not self._dry:
            return Staying(reason="its folder did not come along")
        rows = await self._ground.source.rows("file_contents", limit=1, where={"file_id": file_id})
        text = str(rows[0]["text"]) if rows else ""
        named = await self._ground.source.rows("sources", limit=1, where={"id": folder_id})
        file = read_file_row(row, file_id, folder_id, text, str(named[0]["name"]) if named else "")
        if not self._dry:
            pen = Pen(house.records)
            for number in range(file.text_pieces):
                start = number * FILE_TEXT_PIECE_CHARS
                put_text(pen.batch, file_id, number, text[start : start + FILE_TEXT_PIECE_CHARS])
                await pen.turn()
            await pen.finish()
        house.folders.files.put_new(batch, file)
        batch.put(FOLDER_FILES.at(folder_id, file.created_at_us, file_id), ById(id=file_id))
        also(batch, Carried(sum=digest(FILES.at(file_id), file)))
        return DONE

    async def stored(self, id: str) -> int:
        """The file as it is stored."""
        return await sum_of(self._ground, FILES.at(id))


class FilePassages:
    """The passages of files."""

    name, table = "passages of files", "source_passages"

    def __init__(self, ground: Ground, *, dry: bool) -> None:
        self._ground = ground
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A passage; its shelf commits."""
        house, id, shelf_id = self._ground.house, PassageId(checked_id("passage", row)), row["source_id"]
        if await house.records.get(PLACES.at(shelf_id, id)) is not None:
            return Present()
        file = await house.records.get(FILES.at(str(row["file_id"])))
        if file is None and not self._dry:
            return Staying(reason="its file did not come along")
        name = row.get("file_name") if file is None else file.value.name
        passage = msgspec.structs.replace(read_passage(row, id, shelf_id), file_id=row["file_id"], file_name=name)
        carried = Carried(sum=digest(PASSAGES.at(shelf_id, passage.created_at_us, id), passage))
        if self._dry:
            also(batch, carried)
        else:
            await house.archives.passages.add(shelf_id, [passage], lambda batch: also(batch, carried))
        return DONE

    async def stored(self, id: str) -> int:
        """The passage as it is stored."""
        rows = await self._ground.source.rows(self.table, limit=1, where={"id": id})
        at_us = read_time(rows[0]["created_at"])
        return await sum_of(self._ground, PASSAGES.at(rows[0]["source_id"], at_us, id))


class OpenFiles:
    """Which files agents have open."""

    name, table = "open files", "files_agents"

    def __init__(self, ground: Ground, agents: Agents, *, dry: bool) -> None:
        self._ground = ground
        self._agents = agents
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """That an agent looks at a file."""
        records, agent_id, file_id = self._ground.house.records, AgentId(row["agent_id"]), FileId(row["file_id"])
        ref = OPEN_FILES.at(agent_id, file_id)
        if await records.get(ref) is not None:
            return Present()
        gone = await records.get(AGENTS.at(agent_id)) is None or await records.get(FILES.at(file_id)) is None
        if gone and not (self._dry and agent_id in self._agents.coming):
            return Staying(reason="its agent or file did not come along")
        state = OpenFile(
            file_id=file_id,
            folder_id=FolderId(row["source_id"]),
            is_open=bool(row["is_open"]),
            accessed_at_us=read_time(row["last_accessed_at"]),
            first_line=row.get("start_line"),
            last_line=row.get("end_line"),
        )
        batch.put(ref, state)
        also(batch, Carried(sum=digest(ref, state)))
        return DONE

    async def stored(self, id: str) -> int:
        """The state as it is stored."""
        rows = await self._ground.source.rows(self.table, limit=1, where={"id": id})
        return await sum_of(self._ground, OPEN_FILES.at(rows[0]["agent_id"], rows[0]["file_id"]))


def read_file_row(row: Row, id: FileId, folder_id: FolderId, text: str, folder_name: str) -> File:
    """A file that was processed, or failed to be. Raises InvalidInput, LimitExceeded."""
    if len(text) > FILE_TEXT_CHARS_MAX:
        raise LimitExceeded(
            f"its text has {len(text)} characters and may have {FILE_TEXT_CHARS_MAX}",
            limit="FILE_TEXT_CHARS_MAX",
            maximum=FILE_TEXT_CHARS_MAX,
        )
    name = str(row.get("file_name") or row.get("original_file_name") or id).removeprefix(f"{folder_name}/")
    check_file_name(name)
    done = row["processing_status"] == "completed"
    return File(
        id=id,
        folder_id=folder_id,
        name=name,
        original_name=row.get("original_file_name") or name,
        media_type=row.get("file_type") or "text/plain",
        size_bytes=row.get("file_size") or 0,
        raw_pieces=0,
        status="completed" if done else "error",
        note=row.get("error_message") if done else row.get("error_message") or "it was not processed to its end there",
        text_pieces=-(-len(text) // FILE_TEXT_PIECE_CHARS),
        text_chars=len(text),
        lines=len(text.splitlines()),
        chunks=row.get("total_chunks"),
        chunks_embedded=row.get("chunks_embedded") or 0,
        created_at_us=read_time(row["created_at"]),
        updated_at_us=read_time(row["updated_at"]),
    )
