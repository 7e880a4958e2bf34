"""Agents as records: one commit makes them, two reads show them, edits win or lose whole."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import pytest

from kelpie.agent.drafts import DEFAULT_SYSTEM, AgentChanges, NewAgent, NewBlock
from kelpie.agent.listing import AgentFilter, Listing
from kelpie.agent.memory_tools import MEMORY_TOOLS
from kelpie.agent.roster import Roster
from kelpie.agent.state import AGENTS, InputMessage, WindowEntry
from kelpie.agent.view import AgentView
from kelpie.errors import AlreadyExists, Conflict, InvalidInput, KelpieError, LimitExceeded, NotFound
from kelpie.ids import AgentId, BlockId, ToolId
from kelpie.limits import BLOCKS_PER_AGENT_MAX, EDIT_ATTEMPTS_MAX
from kelpie.llm.messages import Sampling, TextPart
from kelpie.memory.blocks import BLOCK_LINKS, BlockChanges, Blocks
from kelpie.memory.history import History
from kelpie.memory.render import compile_system
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records
from kelpie.storage.store import Check, Row, Write
from kelpie.system import system_world
from kelpie.tools.toolbox import ToolCatalog, stored_tools
from tests.unit.api.knocking import MODEL, ScriptedModels

Run = Callable[[Any], Any]
UNKNOWN = AgentId("agent-00000000-0000-4000-8000-000000000000")
UNKNOWN_BLOCK = BlockId("block-00000000-0000-4000-8000-000000000000")
TOOLS = {tool.name: tool.id for tool in MEMORY_TOOLS}


class CountingStore(MemoryStore):
    """Counts round trips, and lets `intrude` act just before a commit, so many times."""

    def __init__(self) -> None:
        super().__init__(system_world())
        self.gets = 0
        self.intrude: Callable[[], Awaitable[Any]] | None = None
        self.intrusions = 0

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        self.gets += 1
        return await super().get(keys)

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        if self.intrude is not None and self.intrusions > 0:
            self.intrusions -= 1
            intrude, self.intrude = self.intrude, None
            await intrude()
            self.intrude = intrude
        return await super().commit(checks, writes)


class Desk:
    """The rooms over one store."""

    def __init__(self) -> None:
        world = system_world()
        self.store = CountingStore()
        self.records = Records(CheckedStore(self.store))
        self.blocks = Blocks(self.records, world)
        self.tools = ToolCatalog((), MEMORY_TOOLS, stored_tools(self.records, world.entropy), {})
        self.roster = Roster(self.records, self.blocks, self.tools, ScriptedModels(), world)
        self.listing = Listing(self.records, self.blocks)
        self.history = History(self.records)

    async def agent(self, **fields: Any) -> AgentView:
        return await self.roster.create(new(**fields))

    async def links(self, block_id: BlockId) -> list[AgentId]:
        return [found.value.agent_id for found in await self.records.scan(BLOCK_LINKS, block_id, limit=100)]


def new(**fields: Any) -> NewAgent:
    return NewAgent(**{"name": "a", "kind": "any_agent", "model": MODEL, **fields})


def refs(view: AgentView) -> list[tuple[str, str]]:
    return [(ref.label, ref.id) for ref in view.settings.blocks]


def as_read(made: AgentView, read: AgentView) -> AgentView:
    """The agent as it was made, with the versions of the rows that it was read from."""
    assert len(read.versions) == 2 + len(made.blocks) and min(read.versions) > 0 == len(made.versions)
    return msgspec.structs.replace(made, versions=read.versions)


def test_an_agent_is_made_whole(run: Run) -> None:
    """Settings, state, blocks, links, index and the system message are there, and agree."""

    async def scenario() -> None:
        desk = Desk()
        shared = await desk.blocks.store(desk.blocks.build(label="shared", value="S"))
        made = await desk.agent(
            new_blocks=(NewBlock(label="human", value="H"),),
            block_ids=(shared.id,),
            tool_names=("memory_insert",),
            optional_tool_names=("memory_insert", "no_such_tool"),
            messages=(InputMessage(kind="user", parts=(TextPart(text="hi"),), otid="o"),),
            tags=("x", "x", "y"),
        )
        read = await desk.roster.get(made.settings.id)
        assert read == as_read(made, read)
        assert [block.label for block in read.blocks] == ["human", "shared"]
        assert read.settings.tools == (TOOLS["memory_insert"],) and read.settings.tags == ("x", "y")
        assert read.settings.context_window_tokens == 128_000
        stored = await desk.history.list(made.settings.id, limit=10)
        assert [(one.kind, one.seq, one.otid) for one in stored] == [("system", 0, None), ("user", 1, "o")]
        assert stored[0].parts == (TextPart(text=compile_system(DEFAULT_SYSTEM, read.blocks)),)
        window = tuple(WindowEntry(id=one.id, seq=one.seq) for one in stored)
        assert (read.state.window, read.state.next_seq, read.state.version) == (window, 2, 1)
        assert [await desk.links(block.id) for block in read.blocks] == [[made.settings.id]] * 2
        assert await desk.listing.agents(AgentFilter(), Page(limit=5)) == [read]

    run(scenario())


def test_reading_an_agent_takes_two_round_trips_and_one_without_blocks(run: Run) -> None:
    async def scenario() -> list[int]:
        desk = Desk()
        made = await desk.agent(new_blocks=(NewBlock(label="human", value="H"),))
        counts = []
        for with_blocks in (True, False):
            desk.store.gets = 0
            await desk.roster.get(made.settings.id, with_blocks=with_blocks)
            counts.append(desk.store.gets)
        return counts

    assert run(scenario()) == [2, 1]


REFUSED: list[tuple[dict[str, Any], type[KelpieError], str]] = [
    (
        {"model": "openai/nope"},
        NotFound,
        "NOT_FOUND: Handle openai/nope not found, must be one of ['openai/gpt-4o-mini",
    ),
    ({"tool_ids": (ToolId("tool-x"),)}, NotFound, "tool-x"),
    ({"tool_names": ("web_search",)}, InvalidInput, "Tools not found by name: ['web_search']"),
    ({"block_ids": (UNKNOWN_BLOCK,)}, NotFound, UNKNOWN_BLOCK),
    ({"name": " "}, InvalidInput, "name"),
    ({"name": "x" * 257}, LimitExceeded, "name: 257 characters are over the limit of 256"),
    ({"system": "x" * 200_001}, LimitExceeded, "system"),
    ({"description": "x" * 10_001}, LimitExceeded, "description"),
    ({"tags": tuple(str(at) for at in range(65))}, LimitExceeded, "tags"),
    ({"tags": ("",)}, InvalidInput, "tags"),
    ({"timezone": "Mars/Base"}, InvalidInput, "timezone"),
    ({"timezone": "../etc/passwd"}, InvalidInput, "timezone"),
    ({"context_window_tokens": 10}, InvalidInput, "context_window_limit"),
    ({"context_window_tokens": 10**9}, LimitExceeded, "context_window_limit"),
    ({"metadata": msgspec.Raw(b'"' + b"x" * 64_000 + b'"')}, LimitExceeded, "metadata"),
    ({"new_blocks": (NewBlock(label="a", value="1"), NewBlock(label="a", value="2"))}, AlreadyExists, "'a'"),
    ({"new_blocks": (NewBlock(label="a", value="1234", limit_chars=3),)}, LimitExceeded, "limit is 3"),
    ({"messages": (InputMessage(kind="user", parts=(TextPart(text=""),)),)}, InvalidInput, "empty content in"),
    ({"messages": (InputMessage(kind="user", parts=(TextPart(text="x" * 400_001),)),)}, LimitExceeded, "messages"),
]


@pytest.mark.parametrize(("fields", "kind", "words"), REFUSED)
def test_what_cannot_be_made_is_refused_and_nothing_is_stored(
    run: Run, fields: dict[str, Any], kind: type[KelpieError], words: str
) -> None:
    async def scenario() -> tuple[int, int]:
        desk = Desk()
        with pytest.raises(kind) as caught:
            await desk.agent(**fields)
        assert words in caught.value.sentence
        return await desk.listing.count(), await desk.blocks.count()

    assert run(scenario()) == (0, 0)


def test_an_edit_changes_what_it_names_and_keeps_the_rest(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        made = await desk.agent(description="d", tags=("x",))
        changes = AgentChanges(name="b", tags=("y",), sampling=Sampling(temperature=0.5))
        changed = await desk.roster.update(made.settings.id, changes)
        expected = msgspec.structs.replace(
            made.settings,
            name="b",
            tags=("y",),
            sampling=Sampling(temperature=0.5),
            updated_at_us=changed.settings.updated_at_us,
        )
        assert (changed.settings, changed.state) == (expected, made.state)
        with pytest.raises(NotFound):
            await desk.roster.update(UNKNOWN, changes)
        with pytest.raises(NotFound):
            await desk.roster.update(made.settings.id, AgentChanges(model="openai/nope"))
        with pytest.raises(LimitExceeded):
            await desk.roster.update(made.settings.id, AgentChanges(name="x" * 257))

    run(scenario())


def test_edits_that_meet_are_both_kept_and_an_endless_rival_is_a_conflict(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        made = await desk.agent()
        agent_id = made.settings.id

        async def rival() -> None:
            found = await desk.records.get(AGENTS.at(agent_id))
            assert found is not None
            batch = Batch()
            batch.put(AGENTS.at(agent_id), msgspec.structs.replace(found.value, description="rival's"))
            await desk.records.commit(batch)

        desk.store.intrude, desk.store.intrusions = rival, 1
        changed = await desk.roster.update(agent_id, AgentChanges(name="mine"))
        assert (changed.settings.name, changed.settings.description) == ("mine", "rival's")
        desk.store.intrusions = EDIT_ATTEMPTS_MAX
        with pytest.raises(Conflict):
            await desk.roster.update(agent_id, AgentChanges(name="never"))
        assert (await desk.roster.get(agent_id)).settings.name == "mine"

    run(scenario())


def test_a_block_is_attached_once_and_detached(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        agent_id = (await desk.agent(new_blocks=(NewBlock(label="human", value="H"),))).settings.id
        block, clash = [await desk.blocks.store(desk.blocks.build(label=label, value="v")) for label in ("b", "human")]
        first = await desk.roster.attach_block(agent_id, block.id)
        again = await desk.roster.attach_block(agent_id, block.id)
        assert first == again and [label for label, _ in refs(first)] == ["human", "b"]
        assert await desk.links(block.id) == [agent_id]
        with pytest.raises(AlreadyExists):
            await desk.roster.attach_block(agent_id, clash.id)
        assert await desk.links(clash.id) == []
        gone = await desk.roster.detach_block(agent_id, block.id)
        assert [label for label, _ in refs(gone)] == ["human"] and await desk.links(block.id) == []
        assert await desk.roster.detach_block(agent_id, block.id) == gone
        for call in (desk.roster.attach_block, desk.roster.detach_block):
            with pytest.raises(NotFound):
                await call(agent_id, UNKNOWN_BLOCK)
            with pytest.raises(NotFound):
                await call(UNKNOWN, block.id)

    run(scenario())


def test_an_agent_has_a_bounded_number_of_blocks(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        many = tuple(NewBlock(label=str(at), value="") for at in range(BLOCKS_PER_AGENT_MAX))
        made = await desk.agent(new_blocks=many)
        one_more = await desk.blocks.store(desk.blocks.build(label="more", value="v"))
        with pytest.raises(LimitExceeded):
            await desk.roster.attach_block(made.settings.id, one_more.id)
        read = await desk.roster.get(made.settings.id)
        assert read == as_read(made, read)

    run(scenario())


def test_tools_are_attached_once_and_detached(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        agent_id = (await desk.agent()).settings.id
        tool = TOOLS["memory_insert"]
        first = await desk.roster.attach_tool(agent_id, tool)
        assert first.settings.tools == (tool,)
        assert await desk.roster.attach_tool(agent_id, tool) == first
        assert (await desk.roster.detach_tool(agent_id, tool)).settings.tools == ()
        assert (await desk.roster.detach_tool(agent_id, tool)).settings.tools == ()
        with pytest.raises(NotFound):
            await desk.roster.attach_tool(agent_id, ToolId("tool-unknown"))

    run(scenario())


def test_naming_blocks_in_an_edit_replaces_all_of_them(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        made = await desk.agent(new_blocks=(NewBlock(label="old", value="H"),))
        new_blocks = [desk.blocks.build(label=label, value="v") for label in ("kept", "added")]
        kept, added = [await desk.blocks.store(block) for block in new_blocks]
        await desk.roster.attach_block(made.settings.id, kept.id)
        changed = await desk.roster.update(made.settings.id, AgentChanges(block_ids=(added.id, kept.id)))
        assert refs(changed) == [("added", added.id), ("kept", kept.id)]
        ids = (made.blocks[0].id, kept.id, added.id)
        assert [await desk.links(block_id) for block_id in ids] == [[], [made.settings.id], [made.settings.id]]

    run(scenario())


def test_a_new_label_is_written_into_every_agent_that_has_the_block(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        block = await desk.blocks.store(desk.blocks.build(label="old", value="v"))
        agents = [await desk.agent(block_ids=(block.id,)) for _ in range(3)]
        clashing = await desk.agent(new_blocks=(NewBlock(label="taken", value=""),), block_ids=(block.id,))
        renamed = await desk.roster.update_block(block.id, BlockChanges(label="new", value="w"))
        assert (renamed.label, renamed.value) == ("new", "w")
        for view in agents:
            assert refs(await desk.roster.get(view.settings.id)) == [("new", block.id)]
        assert await desk.roster.get_block(agents[0].settings.id, "new") == renamed
        with pytest.raises(NotFound):
            await desk.roster.get_block(agents[0].settings.id, "old")
        with pytest.raises(AlreadyExists):
            await desk.roster.update_block(block.id, BlockChanges(label="taken"))
        assert refs(await desk.roster.get(clashing.settings.id))[1] == ("new", block.id)

    run(scenario())


def test_a_deleted_block_is_taken_from_all_agents_even_one_that_gets_it_meanwhile(run: Run) -> None:
    async def scenario() -> None:
        desk = Desk()
        block = await desk.blocks.store(desk.blocks.build(label="b", value="v"))
        ids = [(await desk.agent(block_ids=(block.id,))).settings.id for _ in range(20)]
        late = (await desk.agent()).settings.id
        desk.store.intrude, desk.store.intrusions = lambda: desk.roster.attach_block(late, block.id), 1
        await desk.roster.delete_block(block.id)
        for agent_id in (*ids, late):
            assert refs(await desk.roster.get(agent_id)) == []
        assert await desk.links(block.id) == []
        with pytest.raises(NotFound):
            await desk.roster.delete_block(block.id)

    run(scenario())


def test_two_agents_edit_at_once(run: Run) -> None:
    """Eight concurrent attachments of different blocks to one agent: none is lost."""

    async def scenario() -> None:
        desk = Desk()
        agent_id = (await desk.agent()).settings.id
        blocks = [await desk.blocks.store(desk.blocks.build(label=f"b{at}", value="v")) for at in range(8)]
        async with asyncio.TaskGroup() as group:
            for block in blocks:
                group.create_task(desk.roster.attach_block(agent_id, block.id))
        assert sorted(label for label, _ in refs(await desk.roster.get(agent_id))) == [f"b{at}" for at in range(8)]

    run(scenario())
