"""The tool `memory`: each command, each refusal, what is written, and commits that lose. A real store and roster."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from msgspec import Raw

from kelpie.agent.block_set import BlockSet
from kelpie.agent.drafts import NewBlock
from kelpie.agent.memory_tools import MEMORY_TOOLS, AnyEdit, MemoryDesk, memory_server, put_edits, use_memory_tool
from kelpie.errors import Conflict
from kelpie.ids import AgentId, RunId, StepId
from kelpie.limits import BLOCKS_PER_AGENT_MAX, TEXT_FIELD_CHARS_MAX
from kelpie.memory.blocks import BLOCKS, BlockChanges
from kelpie.memory.history import HistoryHits, HistoryQuery
from kelpie.storage.records import Batch
from kelpie.tools.tool import ToolOutcome, ToolRequest
from kelpie.world import World
from tests.unit.agent.build import Node, an_outside
from tests.unit.memory.build import a_world

TOOL = next(tool for tool in MEMORY_TOOLS if tool.name == "memory")


async def _no_search(query: HistoryQuery) -> HistoryHits:
    return HistoryHits(messages=(), searched=0, complete=True)


class Desk:
    """An agent with the blocks human and rules, the latter read-only, and its tool `memory`."""

    def __init__(self) -> None:
        self.world: World = a_world()[0]
        self.node = Node(an_outside(self.world))
        self.records = self.node.outside.records
        self.agent = AgentId("")

    async def furnish(self) -> None:
        new = (NewBlock(label="human", value="Bo"), NewBlock(label="rules", value="r", read_only=True))
        self.agent = await self.node.create(new_blocks=new)

    async def use(self, **arguments: object) -> tuple[ToolOutcome, list[AnyEdit]]:
        view = await self.node.roster.get(self.agent)
        founds = await self.records.get_all([BLOCKS.at(ref.id) for ref in view.settings.blocks])
        desk = MemoryDesk(
            blocks={found.value.label: found for found in founds if found is not None},
            block_set=BlockSet(self.records, self.world, self.agent),
            search=_no_search,
            now_us=self.world.wall.now_us(),
        )
        raw = Raw(msgspec.json.encode(arguments))
        request = ToolRequest(
            agent_id=self.agent, run_id=RunId("r"), step_id=StepId("s"), call_id="c", tool=TOOL, arguments=raw
        )
        return await use_memory_tool(memory_server(), request, desk)

    async def commit(self, edits: list[AnyEdit]) -> None:
        batch = Batch()
        put_edits(batch, edits, self.agent)
        await self.records.commit(batch)

    async def shown(self) -> list[tuple[str, str, str | None]]:
        """Label, value and description of each block; settings and blocks agree on the label."""
        view = await self.node.roster.get(self.agent)
        assert [ref.label for ref in view.settings.blocks] == [block.label for block in view.blocks]
        return [(block.label, block.value, block.description) for block in view.blocks]


def _with_desk(scenario: Callable[[Desk], Awaitable[None]]) -> None:
    async def main() -> None:
        desk = Desk()
        await desk.furnish()
        await scenario(desk)

    asyncio.run(main())


RULES = ("rules", "r", None)
COMMANDS = [
    ({"command": "create", "path": "/memories/x", "description": "d"}, [("human", "Bo", None), RULES, ("x", "", "d")]),
    (
        {"command": "create", "path": "a/b", "description": "d", "file_text": "t"},
        [("human", "Bo", None), RULES, ("a/b", "t", "d")],
    ),
    (
        {"command": "str_replace", "path": "/memories/human", "old_string": "o", "new_string": "ea"},
        [("human", "Bea", None), RULES],
    ),
    ({"command": "insert", "path": "human", "insert_text": "x"}, [("human", "Bo\nx", None), RULES]),
    ({"command": "insert", "path": "/human", "insert_text": "x", "insert_line": 0}, [("human", "x\nBo", None), RULES]),
    ({"command": "delete", "path": "/memories/human"}, [RULES]),
    (
        {"command": "rename", "old_path": "/memories/human", "new_path": "/memories/a/b"},
        [("a_b", "Bo", None), RULES],
    ),
    ({"command": "rename", "path": "/memories/human", "description": "d"}, [("human", "Bo", "d"), RULES]),
]


@pytest.mark.parametrize(("arguments", "after"), COMMANDS)
def test_each_command_changes_the_blocks_in_one_commit(arguments, after):
    """Nothing before the commit, all of it after; the block of a link is the one that the settings name."""

    async def scenario(desk: Desk) -> None:
        before = await desk.shown()
        ids = [ref.id for ref in (await desk.node.roster.get_settings(desk.agent)).blocks]
        outcome, edits = await desk.use(**arguments)
        assert outcome.ok, outcome.text
        assert await desk.shown() == before
        await desk.commit(edits)
        assert await desk.shown() == after
        kept = [ref.id for ref in (await desk.node.roster.get_settings(desk.agent)).blocks]
        blocks = desk.node.roster._blocks
        for block_id in {*ids, *kept}:
            assert await blocks.agents_of(block_id) == ([desk.agent] if block_id in kept else [])
            assert await desk.records.get(BLOCKS.at(block_id)) is not None, "a block given up is not destroyed"

    _with_desk(scenario)


REFUSED = [
    ({"command": "create", "path": "x"}, "Nothing was changed: create needs path and description."),
    (
        {"command": "create", "path": "/memories/human", "description": "d"},
        "Nothing was changed: there is another block with the label 'human'.",
    ),
    ({"command": "create", "path": "/memories/", "description": "d"}, "printable text"),
    ({"command": "create", "path": "x", "description": "d" * (TEXT_FIELD_CHARS_MAX + 1)}, "over the limit"),
    ({"command": "str_replace", "path": "human", "old_string": "x"}, "needs path, old_string and new_string"),
    ({"command": "insert", "path": "human"}, "needs path and insert_text"),
    ({"command": "insert", "path": "rules", "insert_text": "x"}, "read-only"),
    ({"command": "delete"}, "needs path"),
    ({"command": "delete", "path": "/memories/rules"}, "The block 'rules' is read-only"),
    ({"command": "delete", "path": "/memories/x"}, "You have no memory block with the label 'x'"),
    ({"command": "rename", "old_path": "human"}, "needs old_path and new_path, or path and description"),
    ({"command": "rename", "old_path": "rules", "new_path": "x"}, "The block 'rules' is read-only"),
    ({"command": "rename", "old_path": "human", "new_path": "rules"}, "another block with the label 'rules'"),
    ({"command": "rename", "path": "rules", "description": "x"}, "read-only"),
    ({"command": "rename", "path": "human", "description": "d" * (TEXT_FIELD_CHARS_MAX + 1)}, "over the limit"),
    ({"command": "view", "path": "human"}, "memory was not called"),
]


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED)
def test_what_cannot_be_done_is_said_and_changes_nothing(arguments, sentence):
    async def scenario(desk: Desk) -> None:
        outcome, edits = await desk.use(**arguments)
        assert (outcome.ok, edits) == (False, [])
        assert sentence in outcome.text

    _with_desk(scenario)


def test_a_shared_block_keeps_its_label():
    """Another agent knows it by its label; it may be given up all the same."""

    async def scenario(desk: Desk) -> None:
        (human, _) = (await desk.node.roster.get_settings(desk.agent)).blocks
        await desk.node.create(new_blocks=(), block_ids=(human.id,))
        outcome, edits = await desk.use(command="rename", old_path="human", new_path="x")
        assert (outcome.text, edits) == (
            "Nothing was changed: other agents have this block too, and know it by its label.",
            [],
        )
        outcome, edits = await desk.use(command="delete", path="human")
        await desk.commit(edits)
        assert (outcome.ok, await desk.shown()) == (True, [RULES])

    _with_desk(scenario)


def test_an_agent_has_no_more_blocks_than_it_may():
    async def scenario(desk: Desk) -> None:
        many = tuple(NewBlock(label=f"b{at}", value="") for at in range(BLOCKS_PER_AGENT_MAX))
        desk.agent = await desk.node.create(new_blocks=many)
        outcome, edits = await desk.use(command="create", path="x", description="d")
        assert (outcome.ok, edits) == (False, [])
        assert f"over the limit of {BLOCKS_PER_AGENT_MAX}" in outcome.text

    _with_desk(scenario)


@pytest.mark.parametrize(
    "arguments",
    [
        {"command": "create", "path": "x", "description": "d"},
        {"command": "delete", "path": "human"},
        {"command": "rename", "old_path": "human", "new_path": "x"},
    ],
)
def test_a_commit_that_comes_second_is_lost_whole(arguments):
    """A person gives the agent another block after the tool has read its settings: theirs stays, nothing is half."""

    async def scenario(desk: Desk) -> None:
        _, edits = await desk.use(**arguments)
        (human, _) = (await desk.node.roster.get_settings(desk.agent)).blocks
        await desk.node.roster.detach_block(desk.agent, human.id)
        with pytest.raises(Conflict):
            await desk.commit(edits)
        assert await desk.shown() == [RULES]

    _with_desk(scenario)


@pytest.mark.parametrize("shared", [True, False])
def test_a_rename_is_lost_when_the_block_was_edited_or_given_to_another(shared):
    """Both write the block, which the commit checks: no agent is left with the old label."""

    async def scenario(desk: Desk) -> None:
        _, edits = await desk.use(command="rename", old_path="human", new_path="x")
        (human, _) = (await desk.node.roster.get_settings(desk.agent)).blocks
        if shared:
            await desk.node.create(new_blocks=(), block_ids=(human.id,))
        else:
            await desk.node.roster.update_block(human.id, BlockChanges(value="theirs"))
        with pytest.raises(Conflict):
            await desk.commit(edits)
        assert await desk.shown() == [("human", "Bo" if shared else "theirs", None), RULES]

    _with_desk(scenario)
