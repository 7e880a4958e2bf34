"""An agent that was made of a template becomes what a newer version of it says, by one commit.

Its settings and the blocks that the template made are the version's from then on. Its name, tags, messages,
identities, folders and archive stay, and so do the blocks that somebody else gave it and those that are marked so.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from kelpie.agent.drafts import NewAgent, check_labels, check_settings
from kelpie.agent.grants import granted_rules, tools_of
from kelpie.agent.identities import Identities
from kelpie.agent.secrets import Secret
from kelpie.agent.state import AGENTS, AgentSettings, BlockRef
from kelpie.agent.templates import number_of
from kelpie.errors import Conflict
from kelpie.ids import AgentId
from kelpie.limits import EDIT_ATTEMPTS_MAX
from kelpie.memory import blocks as block_rows
from kelpie.memory.blocks import BLOCKS, Block, Blocks
from kelpie.memory.lineage import Lineage, merge_lineage
from kelpie.storage.records import Batch, Found, Records, stand_back
from kelpie.tools.toolbox import ToolCatalog
from kelpie.world import World

_RENEWED = (
    "kind", "system", "model", "embedding", "context_window_tokens", "sampling", "compaction", "tool_rules",
    "speaks_with", "heartbeats", "description", "files_open_max", "file_view_chars", "forget_between_turns", "wire",
)  # fmt: skip


class RenewalRules(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of an agent is more than its template says, and stays."""

    keep_values: bool = False  # of the blocks that the template made
    keep_secrets: bool = False
    drop_blocks: bool = False  # that the template made, and the version has not


class Renewal(Struct, frozen=True, kw_only=True):
    """What the version says of this agent: the agent, its blocks, and the names of secrets without a value."""

    new: NewAgent
    blocks: tuple[Block, ...]
    valueless: frozenset[str]
    lineage: Lineage
    rules: RenewalRules
    if_older: bool  # or whatever it is of now, also of another template or of none


class Renewals:
    """Renews agents."""

    def __init__(self, records: Records, catalog: ToolCatalog, world: World) -> None:
        self._records = records
        self._catalog = catalog
        self._world = world
        self._blocks = Blocks(records, world)
        self._identities = Identities(records, world)

    async def renew(self, agent_id: AgentId, renewal: Renewal) -> None:
        """Change the agent, unless it is gone, or, `if_older`, is of this version or a newer one already.

        Raises NotFound (a tool), InvalidInput, LimitExceeded, AlreadyExists, Conflict.
        """
        new = renewal.new
        assert renewal.lineage.base_template_id is not None
        tools = await tools_of(self._catalog, new.tool_ids, new.tool_names, new.optional_tool_names)
        new = msgspec.structs.replace(new, tool_rules=await granted_rules(self._catalog, new, tools))
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self._records.get(AGENTS.at(agent_id))
            if found is None or (renewal.if_older and not is_older(found.value, renewal.lineage)):
                return
            now, batch = found.value, Batch()
            refs = await self._put_blocks(batch, now, renewal)
            changed = msgspec.structs.replace(
                _renewed(now, new),
                tools=tools,
                blocks=refs,
                secrets=_secrets(now, renewal),
                lineage=merge_lineage(now.lineage, renewal.lineage),
                updated_at_us=max(self._world.wall.now_us(), now.updated_at_us),
            )
            check_labels(refs)
            check_settings(changed)
            assert (changed.id, changed.identities, changed.folders) == (now.id, now.identities, now.folders)
            batch.check(found)
            batch.put(AGENTS.at(agent_id), changed)
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return
        raise Conflict(f"agent '{agent_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def _put_blocks(self, batch: Batch, now: AgentSettings, renewal: Renewal) -> tuple[BlockRef, ...]:
        """The blocks of the version, and those of the agent that it leaves it; a block is known by its label."""
        said = {block.label: block for block in renewal.blocks}
        check_labels([BlockRef(label=block.label, id=block.id) for block in renewal.blocks])
        assert len(said) == len(renewal.blocks)
        refs, made_of = list[BlockRef](), {now.lineage.base_template_id, renewal.lineage.base_template_id} - {None}
        for found in await self._records.get_all([BLOCKS.at(ref.id) for ref in now.blocks]):
            if found is None:
                continue  # it was removed since
            block, wanted = found.value, said.pop(found.value.label, None)
            is_ours = block.lineage.base_template_id in made_of and not block.lineage.preserved
            if wanted is not None and is_ours:
                self._put_renewed(batch, found, wanted, renewal)
            if wanted is None and is_ours and renewal.rules.drop_blocks:
                await self._drop(batch, found, now.id)
            else:
                refs.append(BlockRef(label=block.label, id=block.id))
        for block in said.values():
            block_rows.put_new(batch, block)
            block_rows.link(batch, block.id, now.id)
            refs.append(BlockRef(label=block.label, id=block.id))
        assert len({ref.label for ref in refs}) == len(refs), "what the version says is there once"
        return tuple(refs)

    def _put_renewed(self, batch: Batch, found: Found[Block], wanted: Block, renewal: Renewal) -> None:
        block = found.value
        changed = msgspec.structs.replace(
            block,
            value=block.value if renewal.rules.keep_values else wanted.value,
            limit_chars=wanted.limit_chars,
            description=wanted.description,
            read_only=wanted.read_only,
            metadata=wanted.metadata,
            lineage=merge_lineage(block.lineage, wanted.lineage),
            updated_at_us=max(self._world.wall.now_us(), block.updated_at_us),
        )
        block_rows.check_block(changed)
        block_rows.put_changed(batch, found, changed)

    async def _drop(self, batch: Batch, found: Found[Block], agent_id: AgentId) -> None:
        """Take the block from the agent; if nobody else has it, remove it."""
        block_id = found.value.id
        if await self._blocks.agents_of(block_id, limit=2) == [agent_id]:
            await self._identities.forget_block(batch, block_id)
            block_rows.remove(batch, found)
        else:
            block_rows.unlink(batch, block_id, agent_id)


def is_older(settings: AgentSettings, lineage: Lineage) -> bool:
    """Whether the agent was made of that template, and of an older version of it than this one. Pure."""
    if settings.lineage.base_template_id != lineage.base_template_id:
        return False
    return number_of(settings.lineage.template_id) < number_of(lineage.template_id)


def _renewed(now: AgentSettings, new: NewAgent) -> AgentSettings:
    """What people decide about agents of this version; its tools, blocks and secrets are the caller's."""
    given = {field: getattr(new, field) for field in _RENEWED}
    if given["context_window_tokens"] is None:
        given["context_window_tokens"] = now.context_window_tokens
    return msgspec.structs.replace(now, **given)


def _secrets(now: AgentSettings, renewal: Renewal) -> tuple[Secret, ...]:
    """The version's, of which those without a value keep the agent's own; or all of the agent's own, and new ones."""
    own: Mapping[str, Secret] = {secret.key: secret for secret in now.secrets}
    said = {secret.key: secret for secret in renewal.new.secrets}
    if renewal.rules.keep_secrets:
        return tuple({**said, **own}.values())
    return tuple(own.get(key, secret) if key in renewal.valueless else secret for key, secret in said.items())
