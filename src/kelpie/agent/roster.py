"""The agents as records: made, read, listed, changed, given blocks and tools. No verb here waits for a turn.

Settings belong to people and change here, optimistically: read, decide, commit with a check, and again as often
as another edit comes first, but not without end. State belongs to the agent's owner; here it is only created
and read. Who has which block is written in the settings and as links, always by one commit.
"""

from collections.abc import Callable, Sequence

import msgspec

from kelpie.agent.drafts import (
    AgentChanges,
    NewAgent,
    Past,
    apply_changes,
    check_labels,
    check_message_fields,
    check_messages,
    check_settings,
)
from kelpie.agent.grants import asking_for, check_has_tool, granted_rules, tools_gone, tools_of, with_tools
from kelpie.agent.identities import Identities
from kelpie.agent.rules import with_approval
from kelpie.agent.state import (
    AGENTS,
    AGENTS_BY_TIME,
    STATES,
    AgentIndex,
    AgentSettings,
    AgentState,
    BlockRef,
    WindowEntry,
)
from kelpie.agent.view import AgentView, view_of
from kelpie.errors import Conflict, LimitExceeded, NotFound
from kelpie.ids import AgentId, BlockId, ThreadId, ToolId, new_agent_id, new_message_id
from kelpie.limits import (
    BLOCKS_PER_AGENT_MAX,
    CONTEXT_WINDOW_TOKENS_DEFAULT,
    CONTEXT_WINDOW_TOKENS_MAX,
    EDIT_ATTEMPTS_MAX,
)
from kelpie.llm.messages import TextPart
from kelpie.llm.model import ModelInfo, Models
from kelpie.memory import blocks as block_rows
from kelpie.memory.blocks import BLOCKS, Block, BlockChanges, Blocks, change_block
from kelpie.memory.folders import put_agent
from kelpie.memory.history import StoredMessage, append
from kelpie.memory.render import compile_system
from kelpie.storage.records import Batch, Found, Records, stand_back
from kelpie.tools.toolbox import ToolCatalog
from kelpie.world import World

HANDLES_NAMED_MAX = 50  # of all configured ones, in an error about an unknown one
LINKS_PER_COMMIT = 16  # agents whose settings, of possibly RECORD_BYTES_MAX each, change in one commit
BLOCK_AGENTS_MAX = 10_000

Change = Callable[[AgentSettings], AgentSettings]


class Roster:
    """All agents in the store."""

    def __init__(self, records: Records, blocks: Blocks, tools: ToolCatalog, models: Models, world: World) -> None:
        self._records = records
        self._blocks = blocks
        self._tools = tools
        self._models = models
        self._world = world
        self._identities = Identities(records, world)

    # -- one agent -----------------------------------------------------------------------------------------

    async def create(
        self, new: NewAgent, past: Past | None = None, also: Callable[[Batch, AgentView], None] | None = None
    ) -> AgentView:
        """Make an agent, with its system message, new blocks and links, in one commit, to which `also` adds.

        An agent with a past may name a model that this server has not got: it is told so when it asks it.
        Raises NotFound (model, block, tool, folder), InvalidInput, LimitExceeded, AlreadyExists (blocks of one label).
        """
        info = await self.find_model(new.model) if past is None else None
        tools = await tools_of(self._tools, new.tool_ids, new.tool_names, new.optional_tool_names)
        new = msgspec.structs.replace(new, tool_rules=await granted_rules(self._tools, new, tools))
        agent_id = new_agent_id(self._world.entropy) if past is None else past.id
        made = [self._blocks.build(**msgspec.structs.asdict(block)) for block in new.new_blocks]
        for attempt in range(EDIT_ATTEMPTS_MAX):
            shared = await self._blocks_found(new.block_ids)
            blocks = (*made, *[found.value for found in shared])
            settings = self._settings(new, agent_id, info, blocks, tools, past)
            batch = Batch()
            for block in made:
                block_rows.put_new(batch, block)
                block_rows.link(batch, block.id, agent_id)
            for found in shared:
                block_rows.attach(batch, found, agent_id)
            await self._identities.put_agent(batch, settings.identities, agent_id, settings.created_at_us)
            await put_agent(self._records, batch, settings.folders, agent_id, settings.created_at_us)
            state = self._put_new(batch, new, settings, blocks) if past is None else _put_settled(batch, settings, past)
            view = AgentView(settings=settings, state=state, blocks=blocks)
            if also is not None:
                also(batch, view)
            assert state.id == settings.id == agent_id
            assert [ref.id for ref in settings.blocks] == [block.id for block in blocks]
            if await self._committed(batch, attempt):
                return view
        raise Conflict(f"the blocks of the new agent kept changing; {EDIT_ATTEMPTS_MAX} attempts lost")

    def check(self, new: NewAgent, past: Past, blocks: Sequence[Block]) -> None:
        """Raises what `create` would, but for what is not there, of an agent whose blocks these are."""
        self._settings(new, past.id, None, blocks, new.tool_ids, past)

    async def get(self, agent_id: AgentId, *, with_blocks: bool = True) -> AgentView:
        """The agent, in two round trips, or one without its blocks. Raises NotFound."""
        settings, state = await self._records.get_two(AGENTS.at(agent_id), STATES.at(agent_id))
        if settings is None or state is None:
            raise not_found(agent_id)
        assert settings.value.id == state.value.id == agent_id
        blocks = await self._blocks_named(settings.value) if with_blocks else ()
        return view_of(settings, state, blocks)

    async def get_settings(self, agent_id: AgentId) -> AgentSettings:
        """The agent's settings. Raises NotFound."""
        return (await self._found(agent_id)).value

    async def blocks_of(self, settings: AgentSettings) -> tuple[Block, ...]:
        """The blocks that the settings name, in their order; one that was removed meanwhile is left out."""
        return tuple(found.value for found in await self._blocks_named(settings) if found is not None)

    async def get_block(self, agent_id: AgentId, label: str) -> Block:
        """The agent's block of that label. Raises NotFound."""
        settings = await self.get_settings(agent_id)
        for ref in settings.blocks:
            if ref.label == label:
                return (await self._blocks.get(ref.id)).value
        raise NotFound(f"No block with label '{label}' found for agent '{agent_id}'", agent_id=agent_id)

    async def update(self, agent_id: AgentId, changes: AgentChanges) -> AgentView:
        """Edit an agent. Raises NotFound, InvalidInput, LimitExceeded, AlreadyExists, Conflict."""
        if isinstance(changes.model, str):
            info = await self.find_model(changes.model)
            if changes.context_window_tokens is msgspec.UNSET:
                window = min(info.context_tokens, CONTEXT_WINDOW_TOKENS_MAX)
                changes = msgspec.structs.replace(changes, context_window_tokens=window)
        changes, given = await with_tools(self._tools, changes)
        if isinstance(changes.block_ids, tuple):
            await self._replace_blocks(agent_id, changes.block_ids)
        await self._edit(
            agent_id, lambda now: asking_for(given, now, apply_changes(now, changes, self._world.wall.now_us()))
        )
        return await self.get(agent_id)

    # -- tools and blocks of an agent ----------------------------------------------------------------------

    async def attach_tool(self, agent_id: AgentId, tool_id: ToolId) -> AgentView:
        """Give the agent a tool; no change if it has it. Raises NotFound, LimitExceeded."""
        tool = await self._tools.find(tool_id)
        gone = await tools_gone(self._tools, await self.get_settings(agent_id))

        def change(now: AgentSettings) -> AgentSettings:
            kept = tuple(have for have in now.tools if have not in gone)
            tools = kept if tool_id in kept else (*kept, tool_id)
            return asking_for((tool,), now, msgspec.structs.replace(now, tools=tools))

        await self._edit(agent_id, self._stamped(change))
        return await self.get(agent_id)

    async def detach_tool(self, agent_id: AgentId, tool_id: ToolId) -> AgentView:
        """Take a tool from the agent; no change if it has not got it. Raises NotFound."""

        def change(now: AgentSettings) -> AgentSettings:
            return msgspec.structs.replace(now, tools=tuple(have for have in now.tools if have != tool_id))

        await self._edit(agent_id, self._stamped(change))
        return await self.get(agent_id)

    async def require_approval(self, agent_id: AgentId, tool_name: str, *, required: bool) -> AgentView:
        """Have a person allow each call that the agent makes of a tool, or no longer. Raises NotFound."""
        await check_has_tool(self._tools, await self.get_settings(agent_id), tool_name)

        def change(now: AgentSettings) -> AgentSettings:
            rules = with_approval(now.tool_rules, tool_name, required=required)
            return msgspec.structs.replace(now, tool_rules=rules)

        await self._edit(agent_id, self._stamped(change))
        return await self.get(agent_id)

    async def attach_block(self, agent_id: AgentId, block_id: BlockId) -> AgentView:
        """Give the agent a block; no change if it has it. AlreadyExists: it has another one of that label."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            settings, block = await self._records.get_two(AGENTS.at(agent_id), BLOCKS.at(block_id))
            if settings is None:
                raise not_found(agent_id)
            if block is None:
                raise NotFound(f"Block with id '{block_id}' not found", block_id=block_id)
            if any(ref.id == block_id for ref in settings.value.blocks):
                return await self.get(agent_id)
            assert settings.value.id == agent_id
            assert block.value.id == block_id
            refs = (*settings.value.blocks, BlockRef(label=block.value.label, id=block_id))
            batch = Batch()
            self._put_settings(batch, settings, _with_blocks(settings.value, refs))
            block_rows.attach(batch, block, agent_id)
            if await self._committed(batch, attempt):
                return await self.get(agent_id)
        raise _lost(agent_id)

    async def detach_block(self, agent_id: AgentId, block_id: BlockId) -> AgentView:
        """Take a block from the agent; the block itself stays. No change if the agent has not got it."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            settings = await self._found(agent_id)
            refs = tuple(ref for ref in settings.value.blocks if ref.id != block_id)
            if refs == settings.value.blocks:
                await self._blocks.get(block_id)  # an unknown block is told apart from one that is not attached
                return await self.get(agent_id)
            batch = Batch()
            self._put_settings(batch, settings, _with_blocks(settings.value, refs))
            block_rows.unlink(batch, block_id, agent_id)
            if await self._committed(batch, attempt):
                return await self.get(agent_id)
        raise _lost(agent_id)

    # -- blocks that agents have ---------------------------------------------------------------------------

    async def update_block(self, block_id: BlockId, changes: BlockChanges) -> Block:
        """Edit a block; a new label is written into the settings of every agent that has it, by the same commit.

        Raises NotFound, InvalidInput, LimitExceeded (also: too many agents for one commit), AlreadyExists, Conflict.
        """
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self._blocks.get(block_id)
            block = change_block(found.value, changes, self._world.wall.now_us())
            batch = Batch()
            block = block_rows.put_changed(batch, found, block)
            if block.label != found.value.label:
                await self._relabel(batch, block)
            if await self._committed(batch, attempt):
                return block
        raise Conflict(f"block '{block_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def delete_block(self, block_id: BlockId) -> None:
        """Take the block from every agent that has it, then remove it. Raises NotFound, Conflict."""
        for attempt in range(BLOCK_AGENTS_MAX // LINKS_PER_COMMIT + EDIT_ATTEMPTS_MAX):
            found = await self._blocks.get(block_id)
            agent_ids = await self._blocks.agents_of(block_id, limit=LINKS_PER_COMMIT)
            batch = Batch()
            if agent_ids:
                await self._unlink(batch, block_id, agent_ids)
            else:
                await self._identities.forget_block(batch, block_id)
                block_rows.remove(batch, found)
            if await self._committed(batch, attempt) and not agent_ids:
                return
        raise Conflict(f"block '{block_id}' is being attached by others while it is removed")

    # -- models --------------------------------------------------------------------------------------------

    async def find_model(self, handle: str) -> ModelInfo:
        """The model of that handle; NotFound names the handle and some of those that are configured."""
        try:
            return await self._models.find(handle)
        except NotFound:
            known = [info.handle for info in await self._models.list_models()][:HANDLES_NAMED_MAX]
            sentence = f"NOT_FOUND: Handle {handle[:200]} not found, must be one of {known}"
            raise NotFound(sentence, field="model") from None

    # -- inside --------------------------------------------------------------------------------------------

    def _settings(
        self,
        new: NewAgent,
        agent_id: AgentId,
        info: ModelInfo | None,
        blocks: Sequence[Block],
        tools: tuple[ToolId, ...],
        past: Past | None,
    ) -> AgentSettings:
        now_us = self._world.wall.now_us()
        known_tokens = CONTEXT_WINDOW_TOKENS_DEFAULT if info is None else info.context_tokens
        window = new.context_window_tokens
        refs = tuple(BlockRef(label=block.label, id=block.id) for block in blocks)
        check_labels(refs)
        settings = AgentSettings(
            id=agent_id,
            name=new.name,
            kind=new.kind,
            system=new.system,
            model=new.model,
            embedding=new.embedding,
            context_window_tokens=min(known_tokens, CONTEXT_WINDOW_TOKENS_MAX) if window is None else window,
            sampling=new.sampling,
            compaction=new.compaction,
            blocks=refs,
            tools=tools,
            tool_rules=new.tool_rules,
            speaks_with=new.speaks_with,
            heartbeats=new.heartbeats,
            tags=tuple(dict.fromkeys(new.tags)),
            description=new.description,
            metadata=new.metadata,
            timezone=new.timezone,
            hidden=new.hidden,
            files_open_max=new.files_open_max,
            file_view_chars=new.file_view_chars,
            conversations=past is not None,
            identities=tuple(dict.fromkeys(new.identity_ids)),
            lineage=new.lineage,
            variables=new.variables,
            forget_between_turns=new.forget_between_turns,
            secrets=new.secrets,
            wire=new.wire,
            folders=() if past is None else past.folders,
            created_at_us=now_us if past is None else past.created_at_us,
            updated_at_us=now_us if past is None else past.updated_at_us,
        )
        check_settings(settings)
        assert len(settings.blocks) == len(blocks)
        assert settings.context_window_tokens <= CONTEXT_WINDOW_TOKENS_MAX
        return settings

    def _put_new(self, batch: Batch, new: NewAgent, settings: AgentSettings, blocks: Sequence[Block]) -> AgentState:
        """Settings, state, index and the first messages; the state."""
        check_messages(new.messages)
        for message in new.messages:
            check_message_fields(message)
        agent_id, now_us = settings.id, settings.created_at_us
        system = StoredMessage(
            id=new_message_id(self._world.entropy),
            agent_id=agent_id,
            seq=0,
            kind="system",
            parts=(TextPart(text=compile_system(new.system, blocks)),),
            created_at_us=now_us,
        )
        messages = [system]
        for seq, message in enumerate(new.messages, start=1):
            given = {name: getattr(message, name) for name in ("kind", "parts", "otid", "sender_id", "name")}
            message_id = new_message_id(self._world.entropy)
            messages.append(StoredMessage(id=message_id, agent_id=agent_id, seq=seq, created_at_us=now_us, **given))
        for message in messages:
            append(batch, message)
        window = tuple(WindowEntry(id=message.id, seq=message.seq) for message in messages)
        state = AgentState(id=ThreadId(agent_id), version=1, next_seq=len(messages), window=window)
        assert [entry.seq for entry in window] == list(range(state.next_seq))
        assert messages[0].kind == "system", "a window begins with the system message"
        _put_agent(batch, settings, state)
        return state

    async def _found(self, agent_id: AgentId) -> Found[AgentSettings]:
        found = await self._records.get(AGENTS.at(agent_id))
        if found is None:
            raise not_found(agent_id)
        return found

    async def _blocks_named(self, settings: AgentSettings) -> list[Found[Block] | None]:
        founds = await self._blocks.get_many([ref.id for ref in settings.blocks])
        assert len(founds) == len(settings.blocks)
        return founds

    async def _blocks_found(self, block_ids: Sequence[BlockId]) -> list[Found[Block]]:
        """These blocks, each once. Raises NotFound, naming the first that is missing."""
        wanted = tuple(dict.fromkeys(block_ids))
        if len(wanted) > BLOCKS_PER_AGENT_MAX:
            raise LimitExceeded(
                f"block_ids: {len(wanted)} blocks are over the limit of {BLOCKS_PER_AGENT_MAX}",
                limit="BLOCKS_PER_AGENT_MAX",
                maximum=BLOCKS_PER_AGENT_MAX,
            )
        founds = await self._blocks.get_many(wanted)
        for block_id, found in zip(wanted, founds, strict=True):
            if found is None:
                raise NotFound(f"Block with id '{block_id}' not found", block_id=block_id)
        return [found for found in founds if found is not None]

    async def _edit(self, agent_id: AgentId, change: Change) -> None:
        """Change settings that concern no other record. What comes out equal is not written."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self._found(agent_id)
            changed = change(found.value)
            assert changed.blocks == found.value.blocks, "blocks change together with their links"
            if changed == found.value:
                return
            batch = Batch()
            self._put_settings(batch, found, changed)
            if await self._committed(batch, attempt):
                return
        raise _lost(agent_id)

    def _stamped(self, change: Change) -> Change:
        """`change`, with the time of the edit when it changes anything."""

        def stamp(now: AgentSettings) -> AgentSettings:
            changed = change(now)
            if changed == now:
                return now
            return msgspec.structs.replace(changed, updated_at_us=max(self._world.wall.now_us(), now.updated_at_us))

        return stamp

    def _put_settings(self, batch: Batch, found: Found[AgentSettings], changed: AgentSettings) -> None:
        check_settings(changed)
        batch.check(found)
        batch.put(AGENTS.at(changed.id), changed)

    async def _replace_blocks(self, agent_id: AgentId, block_ids: Sequence[BlockId]) -> None:
        """Exactly these blocks from now on, in this order."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            settings, blocks = await self._found(agent_id), await self._blocks_found(block_ids)
            had = {ref.id for ref in settings.value.blocks}
            refs = tuple(BlockRef(label=found.value.label, id=found.value.id) for found in blocks)
            if refs == settings.value.blocks:
                return
            assert settings.value.id == agent_id
            assert len(refs) <= BLOCKS_PER_AGENT_MAX
            batch = Batch()
            self._put_settings(batch, settings, _with_blocks(settings.value, refs))
            for found in blocks:
                if found.value.id not in had:
                    block_rows.attach(batch, found, agent_id)
            for block_id in sorted(had - {ref.id for ref in refs}):
                block_rows.unlink(batch, block_id, agent_id)
            if await self._committed(batch, attempt):
                return
        raise _lost(agent_id)

    async def _relabel(self, batch: Batch, block: Block) -> None:
        """The block's new label, in the settings of every agent that has it. The commit is bounded in bytes."""
        agent_ids = await self._blocks.agents_of(block.id)
        for found in await self._records.get_all([AGENTS.at(agent_id) for agent_id in agent_ids]):
            if found is None:
                continue  # its removal takes the link with it
            renamed = BlockRef(label=block.label, id=block.id)
            refs = tuple(renamed if ref.id == block.id else ref for ref in found.value.blocks)
            self._put_settings(batch, found, _with_blocks(found.value, refs))

    async def _unlink(self, batch: Batch, block_id: BlockId, agent_ids: Sequence[AgentId]) -> None:
        founds = await self._records.get_all([AGENTS.at(agent_id) for agent_id in agent_ids])
        for agent_id, found in zip(agent_ids, founds, strict=True):
            block_rows.unlink(batch, block_id, agent_id)
            if found is not None:
                refs = tuple(ref for ref in found.value.blocks if ref.id != block_id)
                self._put_settings(batch, found, _with_blocks(found.value, refs))

    async def _committed(self, batch: Batch, attempt: int) -> bool:
        """Whether the commit was applied; False: something checked has changed, look again."""
        try:
            await self._records.commit(batch)
        except Conflict:
            await stand_back(attempt, self._world.entropy)
            return False
        return True


def _put_settled(batch: Batch, settings: AgentSettings, past: Past) -> AgentState:
    """Settings, state and index of an agent whose messages are stored already; the state."""
    assert past.window and past.window[0].seq < past.next_seq, "a window begins with the system message"
    assert settings.id == past.id
    state = AgentState(
        id=ThreadId(past.id),
        version=1,
        next_seq=past.next_seq,
        window=past.window,
        last_run_at_us=past.last_run_at_us,
        last_run_ms=past.last_run_ms,
        last_stop_reason=past.last_stop_reason,
    )
    _put_agent(batch, settings, state)
    return state


def _put_agent(batch: Batch, settings: AgentSettings, state: AgentState) -> None:
    batch.check_absent(AGENTS.at(settings.id))
    batch.put(AGENTS.at(settings.id), settings)
    batch.put_new(STATES.at(settings.id), state)
    batch.put(AGENTS_BY_TIME.at(settings.created_at_us, settings.id), AgentIndex(id=settings.id))


def not_found(agent_id: AgentId) -> NotFound:
    """The error for an agent that is not there."""
    return NotFound(f"Agent with id '{agent_id}' not found", agent_id=agent_id)


def _with_blocks(settings: AgentSettings, refs: tuple[BlockRef, ...]) -> AgentSettings:
    check_labels(refs)
    return msgspec.structs.replace(settings, blocks=refs)


def _lost(agent_id: AgentId) -> Conflict:
    return Conflict(f"agent '{agent_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")
