"""Core memory: labelled blocks of text that are always in the model's context, shared by any number of agents.

A block's limit binds the agents' tools. A person may exceed it, up to BLOCK_CHARS_MAX; only a request that
sets both the value and a limit below it contradicts itself, and is refused.

Who has a block is written twice, by one commit: in the agent's settings and as a link here. `attach` writes
the block again as it was, so that a commit which read the links (a rename, a removal) loses against it.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from kelpie.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import AgentId, BlockId, new_block_id
from kelpie.limits import (
    BLOCK_BYTES_MAX,
    BLOCK_CHARS_DEFAULT,
    BLOCK_CHARS_MAX,
    BLOCK_LABEL_CHARS_MAX,
    BLOCK_TAGS_MAX,
    BLOCKS_SCANNED_MAX,
    EDIT_ATTEMPTS_MAX,
    GET_KEYS_MAX,
    METADATA_BYTES_MAX,
    PAGE_ROWS_MAX,
    SCAN_ROWS_MAX,
    TAG_CHARS_MAX,
    TEXT_FIELD_CHARS_MAX,
)
from kelpie.memory.block_history import BLOCK_VERSIONS, put_version
from kelpie.memory.lineage import NOWHERE, Lineage, check_lineage, merge_lineage
from kelpie.storage import keys
from kelpie.storage.paging import rows_to_read
from kelpie.storage.records import Batch, Found, Records, Ref, Space, stand_back
from kelpie.world import World

BLOCKS_READ_AT_ONCE = 64  # of possibly BLOCK_BYTES_MAX each
_NO_METADATA = Raw(b"{}")


class Block(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A block. `limit_chars` bounds what tools may write; a read-only block refuses the agent, not its owner."""

    id: BlockId
    label: str
    value: str
    limit_chars: int
    read_only: bool = False
    description: str | None = None
    metadata: Raw = _NO_METADATA
    tags: tuple[str, ...] = ()
    name: str | None = None  # the template name of the wire
    is_template: bool = False
    hidden: bool | None = None
    lineage: Lineage = NOWHERE
    revision: int = 0  # how often the value was changed; block_history.py keeps the last of those before
    created_at_us: int
    updated_at_us: int


class BlockLink(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """That an agent has a block; the agent's settings hold the same fact, written by the same commit."""

    agent_id: AgentId


class BlockIndex(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A block's place in the order of creation."""

    id: BlockId


class BlockChanges(Struct, frozen=True, kw_only=True):
    """What an edit changes; UNSET stays as it is."""

    label: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    limit_chars: int | UnsetType = UNSET
    read_only: bool | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    name: str | None | UnsetType = UNSET
    is_template: bool | UnsetType = UNSET
    hidden: bool | None | UnsetType = UNSET
    lineage: Lineage | UnsetType = UNSET  # what it does not say stays


class BlockFilter(Struct, frozen=True, kw_only=True):
    """Which blocks a list or count is about; None and () filter nothing. The three searches ignore case."""

    label: str | None = None
    name: str | None = None
    tags: tuple[str, ...] = ()
    all_tags: bool = False  # all of `tags` are wanted, not any
    templates_only: bool = False
    label_search: str | None = None
    description_search: str | None = None
    value_search: str | None = None
    project_id: str | None = None
    deployment_id: str | None = None
    among: tuple[str, ...] | None = None  # ids, of which alone blocks are wanted
    agents_over: int | None = None  # more agents than this have it
    agents_under: int | None = None
    agents_exactly: tuple[int, ...] = ()

    @property
    def counts_agents(self) -> bool:
        """Whether it matters how many agents have a block."""
        return self.agents_over is not None or self.agents_under is not None or bool(self.agents_exactly)


class BlockPage(Struct, frozen=True, kw_only=True):
    """Blocks in the order asked for. `scanned_to` is set when the scan ended at its bound before the list did."""

    blocks: tuple[Block, ...]
    scanned_to: BlockId | None = None


BLOCKS = Space("block", Block, large=True)  # at(block_id)
BLOCK_LINKS = Space("block_link", BlockLink)  # at(block_id, agent_id)
BLOCKS_BY_TIME = Space("block_by_time", BlockIndex)  # at(created_at_us, block_id)
EVERY_BLOCK = BlockFilter()


class Blocks:
    """The blocks in the store."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world

    def build(
        self,
        *,
        label: str,
        value: str,
        limit_chars: int | None = None,
        read_only: bool = False,
        description: str | None = None,
        metadata: Raw = _NO_METADATA,
        tags: tuple[str, ...] = (),
        name: str | None = None,
        is_template: bool = False,
        hidden: bool | None = None,
        lineage: Lineage = NOWHERE,
    ) -> Block:
        """A new block, checked but not stored yet (see `store`, `put_new`). Raises InvalidInput, LimitExceeded."""
        now_us = self._world.wall.now_us()
        block = Block(
            id=new_block_id(self._world.entropy),
            label=label,
            value=value,
            limit_chars=BLOCK_CHARS_DEFAULT if limit_chars is None else limit_chars,
            read_only=read_only,
            description=description,
            metadata=metadata,
            tags=tags,
            name=name,
            is_template=is_template,
            hidden=hidden,
            lineage=lineage,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        check_block(block)
        if limit_chars is not None:
            check_within_limit(block)
        assert len(block.value) <= BLOCK_CHARS_MAX
        assert block.created_at_us == block.updated_at_us
        return block

    async def store(self, block: Block) -> Block:
        """Store a new block as it was built; the block."""
        batch = Batch()
        put_new(batch, block)
        assert len(batch.checks) == 1, "there must be no such block yet"
        version = await self._records.commit(batch)
        assert version > 0
        return block

    async def get(self, block_id: BlockId) -> Found[Block]:
        """The block. Raises NotFound."""
        found = await self._records.get(BLOCKS.at(block_id))
        if found is None:
            raise NotFound(f"Block with id '{block_id}' not found", block_id=block_id)
        assert found.value.id == block_id
        return found

    async def get_many(self, block_ids: Sequence[BlockId]) -> list[Found[Block] | None]:
        """The blocks in the order of their ids, from one snapshot; None where there is none.

        At most GET_KEYS_MAX ids.
        """
        assert len(block_ids) <= GET_KEYS_MAX
        return await self._records.get_all([BLOCKS.at(block_id) for block_id in block_ids])

    async def update(self, block_id: BlockId, changes: BlockChanges) -> Block:
        """Edit a block, again as often as another edit comes first, but not without end.

        Raises NotFound, InvalidInput, LimitExceeded, Conflict. A new label is for blocks that no agent has:
        otherwise it is refused with Conflict, since the agents' settings must change in the same commit.
        """
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self.get(block_id)
            block = change_block(found.value, changes, self._world.wall.now_us())
            if block.label != found.value.label and await self.agents_of(block_id, limit=1):
                raise Conflict(f"block '{block_id}' is attached to an agent while its label changes")
            batch = Batch()
            block = put_changed(batch, found, block)
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return block
        raise Conflict(f"block '{block_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def count(self, wanted: BlockFilter = EVERY_BLOCK) -> int:
        """How many blocks there are. LimitExceeded when there are more to look at than BLOCKS_SCANNED_MAX."""
        start, end = keys.below(BLOCKS_BY_TIME.name)
        at_once = SCAN_ROWS_MAX if wanted == EVERY_BLOCK else BLOCKS_READ_AT_ONCE
        assert at_once <= BLOCKS_SCANNED_MAX
        assert wanted.among is None, "only lists ask for blocks of somebody"
        counted = scanned = 0
        while scanned <= BLOCKS_SCANNED_MAX:
            ids = await self._scan_ids(start, end, at_once, False)
            if wanted == EVERY_BLOCK:
                counted += len(ids)
            else:
                counted += len(await self._wanted([block_id for block_id, _ in ids], wanted))
            if len(ids) < at_once:
                return counted
            start = _next(ids[-1][1])
            scanned += len(ids)
            assert counted <= scanned
        raise LimitExceeded(
            f"there are more than {BLOCKS_SCANNED_MAX} blocks to count",
            limit="BLOCKS_SCANNED_MAX",
            maximum=BLOCKS_SCANNED_MAX,
        )

    async def agents_of(
        self, block_id: BlockId, *, after: AgentId | None = None, limit: int = SCAN_ROWS_MAX
    ) -> list[AgentId]:
        """The agents that have the block, by id; `after` continues behind an agent of an earlier page."""
        links = await self._records.scan(BLOCK_LINKS, block_id, after=after, limit=limit)
        return [found.value.agent_id for found in links]

    async def _range(self, lower: BlockId | None, upper: BlockId | None) -> tuple[bytes, bytes]:
        """The index keys after the block `lower` and before the block `upper`."""
        start, end = keys.below(BLOCKS_BY_TIME.name)
        if lower is not None:
            start = _next(_index_ref((await self.get(lower)).value).key)
        if upper is not None:
            end = _index_ref((await self.get(upper)).value).key
        return start, max(start, end)

    async def _scan_ids(self, start: bytes, end: bytes, limit: int, newest_first: bool) -> list[tuple[BlockId, bytes]]:
        """Ids and index keys of the next blocks in the range."""
        assert limit <= SCAN_ROWS_MAX
        if start >= end:
            return []
        rows = await self._records.store.scan(start, end, limit=limit, reverse=newest_first)
        return [(BLOCKS_BY_TIME.decode(row.key, row.value).id, row.key) for row in rows]

    async def list(
        self,
        wanted: BlockFilter = EVERY_BLOCK,
        *,
        before: BlockId | None = None,
        after: BlockId | None = None,
        limit: int,
        newest_first: bool = False,
    ) -> BlockPage:
        """A page of blocks by time of creation; `before` and `after` are blocks in the order asked for.

        At most BLOCKS_SCANNED_MAX blocks are looked at. Raises NotFound when a cursor's block is gone.
        """
        assert 0 < limit <= PAGE_ROWS_MAX
        lower, upper = (before, after) if newest_first else (after, before)
        start, end = await self._range(lower, upper)
        if wanted.among is not None:
            return BlockPage(blocks=await self._among(wanted, start, end, limit, newest_first))
        blocks: list[Block] = []
        scanned, last = 0, None
        while scanned < BLOCKS_SCANNED_MAX:
            at_once = min(rows_to_read(limit, scanned, BLOCKS_READ_AT_ONCE), BLOCKS_SCANNED_MAX - scanned)
            ids = await self._scan_ids(start, end, at_once, newest_first)
            blocks += await self._wanted([block_id for block_id, _ in ids], wanted)
            if len(blocks) >= limit:
                return BlockPage(blocks=tuple(blocks[:limit]))
            if len(ids) < at_once:
                return BlockPage(blocks=tuple(blocks))
            last, key = ids[-1]
            start, end = (start, key) if newest_first else (_next(key), end)
            scanned += len(ids)
            assert len(blocks) < limit and len(blocks) <= scanned
        return BlockPage(blocks=tuple(blocks), scanned_to=last)

    async def _among(
        self, wanted: BlockFilter, start: bytes, end: bytes, limit: int, newest_first: bool
    ) -> tuple[Block, ...]:
        """Those of the named blocks that are wanted and stand in the range."""
        assert wanted.among is not None
        found = []
        for at in range(0, len(wanted.among), BLOCKS_READ_AT_ONCE):
            some = [BlockId(block_id) for block_id in wanted.among[at : at + BLOCKS_READ_AT_ONCE]]
            found += [block for block in await self._wanted(some, wanted) if start <= _index_ref(block).key < end]
        assert len(found) <= len(wanted.among)
        found.sort(key=lambda block: (block.created_at_us, block.id), reverse=newest_first)
        return tuple(found[:limit])

    async def _wanted(self, block_ids: Sequence[BlockId], wanted: BlockFilter) -> Sequence[Block]:
        """Those of the blocks that are there and wanted, in their order."""
        found = [each.value for each in await self.get_many(block_ids) if each is not None]
        found = [block for block in found if _is_wanted(block, wanted)]
        if not wanted.counts_agents:
            return found
        counts = [len(await self.agents_of(block.id)) for block in found]
        return [block for block, count in zip(found, counts, strict=True) if _has_count(count, wanted)]


def put_new(batch: Batch, block: Block) -> None:
    """Store a block that is not there yet, and was checked when it was made."""
    batch.check_absent(BLOCKS.at(block.id))
    batch.put(BLOCKS.at(block.id), block)
    batch.put(_index_ref(block), BlockIndex(id=block.id))


def put_changed(batch: Batch, found: Found[Block], block: Block, by: str | None = None) -> Block:
    """Store an edited block, if it is still as it was found, and what it said before; as it is stored.

    `by` is the agent that edits it, if it is one.
    """
    assert (block.id, block.created_at_us) == (found.value.id, found.value.created_at_us)
    batch.check(found)
    if block.value != found.value.value:
        block = msgspec.structs.replace(block, revision=found.value.revision + 1)
        put_version(batch, block.id, found.value.revision, found.value.value, block.updated_at_us, by)
    batch.put(BLOCKS.at(block.id), block)
    return block


def link(batch: Batch, block_id: BlockId, agent_id: AgentId) -> None:
    """The agent has the block, which is stored by the same commit; `attach` is for a block that was there."""
    batch.put(BLOCK_LINKS.at(block_id, agent_id), BlockLink(agent_id=agent_id))


def attach(batch: Batch, found: Found[Block], agent_id: AgentId) -> None:
    """The agent has a block that is there already, and still as it was found; see the top of this file."""
    put_changed(batch, found, found.value)
    link(batch, found.value.id, agent_id)


def unlink(batch: Batch, block_id: BlockId, agent_id: AgentId) -> None:
    """The agent no longer has the block."""
    batch.delete(BLOCK_LINKS.at(block_id, agent_id))


def remove(batch: Batch, found: Found[Block]) -> None:
    """Remove a block with its links, if it is still as it was found; the agents' settings are the caller's."""
    batch.check(found)
    batch.delete(BLOCKS.at(found.value.id))
    batch.delete(_index_ref(found.value))
    batch.delete_below(BLOCK_LINKS, found.value.id)
    batch.delete_below(BLOCK_VERSIONS, found.value.id)


def change_block(block: Block, changes: BlockChanges, now_us: int) -> Block:
    """The block after the edit. Raises InvalidInput, LimitExceeded."""
    named = {field: getattr(changes, field) for field in changes.__struct_fields__}
    given = {field: change for field, change in named.items() if change is not UNSET}
    assert given.keys() <= set(block.__struct_fields__)
    if isinstance(changes.lineage, Lineage):
        given["lineage"] = merge_lineage(block.lineage, changes.lineage)
    changed = msgspec.structs.replace(block, **given, updated_at_us=max(now_us, block.updated_at_us))
    check_block(changed)
    if changes.value is not UNSET and changes.limit_chars is not UNSET:
        check_within_limit(changed)
    return changed


def check_block(block: Block) -> None:
    """InvalidInput or LimitExceeded, naming the field or the limit, unless the block may be stored."""
    check_label(block.label)
    check_value(block.value)
    if block.limit_chars < 1:
        raise InvalidInput(f"a block's limit is at least 1 character, not {block.limit_chars}", field="limit")
    _check_size("limit", block.limit_chars, "BLOCK_CHARS_MAX", BLOCK_CHARS_MAX, "characters")
    for field, text in (("description", block.description), ("name", block.name)):
        if text is not None:
            _check_size(field, len(text), "TEXT_FIELD_CHARS_MAX", TEXT_FIELD_CHARS_MAX, "characters")
    _check_size("tags", len(block.tags), "BLOCK_TAGS_MAX", BLOCK_TAGS_MAX, "tags")
    for tag in block.tags:
        _check_size("tags", len(tag), "TAG_CHARS_MAX", TAG_CHARS_MAX, "characters")
    check_lineage(block.lineage)
    _check_metadata(block.metadata)


def check_label(label: str) -> None:
    """A label is one printable line that begins and ends with no space."""
    if not label or not label.isprintable() or label != label.strip():
        raise InvalidInput(
            f"a block's label is printable text without spaces at its ends, not {label[:80]!r}", field="label"
        )
    _check_size("label", len(label), "BLOCK_LABEL_CHARS_MAX", BLOCK_LABEL_CHARS_MAX, "characters")


def check_value(value: str) -> None:
    """LimitExceeded if the value is longer than any block's may be, in characters or in stored bytes."""
    _check_size("value", len(value), "BLOCK_CHARS_MAX", BLOCK_CHARS_MAX, "characters")
    if len(value) * 6 > BLOCK_BYTES_MAX:  # no character takes more than six bytes of JSON
        stored = len(msgspec.json.encode(value)) - 2  # the quotes
        _check_size("value", stored, "BLOCK_BYTES_MAX", BLOCK_BYTES_MAX, "bytes")


def check_within_limit(block: Block) -> None:
    """LimitExceeded if the value is longer than the block's own limit."""
    if len(block.value) > block.limit_chars:
        raise LimitExceeded(
            f"the value has {len(block.value)} characters and the block's limit is {block.limit_chars}",
            field="value",
            limit="limit",
            maximum=block.limit_chars,
        )


def _check_metadata(metadata: Raw) -> None:
    if metadata == _NO_METADATA:
        return
    size = len(bytes(metadata))
    if size > METADATA_BYTES_MAX:
        _check_size("metadata", size, "METADATA_BYTES_MAX", METADATA_BYTES_MAX, "bytes")
    try:
        msgspec.json.decode(metadata, type=dict[str, Raw])
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"a block's metadata is a JSON object: {error}", field="metadata") from error


def _check_size(field: str, size: int, limit: str, maximum: int, unit: str) -> None:
    if size > maximum:
        raise LimitExceeded(
            f"{field}: {size} {unit} are over the limit of {maximum}", field=field, limit=limit, maximum=maximum
        )


def _is_wanted(block: Block, wanted: BlockFilter) -> bool:
    exact = (
        (wanted.label, block.label),
        (wanted.name, block.name),
        (wanted.project_id, block.lineage.project_id),
        (wanted.deployment_id, block.lineage.deployment_id),
    )
    if any(asked is not None and asked != has for asked, has in exact):
        return False
    if wanted.templates_only and not block.is_template:
        return False
    if wanted.tags and not _has_tags(block, wanted):
        return False
    return _is_found(block, wanted)


def _is_found(block: Block, wanted: BlockFilter) -> bool:
    """Whether what is searched for stands in it."""
    searches = (
        (wanted.label_search, block.label),
        (wanted.description_search, block.description or ""),
        (wanted.value_search, block.value),
    )
    return all(search is None or search.casefold() in text.casefold() for search, text in searches)


def _has_count(count: int, wanted: BlockFilter) -> bool:
    if wanted.agents_over is not None and count <= wanted.agents_over:
        return False
    if wanted.agents_under is not None and count >= wanted.agents_under:
        return False
    return not wanted.agents_exactly or count in wanted.agents_exactly


def _has_tags(block: Block, wanted: BlockFilter) -> bool:
    has = [tag in block.tags for tag in wanted.tags]
    return all(has) if wanted.all_tags else any(has)


def _index_ref(block: Block) -> Ref[BlockIndex]:
    return BLOCKS_BY_TIME.at(block.created_at_us, block.id)


def _next(key: bytes) -> bytes:
    """The lowest key above this one."""
    return key + b"\0"
