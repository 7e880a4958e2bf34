"""Folders and files on the wire, which also knows folders as sources."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from kelpie.agent.file_desk import AgentFile
from kelpie.api.letta.block_shapes import BlockOut
from kelpie.api.letta.house import House
from kelpie.api.letta.models import EmbeddingConfigOut, show_embedding_config
from kelpie.api.letta.values import ORGANIZATION_ID, USER_ID, micros_date
from kelpie.limits import FILE_CHUNK_TOKENS_MAX
from kelpie.memory.folders import File, Folder, FolderChanges

JSON_OBJECT = Meta(extra_json_schema={"type": ["object", "null"]})
Duplicates = Literal["skip", "error", "suffix", "replace"]


class FolderIn(Struct, frozen=True, kw_only=True):
    """A folder to be made."""

    name: str
    description: str | None = None
    instructions: str | None = None
    metadata: dict[str, Any] | None = None
    embedding: str | None = None
    embedding_chunk_size: Annotated[int, Meta(ge=1, le=FILE_CHUNK_TOKENS_MAX)] | None = None
    embedding_config: dict[str, Any] | None = None


class FolderEdit(Struct, frozen=True, kw_only=True):
    """What is to change; null says nothing."""

    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    metadata: dict[str, Any] | None = None
    embedding_config: dict[str, Any] | None = None


class FolderOut(Struct, frozen=True, kw_only=True):
    """A folder."""

    name: str
    description: str | None
    instructions: str | None
    metadata: Annotated[Any, JSON_OBJECT]
    id: str
    embedding_config: EmbeddingConfigOut
    organization_id: str = ORGANIZATION_ID
    created_by_id: str = USER_ID
    last_updated_by_id: str = USER_ID
    created_at: str
    updated_at: str


class FileOut(Struct, frozen=True, kw_only=True):
    """A file. `error_message` also says what of a file's text is not there."""

    source_id: str
    file_name: str
    original_file_name: str
    file_path: str | None = None
    file_type: str
    file_size: int
    file_creation_date: str | None = None
    file_last_modified_date: str | None = None
    processing_status: str
    error_message: str | None
    total_chunks: int | None
    chunks_embedded: int | None
    content: str | None = None
    id: str
    organization_id: str = ORGANIZATION_ID
    created_at: str
    updated_at: str


class AgentFileOut(Struct, frozen=True, kw_only=True):
    """A file as an agent has it."""

    id: str
    file_id: str
    file_name: str
    folder_id: str
    folder_name: str
    is_open: bool
    last_accessed_at: str
    visible_content: str | None
    start_line: int | None
    end_line: int | None


class AgentFilesOut(Struct, frozen=True, kw_only=True):
    """A page of an agent's files."""

    files: list[AgentFileOut]
    next_cursor: str | None
    has_more: bool


class FileBlockOut(BlockOut, frozen=True, kw_only=True):
    """An open file among the blocks of an agent."""

    file_id: str
    source_id: str
    is_open: bool
    last_accessed_at: str
    read_only: bool = True


class FileStatsOut(Struct, frozen=True, kw_only=True):
    """A file, counted."""

    file_id: str
    file_name: str
    file_size: int | None


class FolderStatsOut(Struct, frozen=True, kw_only=True):
    """A folder, counted."""

    source_id: str
    source_name: str
    file_count: int
    total_size: int
    files: list[FileStatsOut]


class AllStatsOut(Struct, frozen=True, kw_only=True):
    """All folders, counted."""

    total_sources: int
    total_files: int
    total_size: int
    sources: list[FolderStatsOut]


def read_changes(wire: FolderIn | FolderEdit) -> FolderChanges:
    """What is said of a folder."""
    return FolderChanges(
        name=wire.name,
        description=wire.description,
        instructions=wire.instructions,
        metadata=None if wire.metadata is None else Raw(msgspec.json.encode(wire.metadata)),
    )


def show_folder(folder: Folder, config: EmbeddingConfigOut) -> FolderOut:
    """A folder as the wire shows it."""
    return FolderOut(
        name=folder.name,
        description=folder.description,
        instructions=folder.instructions,
        metadata=folder.metadata,
        id=folder.id,
        embedding_config=msgspec.structs.replace(config, embedding_chunk_size=folder.chunk_tokens),
        created_at=micros_date(folder.created_at_us),
        updated_at=micros_date(folder.updated_at_us),
    )


async def show_known_folder(house: House, folder: Folder) -> FolderOut:
    """A folder with what its texts are embedded with."""
    return show_folder(folder, show_embedding_config(await house.embeddings.recall(folder.embedding)))


def show_file_block(one: AgentFile, chars_max: int) -> FileBlockOut:
    """An open file, as the model sees it."""
    return FileBlockOut(
        id=f"block-{one.id.partition('-')[2]}",
        label=f"{one.folder.name}/{one.file.name}",
        value=one.view,
        limit=max(len(one.view), chars_max),
        file_id=one.file.id,
        source_id=one.folder.id,
        is_open=one.state.is_open,
        last_accessed_at=micros_date(one.state.accessed_at_us),
    )


def show_file(file: File, content: str | None = None, *, folder_name: str | None = None) -> FileOut:
    """A file as the wire shows it; right after its upload its name has the folder's in front."""
    return FileOut(
        source_id=file.folder_id,
        file_name=file.name if folder_name is None else f"{folder_name}/{file.name}",
        original_file_name=file.original_name,
        file_type=file.media_type,
        file_size=file.size_bytes,
        processing_status=file.status,
        error_message=file.note,
        total_chunks=file.chunks,
        chunks_embedded=None if file.chunks is None else file.chunks_embedded,
        content=content,
        id=file.id,
        created_at=micros_date(file.created_at_us),
        updated_at=micros_date(file.updated_at_us),
    )


def show_agent_file(one: AgentFile) -> AgentFileOut:
    """A file as an agent has it."""
    return AgentFileOut(
        id=one.id,
        file_id=one.file.id,
        file_name=f"{one.folder.name}/{one.file.name}",
        folder_id=one.folder.id,
        folder_name=one.folder.name,
        is_open=one.state.is_open,
        last_accessed_at=micros_date(one.state.accessed_at_us),
        visible_content=one.view or None,
        start_line=one.state.first_line,
        end_line=one.state.last_line,
    )
