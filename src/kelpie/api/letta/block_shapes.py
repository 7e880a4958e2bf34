"""Blocks as the wire has them: what is sent, what is shown, and the way between them and ours."""

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from kelpie.api.letta.house import House
from kelpie.errors import LimitExceeded
from kelpie.ids import BlockId
from kelpie.limits import BLOCK_CHARS_DEFAULT, BLOCK_CHARS_MAX, BLOCK_LABEL_CHARS_MAX, BLOCKS_SCANNED_MAX
from kelpie.memory.blocks import Block, BlockChanges, BlockFilter, BlockPage
from kelpie.memory.lineage import LINEAGE_IDS, NOWHERE, Lineage
from kelpie.storage.paging import Page

T = TypeVar("T")
Limit = Annotated[int, Meta(ge=1, le=BLOCK_CHARS_MAX)]
Label = Annotated[str, Meta(min_length=1, max_length=BLOCK_LABEL_CHARS_MAX)]
Value = Annotated[str, Meta(max_length=BLOCK_CHARS_MAX)]
NO_METADATA = Raw(b"{}")
USUAL_DESCRIPTIONS = {  # of blocks of these labels that are made without one
    "human": "What is known of the person you talk with, so that you can answer as someone who remembers them.",
    "persona": "Who you are: your character and manner, so that you stay the same from one talk to the next.",
}


class BlockOut(Struct, frozen=True, kw_only=True):
    """A block as the wire shows it."""

    value: str
    limit: int = BLOCK_CHARS_DEFAULT
    project_id: str | None = None
    template_name: str | None = None
    is_template: bool = False
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    preserve_on_migration: bool | None = False
    label: str | None = None
    read_only: bool = False
    description: str | None = None
    metadata: Annotated[Any, Meta(extra_json_schema={"type": ["object", "null"]})] = None
    hidden: bool | None = None
    id: str
    created_by_id: str | None = None
    last_updated_by_id: str | None = None
    tags: tuple[str, ...] = ()


class BlockIn(Struct, frozen=True, kw_only=True):
    """A block to be made, on its own or with an agent."""

    value: Value
    label: Label
    limit: Limit | None = None
    read_only: bool = False
    description: str | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    template_name: str | None = None
    is_template: bool = False
    hidden: bool | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    preserve_on_migration: bool | None = None


class BlockEdit(Struct, frozen=True, kw_only=True):
    """What is to change; what is absent or null stays as it is."""

    value: Value | None = None
    label: Label | None = None
    limit: Limit | None = None
    read_only: bool | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None
    template_name: str | None = None
    is_template: bool | None = None
    hidden: bool | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    preserve_on_migration: bool | None = None


def show_block(block: Block) -> BlockOut:
    """A block as the wire shows it."""
    return BlockOut(
        value=block.value,
        limit=block.limit_chars,
        project_id=block.lineage.project_id,
        template_id=block.lineage.template_id,
        base_template_id=block.lineage.base_template_id,
        deployment_id=block.lineage.deployment_id,
        entity_id=block.lineage.entity_id,
        preserve_on_migration=block.lineage.preserved,
        template_name=block.name,
        is_template=block.is_template,
        label=block.label,
        read_only=block.read_only,
        description=block.description,
        metadata=block.metadata,
        hidden=block.hidden,
        id=block.id,
        tags=block.tags,
    )


def read_metadata(metadata: dict[str, Any] | None) -> Raw:
    """Metadata as it is stored."""
    return Raw(msgspec.json.encode(metadata)) if metadata else NO_METADATA


def read_block_fields(wire: BlockIn) -> dict[str, Any]:
    """The arguments with which a block is built."""
    lineage = _lineage(wire)
    return {
        "label": wire.label,
        "value": wire.value,
        "limit_chars": wire.limit,
        "read_only": wire.read_only,
        "description": USUAL_DESCRIPTIONS.get(wire.label) if wire.description is None else wire.description,
        "metadata": read_metadata(wire.metadata),
        "tags": tuple(dict.fromkeys(wire.tags or ())),
        "name": wire.template_name,
        "is_template": wire.is_template,
        "hidden": wire.hidden,
        "lineage": NOWHERE if isinstance(lineage, UnsetType) else lineage,
    }


def read_block_edit(wire: BlockEdit) -> BlockChanges:
    """The changes that an edit asks for."""
    return BlockChanges(
        label=_given(wire.label),
        value=_given(wire.value),
        limit_chars=_given(wire.limit),
        read_only=_given(wire.read_only),
        description=_given(wire.description),
        metadata=UNSET if wire.metadata is None else read_metadata(wire.metadata),
        tags=UNSET if wire.tags is None else tuple(dict.fromkeys(wire.tags)),
        name=_given(wire.template_name),
        is_template=_given(wire.is_template),
        hidden=_given(wire.hidden),
        lineage=_lineage(wire),
    )


async def list_page(house: House, wanted: BlockFilter, page: Page) -> BlockPage:
    """A page of blocks. Raises LimitExceeded rather than leave out what it has not looked at."""
    found = await house.blocks.list(
        wanted,
        before=None if page.before is None else BlockId(page.before),
        after=None if page.after is None else BlockId(page.after),
        limit=page.limit,
        newest_first=page.newest_first,
    )
    if found.scanned_to is not None:
        raise LimitExceeded(
            f"more than {BLOCKS_SCANNED_MAX} blocks would have to be looked at; ask for a narrower list",
            limit="BLOCKS_SCANNED_MAX",
            maximum=BLOCKS_SCANNED_MAX,
        )
    return found


def _lineage(wire: BlockIn | BlockEdit) -> Lineage | UnsetType:
    """To what project and template the block belongs, if anything is said of it."""
    ids = {name: getattr(wire, name) for name in LINEAGE_IDS}
    if wire.preserve_on_migration is None and not any(ids.values()):
        return UNSET
    return Lineage(**ids, preserved=bool(wire.preserve_on_migration))


def _given(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value
