"""The set of blocks that an agent has, changed by its own tool: one made, one given up, one renamed.

Who has which block stands in the settings and as links. Both change in the commit of the tool's result, and that
commit is lost when the settings or the block are no longer as they were read. Another agent that is given the block
meanwhile rewrites it (see `attach`), so that a rename never leaves an old label in somebody else's settings.
"""

from typing import assert_never

import msgspec
from msgspec import Struct

from kelpie.agent.drafts import check_settings
from kelpie.agent.state import AGENTS, AgentSettings, BlockRef
from kelpie.errors import AlreadyExists, InvalidInput, NotFound
from kelpie.ids import AgentId
from kelpie.memory import blocks as block_rows
from kelpie.memory.blocks import Block, Blocks, check_block, check_within_limit
from kelpie.storage.records import Batch, Found, Records
from kelpie.world import World


class NewBlockEdit(Struct, frozen=True, kw_only=True):
    """A block that the agent is to have, and the settings as they were read."""

    settings: Found[AgentSettings]
    block: Block


class DropBlockEdit(Struct, frozen=True, kw_only=True):
    """A block that the agent is to have no longer; the block itself stays."""

    settings: Found[AgentSettings]
    block: Block


class RenameBlockEdit(Struct, frozen=True, kw_only=True):
    """A block as it was read, and with its new label."""

    settings: Found[AgentSettings]
    found: Found[Block]
    block: Block


BlockSetEdit = NewBlockEdit | DropBlockEdit | RenameBlockEdit


class BlockSet:
    """One agent's blocks as a set. Its verbs write nothing: their edits are to be put into a commit."""

    def __init__(self, records: Records, world: World, agent_id: AgentId) -> None:
        self._records = records
        self._blocks = Blocks(records, world)
        self._agent_id = agent_id

    async def create(self, label: str, value: str, description: str) -> NewBlockEdit:
        """One more block. Raises NotFound (the agent), AlreadyExists, InvalidInput, LimitExceeded."""
        settings = await self._settings()
        _check_free(settings.value, label)
        block = self._blocks.build(label=label, value=value, description=description)
        check_within_limit(block)
        edit = NewBlockEdit(settings=settings, block=block)
        check_settings(_settings_after(edit))
        return edit

    async def drop(self, block: Block) -> DropBlockEdit:
        """One block less. Raises NotFound (the agent), InvalidInput (the block is a conversation's)."""
        settings = await self._settings()
        _check_has(settings.value, block)
        return DropBlockEdit(settings=settings, block=block)

    async def rename(self, found: Found[Block], label: str, now_us: int) -> RenameBlockEdit:
        """The block under another label. Raises NotFound (the agent), AlreadyExists, InvalidInput, LimitExceeded."""
        settings = await self._settings()
        _check_has(settings.value, found.value)
        _check_free(settings.value, label)
        if any(other != self._agent_id for other in await self._blocks.agents_of(found.value.id, limit=2)):
            raise InvalidInput("other agents have this block too, and know it by its label", field="label")
        at_us = max(now_us, found.value.updated_at_us)
        block = msgspec.structs.replace(found.value, label=label, updated_at_us=at_us)
        check_block(block)
        return RenameBlockEdit(settings=settings, found=found, block=block)

    async def _settings(self) -> Found[AgentSettings]:
        found = await self._records.get(AGENTS.at(self._agent_id))
        if found is None:
            raise NotFound(f"Agent with id '{self._agent_id}' not found", agent_id=self._agent_id)
        return found


def put_block_set(batch: Batch, edit: BlockSetEdit, by: str | None) -> None:
    """Write block, link and settings, if the settings and the block are as they were read."""
    settings = _settings_after(edit)
    assert settings.blocks != edit.settings.value.blocks
    assert settings.id == edit.settings.value.id
    match edit:
        case NewBlockEdit():
            block_rows.put_new(batch, edit.block)
            block_rows.link(batch, edit.block.id, settings.id)
        case DropBlockEdit():
            block_rows.unlink(batch, edit.block.id, settings.id)
        case RenameBlockEdit():
            block_rows.put_changed(batch, edit.found, edit.block, by)
        case _:
            assert_never(edit)
    batch.check(edit.settings)
    batch.put(AGENTS.at(settings.id), settings)


def _settings_after(edit: BlockSetEdit) -> AgentSettings:
    ref = BlockRef(label=edit.block.label, id=edit.block.id)
    had = edit.settings.value.blocks
    match edit:
        case NewBlockEdit():
            refs = (*had, ref)
        case DropBlockEdit():
            refs = tuple(each for each in had if each.id != ref.id)
        case RenameBlockEdit():
            refs = tuple(ref if each.id == ref.id else each for each in had)
        case _:
            assert_never(edit)
    return msgspec.structs.replace(edit.settings.value, blocks=refs)


def _check_free(settings: AgentSettings, label: str) -> None:
    if any(ref.label == label for ref in settings.blocks):
        raise AlreadyExists(f"there is another block with the label '{label}'", label=label)


def _check_has(settings: AgentSettings, block: Block) -> None:
    if all(ref.id != block.id for ref in settings.blocks):
        raise InvalidInput("the block belongs to this conversation alone", field="path")
