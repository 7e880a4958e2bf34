"""Passages and archives on the wire: their structs, and the way from and to ours."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from kelpie.agent.moments import read_moment
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.models import EmbeddingConfigIn, EmbeddingConfigOut, read_embedding_config, show_embedding_config
from kelpie.api.letta.values import ORGANIZATION_ID, USER_ID, micros_date
from kelpie.api.route import one_of
from kelpie.errors import InvalidInput
from kelpie.llm.embedding import EmbeddingInfo
from kelpie.memory.archive import Archive, NewPassage
from kelpie.memory.passages import NO_METADATA, Passage, unpack_vector

TagMatch = Literal["any", "all"]
ConfigOut = Annotated[Any, one_of(EmbeddingConfigOut, or_null=True)]
JSON_OBJECT = Meta(extra_json_schema={"type": ["object", "null"]})
_EMPTY = Raw(b"{}")


class ArchiveOut(Struct, frozen=True, kw_only=True):
    """An archive."""

    created_by_id: str | None = USER_ID
    last_updated_by_id: str | None = USER_ID
    created_at: str
    updated_at: str
    name: str
    description: str | None
    organization_id: str = ORGANIZATION_ID
    vector_db_provider: Literal["native"] = "native"
    embedding_config: ConfigOut
    metadata: Annotated[Any, JSON_OBJECT]
    id: str


class PassageOut(Struct, frozen=True, kw_only=True):
    """A passage."""

    created_by_id: str | None = USER_ID
    last_updated_by_id: str | None = USER_ID
    created_at: str
    updated_at: str
    is_deleted: bool = False
    organization_id: str | None = ORGANIZATION_ID
    archive_id: str | None
    source_id: str | None
    file_id: str | None
    file_name: str | None
    metadata: Annotated[Any, JSON_OBJECT]
    tags: tuple[str, ...] | None
    id: str
    text: str
    embedding: list[float]
    embedding_config: ConfigOut


class CreateArchiveIn(Struct, frozen=True, kw_only=True):
    """An archive to be made."""

    name: str
    description: str | None = None
    embedding: str | None = None
    embedding_config: EmbeddingConfigIn | None = None


class UpdateArchiveIn(Struct, frozen=True, kw_only=True):
    """What is to change of an archive."""

    name: str | None = None
    description: str | None = None


class PassageIn(Struct, frozen=True, kw_only=True):
    """A passage to be made."""

    text: str
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    created_at: str | None = None


def read_embedding(wire: CreateArchiveIn) -> str | None:
    """The handle of the embedding model that an archive is to have."""
    return wire.embedding or read_embedding_config(wire.embedding_config)


def read_passage(wire: PassageIn, place: tuple[str | int, ...] = ("body",)) -> NewPassage:
    """A passage to be made."""
    return NewPassage(
        text=wire.text,
        tags=tuple(wire.tags or ()),
        metadata=NO_METADATA if wire.metadata is None else Raw(msgspec.json.encode(wire.metadata)),
        created_at_us=read_date(wire.created_at, (*place, "created_at"), UTC),
    )


def read_date(text: str | None, place: tuple[str | int, ...], zone: tzinfo, *, end_of_day: bool = False) -> int | None:
    """A date or time in microseconds, in that zone if it names none. Raises Malformed."""
    try:
        return read_moment(str(place[-1]), text, zone, end_of_day=end_of_day)
    except InvalidInput as error:
        raise Malformed(error.sentence, place=place, kind="datetime_from_date_parsing") from None


async def show_archive(house: House, archive: Archive) -> ArchiveOut:
    """An archive as the wire shows it."""
    return ArchiveOut(
        created_at=micros_date(archive.created_at_us),
        updated_at=micros_date(archive.updated_at_us),
        name=archive.name,
        description=archive.description,
        embedding_config=await _show_embedding(house, archive.embedding, 0),
        metadata=archive.metadata,
        id=archive.id,
    )


async def show_passages(house: House, passages: Sequence[Passage], embedding: str) -> list[PassageOut]:
    """Passages of one shelf as the wire shows them; `embedding` is the handle of its model."""
    if not passages:
        return []
    dimensions = len(unpack_vector(passages[0].vector))
    config = await _show_embedding(house, embedding, dimensions)
    return [_show_passage(passage, config) for passage in passages]


def show_time(time_us: int) -> str:
    """`2026-11-22T09:49:31.787637+00:00`."""
    return datetime.fromisoformat(micros_date(time_us)).astimezone(UTC).isoformat()


def _show_passage(passage: Passage, config: EmbeddingConfigOut) -> PassageOut:
    in_archive = passage.shelf_id.startswith("archive-")
    return PassageOut(
        created_at=micros_date(passage.created_at_us),
        updated_at=micros_date(passage.updated_at_us),
        archive_id=passage.shelf_id if in_archive else None,
        source_id=None if in_archive else passage.shelf_id,
        file_id=passage.file_id,
        file_name=passage.file_name,
        metadata=_EMPTY if passage.metadata == NO_METADATA else passage.metadata,
        tags=passage.tags or None,
        id=passage.id,
        text=passage.text,
        embedding=unpack_vector(passage.vector).tolist(),
        embedding_config=config,
    )


async def _show_embedding(house: House, handle: str, dimensions: int) -> EmbeddingConfigOut:
    """The model of that handle; of one whose provider is gone, what the handle and the vectors say."""
    info = await house.embeddings.recall(handle)
    if info.handle != handle:
        provider, _, model = handle.partition("/")
        info = EmbeddingInfo(
            handle=handle, provider=provider, provider_kind="openai", model=model, endpoint=None, dimensions=dimensions
        )
    return show_embedding_config(info if info.dimensions else msgspec.structs.replace(info, dimensions=dimensions))
