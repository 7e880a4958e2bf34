"""The catalog: built-in and stored tools as one list, calls reach the right box or runner, long answers are clipped."""

import msgspec
import pytest
from msgspec import Raw, Struct

from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import AgentId, RunId, StepId, ToolId
from kelpie.storage.checked import CheckedStore
from kelpie.storage.collection import Collection
from kelpie.storage.memory import MemoryStore
from kelpie.storage.paging import Page
from kelpie.storage.records import Records
from kelpie.system import system_world
from kelpie.tools.function import ServedBox, serve_function
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest, clip_outcome
from kelpie.tools.toolbox import ToolCatalog, stored_tools
from kelpie_sim.tools import COUNT_UP, LOOK_UP, SET_VALUE, SIM_TOOLS, SimTools, always_answer, sim_tool

WORLD = system_world()
BUILTIN = sim_tool("built_in", '{"type":"object"}')


class CountingStore(MemoryStore):
    """Counts what is read."""

    reads = 0

    async def get(self, keys):
        self.reads += 1
        return await super().get(keys)


def a_collection(store: MemoryStore | None = None) -> Collection[Tool]:
    return stored_tools(Records(CheckedStore(store or MemoryStore(WORLD))), WORLD.entropy)


def a_catalog(boxes=(), memory=(), runners=None, store: MemoryStore | None = None) -> ToolCatalog:
    return ToolCatalog(boxes, memory, a_collection(store), runners or {})


def stored(number: int, name: str, **fields: object) -> Tool:
    tool = sim_tool(name, '{"type":"object"}')
    id = ToolId(f"tool-00000000-0000-4000-8000-00000000000{number}")
    return msgspec.structs.replace(tool, id=id, created_at_us=number, **{"kind": "custom", **fields})  # type: ignore[arg-type]


class Parrot:
    """A box with one tool, which answers with its arguments."""

    tool = sim_tool("parrot", '{"type":"object"}')

    def list_tools(self) -> list[Tool]:
        return [self.tool]

    async def call(self, request: ToolRequest) -> ToolOutcome:
        return ToolOutcome(text=bytes(request.arguments).decode())


def _request(tool: Tool, arguments: bytes = b"{}") -> ToolRequest:
    return ToolRequest(
        agent_id=AgentId("agent"),
        run_id=RunId("run"),
        step_id=StepId("step"),
        call_id="call",
        tool=tool,
        arguments=Raw(arguments),
    )


def test_tools_are_found_by_id_and_name_in_a_stable_order(run):
    """Built-in ones first, then the boxes in their order; none of that reads the store."""

    async def play() -> None:
        store = CountingStore(WORLD)
        catalog = a_catalog([SimTools(always_answer), Parrot()], [BUILTIN], store=store)
        assert catalog.builtin == (BUILTIN, *SIM_TOOLS, Parrot.tool)
        assert await catalog.find(COUNT_UP.id) is COUNT_UP
        assert await catalog.find_named("parrot") is Parrot.tool
        assert await catalog.present([Parrot.tool.id, LOOK_UP.id]) == (Parrot.tool, LOOK_UP)
        assert [catalog.is_memory(tool.name) for tool in catalog.builtin] == [True, False, False, False, False]
        assert store.reads == 0
        assert not catalog.is_memory("gone")
        assert await catalog.present([Parrot.tool.id, ToolId("tool-gone"), LOOK_UP.id]) == (Parrot.tool, LOOK_UP)
        with pytest.raises(NotFound):
            await catalog.find(ToolId("tool-gone"))
        with pytest.raises(NotFound):
            await catalog.find_named("gone")

    run(play())


def test_duplicates_and_bad_schemas_are_refused_when_it_is_made():
    """By id and by name, between boxes and built-in ones."""
    same_name = msgspec.structs.replace(LOOK_UP, id=ToolId("tool-other"))
    same_id = msgspec.structs.replace(LOOK_UP, name="other")
    for twice in (same_name, same_id):
        with pytest.raises(AlreadyExists):
            a_catalog([SimTools(always_answer)], [twice])
    with pytest.raises(AlreadyExists):
        a_catalog([Parrot(), Parrot()], [])
    with pytest.raises(InvalidInput):
        a_catalog([], [sim_tool("bad", '{"type":"string"}')])


def test_stored_tools_are_made_found_changed_and_removed(run):
    """Beside the built-in ones, with one read for all that an agent has; names are unique among both."""

    async def play() -> None:
        store = CountingStore(WORLD)
        catalog = a_catalog([Parrot()], [], store=store)
        one, two = stored(1, "one"), stored(2, "two")
        for tool in (one, two):
            assert await catalog.create(tool) == tool
        assert await catalog.find(one.id) == one and await catalog.find_named("two") == two
        store.reads = 0
        assert await catalog.present([two.id, Parrot.tool.id, one.id]) == (two, Parrot.tool, one)
        assert store.reads == 1
        changed = await catalog.edit(one.id, lambda now: msgspec.structs.replace(now, name="uno"))
        assert await catalog.named(["one", "uno", "parrot"]) == {"uno": changed, "parrot": Parrot.tool}
        for taken in ("uno", "parrot"):
            with pytest.raises(AlreadyExists):
                await catalog.create(stored(3, taken))
            with pytest.raises(AlreadyExists):
                await catalog.edit(two.id, lambda now: msgspec.structs.replace(now, name=taken))  # noqa: B023
        await catalog.delete(one.id)
        assert await catalog.present([two.id, one.id]) == (two,)
        for what in (catalog.delete(Parrot.tool.id), catalog.edit(Parrot.tool.id, lambda now: now)):
            with pytest.raises(InvalidInput, match="built in"):
                await what
        for bad in ("", "x" * 65):
            with pytest.raises(LimitExceeded):
                await catalog.create(stored(4, bad))
        with pytest.raises(InvalidInput):
            await catalog.create(stored(4, "four", parameters=Raw(b'{"type":"string"}')))

    run(play())


def test_a_stored_tool_does_not_stand_in_for_a_built_in_one_of_its_name(run):
    """Stored by an earlier release that had no such built-in tool: the agent is shown one tool of the name, or none."""

    async def play() -> None:
        store = MemoryStore(WORLD)
        await a_catalog(store=store).create(stored(1, "parrot"))
        catalog = a_catalog([Parrot()], store=store)
        assert await catalog.present([stored(1, "parrot").id, Parrot.tool.id]) == (Parrot.tool,)
        assert await catalog.find_named("parrot") is Parrot.tool

    run(play())


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 10])
def test_pages_go_through_built_in_and_stored_tools_alike(run, newest_first, limit):
    """Every page, from every cursor on either side, is the same slice of one list."""

    async def play() -> None:
        catalog = a_catalog([SimTools(always_answer)], [BUILTIN])
        made = [await catalog.create(stored(number, f"s{number}")) for number in (1, 2, 3)]
        whole = [*catalog.builtin, *made][:: -1 if newest_first else 1]
        cursors = [None, *range(len(whole))]
        for first in cursors:
            for last in cursors:
                after = None if first is None else whole[first].id
                before = None if last is None else whole[last].id
                page = Page(after=after, before=before, limit=limit, newest_first=newest_first)
                start = 0 if first is None else first + 1
                assert await catalog.page(page, lambda _: True) == whole[start:last][:limit], (first, last)
        some = Page(limit=limit, newest_first=newest_first)
        assert (
            await catalog.page(some, lambda tool: tool.name in ("s2", "look_up"))
            == [tool for tool in whole if tool.name in ("s2", "look_up")][:limit]
        )
        assert await catalog.count(lambda _: True) == 7
        assert await catalog.count(lambda tool: tool.name.startswith("s")) == 4

    run(play())


def test_call_reaches_the_box_and_clips(run):
    """The catalog runs tools of boxes; one of memory is a bug."""
    sim = SimTools(always_answer)
    catalog = a_catalog([sim, Parrot()], [BUILTIN])
    assert run(catalog.call(_request(SET_VALUE, b'{"name":"a","value":"b"}'))) == ToolOutcome(text="a is b")
    assert sim.values == {"a": "b"}
    short = msgspec.structs.replace(Parrot.tool, return_chars_max=5)
    assert run(catalog.call(_request(short, b'{"a":"bc"}'))).chars_total == 10
    with pytest.raises(AssertionError):
        run(catalog.call(_request(BUILTIN)))


def test_stored_tools_are_run_by_the_runner_of_their_kind(run):
    """And one of a kind without runner says so, to the model."""
    catalog = a_catalog(runners={"mcp": Parrot()})
    assert run(catalog.call(_request(stored(1, "far", kind="mcp"), b"{}"))) == ToolOutcome(text="{}")
    refused = run(catalog.call(_request(stored(2, "old", kind="langchain"))))
    assert refused == ToolOutcome(text="The tool 'old' is of a kind that this server cannot run.", ok=False)


class Desk(Struct):
    """What the function of a served box gets."""

    agent_id: AgentId


async def who_am_i(desk: Desk, /, greeting: str) -> ToolOutcome:
    """Tell.

    Args:
    greeting: A word.
    """
    return ToolOutcome(text=f"{greeting} {desk.agent_id}")


def test_a_served_box_knows_who_calls(run):
    """A box of functions, added after the catalogue was made."""
    catalog = a_catalog()
    served = serve_function(who_am_i, Desk, kind="builtin", title="Who am I")
    catalog.add_box(ServedBox([served], lambda request: Desk(request.agent_id)))
    tool = run(catalog.find_named("who_am_i"))
    assert run(catalog.call(_request(tool, b'{"greeting":"ahoy"}'))) == ToolOutcome(text="ahoy agent")
    with pytest.raises(AlreadyExists):
        catalog.add_box(ServedBox([served], lambda request: Desk(request.agent_id)))


def test_clipped_outcome_says_how_much_is_missing():
    """The rest of the outcome is as it was."""
    long = ToolOutcome(text="x" * 12, ok=False, stdout=("out",))
    note = "\n[... clipped: 10 of 12 characters are shown ...]"
    assert clip_outcome(long, 12) is long
    assert clip_outcome(long, 10) == ToolOutcome(text="x" * 10 + note, ok=False, stdout=("out",), chars_total=12)
    assert clip_outcome(clip_outcome(long, 10), 10) == clip_outcome(long, 10)
