"""The catalog: stable order, no duplicates, calls reach the right box, long answers are clipped visibly."""

import msgspec
import pytest
from msgspec import Raw

from kelpie.errors import AlreadyExists, InvalidInput, NotFound
from kelpie.ids import AgentId, RunId, StepId, ToolId
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest
from kelpie.tools.toolbox import ToolCatalog, clip_outcome
from kelpie_sim.tools import COUNT_UP, LOOK_UP, SET_VALUE, SIM_TOOLS, SimTools, always_answer, sim_tool

BUILTIN = sim_tool("built_in", '{"type":"object"}')


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


def test_tools_are_found_by_id_and_name_in_a_stable_order():
    """Built-in ones first, then the boxes in their order."""
    catalog = ToolCatalog([SimTools(always_answer), Parrot()], [BUILTIN])
    assert catalog.tools == (BUILTIN, *SIM_TOOLS, Parrot.tool)
    assert catalog.find(COUNT_UP.id) is COUNT_UP
    assert catalog.find_named("parrot") is Parrot.tool
    assert catalog.present([Parrot.tool.id, ToolId("tool-gone"), LOOK_UP.id]) == (Parrot.tool, LOOK_UP)
    assert [catalog.is_builtin(tool) for tool in catalog.tools] == [True, False, False, False, False]
    with pytest.raises(NotFound):
        catalog.find(ToolId("tool-gone"))
    with pytest.raises(NotFound):
        catalog.find_named("gone")


def test_duplicates_and_bad_schemas_are_refused_when_it_is_made():
    """By id and by name, between boxes and built-in ones."""
    same_name = msgspec.structs.replace(LOOK_UP, id=ToolId("tool-other"))
    same_id = msgspec.structs.replace(LOOK_UP, name="other")
    for twice in (same_name, same_id):
        with pytest.raises(AlreadyExists):
            ToolCatalog([SimTools(always_answer)], [twice])
    with pytest.raises(AlreadyExists):
        ToolCatalog([Parrot(), Parrot()], [])
    with pytest.raises(InvalidInput):
        ToolCatalog([], [sim_tool("bad", '{"type":"string"}')])


def test_call_reaches_the_box_and_clips(run):
    """The catalog runs tools of boxes; a built-in one is a bug."""
    sim = SimTools(always_answer)
    catalog = ToolCatalog([sim, Parrot()], [BUILTIN])
    assert run(catalog.call(_request(SET_VALUE, b'{"name":"a","value":"b"}'))) == ToolOutcome(text="a is b")
    assert sim.values == {"a": "b"}
    short = msgspec.structs.replace(Parrot.tool, return_chars_max=5)
    assert run(catalog.call(_request(short, b'{"a":"bc"}'))).chars_total == 10
    with pytest.raises(AssertionError):
        run(catalog.call(_request(BUILTIN)))


def test_clipped_outcome_says_how_much_is_missing():
    """The rest of the outcome is as it was."""
    long = ToolOutcome(text="x" * 12, ok=False, stdout=("out",))
    note = "\n[... clipped: 10 of 12 characters are shown ...]"
    assert clip_outcome(long, 12) is long
    assert clip_outcome(long, 10) == ToolOutcome(text="x" * 10 + note, ok=False, stdout=("out",), chars_total=12)
    assert clip_outcome(clip_outcome(long, 10), 10) == clip_outcome(long, 10)
