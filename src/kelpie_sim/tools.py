"""The outside world of tools, simulated: what was done there stays done when a node crashes.

There is one tool of each kind: `look_up` only reads, `set_value` may be repeated, `count_up` has an effect each time.
The world records every execution under its (run, step, call) key, so that a checker can ask whether an effect was
repeated although its tool does not allow that. How long a call takes, and how it ends, is injected.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec
from msgspec import Raw, Struct

from kelpie.tools.function import builtin_tool_id
from kelpie.tools.schema import check_arguments
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest

HANG_S = 10**9  # longer than any simulation


class Answers(Struct, frozen=True, kw_only=True):
    """The tool does its work after `after_ms`; its answer takes another `answer_ms` on the way back."""

    after_ms: int = 0
    answer_ms: int = 0


class Fails(Struct, frozen=True, kw_only=True):
    """The tool answers, after `after_ms`, that it failed, and has done nothing."""

    sentence: str
    after_ms: int = 0


class Hangs(Struct, frozen=True, kw_only=True):
    """The tool never answers; with `done` it has done its work all the same."""

    done: bool = False


Behaviour = Answers | Fails | Hangs
Behave = Callable[[ToolRequest], Behaviour]


class Execution(Struct, frozen=True, kw_only=True):
    """One begun call. `number` counts from 1; `outcome`: the tool's own view, not what the caller heard."""

    number: int
    key: tuple[str, str, str]  # run, step, call
    tool: str
    outcome: str  # begun, done, failed


class _LookUp(Struct, frozen=True):
    name: str


class _SetValue(Struct, frozen=True):
    name: str
    value: str


def always_answer(_request: ToolRequest) -> Behaviour:
    """Every call succeeds at once."""
    return Answers()


def sim_tool(name: str, parameters: str, *, read_only: bool = False, idempotent: bool = False) -> Tool:
    """A tool of the simulated world."""
    return Tool(
        id=builtin_tool_id(name),
        name=name,
        description=f"Simulated: {name.replace('_', ' ')}.",
        parameters=Raw(parameters.encode()),
        kind="mcp",
        read_only=read_only,
        idempotent=idempotent,
    )


LOOK_UP = sim_tool(
    "look_up",
    '{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}',
    read_only=True,
)
SET_VALUE = sim_tool(
    "set_value",
    '{"type":"object","properties":{"name":{"type":"string"},"value":{"type":"string"}},"required":["name","value"]}',
    idempotent=True,
)
COUNT_UP = sim_tool("count_up", '{"type":"object","properties":{},"required":[]}')
SIM_TOOLS = (LOOK_UP, SET_VALUE, COUNT_UP)


class SimTools:
    """A toolbox whose effects outlive the nodes that ask for them."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.values: dict[str, str] = {}
        self.count = 0
        self.executions: list[Execution] = []

    def list_tools(self) -> Sequence[Tool]:
        """The three tools."""
        return SIM_TOOLS

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Behave as injected; cancellation before the work is done leaves it undone."""
        assert request.tool in SIM_TOOLS, request.tool.name
        assert not isinstance(check_arguments(request.tool, bytes(request.arguments).decode()), str)
        at = self._begin(request)
        behaviour = self.behave(request)
        match behaviour:
            case Answers():
                await asyncio.sleep(behaviour.after_ms / 1_000)
                outcome = self._do(request, at)
                await asyncio.sleep(behaviour.answer_ms / 1_000)
                return outcome
            case Fails():
                await asyncio.sleep(behaviour.after_ms / 1_000)
                self._end(at, "failed")
                return ToolOutcome(text=behaviour.sentence, ok=False)
            case Hangs():
                if behaviour.done:
                    self._do(request, at)
                await asyncio.sleep(HANG_S)
                raise AssertionError("a hanging tool answered")
        assert_never(behaviour)

    def repeated(self) -> list[Execution]:
        """Executions of a tool that may not be repeated, under a key that had already been begun."""
        seen: set[tuple[str, str, str]] = set()
        wrong: list[Execution] = []
        repeatable = {tool.name for tool in SIM_TOOLS if tool.repeatable}
        for execution in self.executions:
            if execution.key in seen and execution.tool not in repeatable:
                wrong.append(execution)
            seen.add(execution.key)
        return wrong

    def _begin(self, request: ToolRequest) -> int:
        key = (request.run_id, request.step_id, request.call_id)
        number = len(self.executions) + 1
        self.executions.append(Execution(number=number, key=key, tool=request.tool.name, outcome="begun"))
        return number - 1

    def _end(self, at: int, outcome: str) -> None:
        assert self.executions[at].outcome == "begun"
        self.executions[at] = msgspec.structs.replace(self.executions[at], outcome=outcome)

    def _do(self, request: ToolRequest, at: int) -> ToolOutcome:
        """The tool's work, in one go."""
        self._end(at, "done")
        match request.tool.name:
            case "look_up":
                asked = msgspec.json.decode(request.arguments, type=_LookUp)
                return ToolOutcome(text=self.values.get(asked.name, "nothing"))
            case "set_value":
                told = msgspec.json.decode(request.arguments, type=_SetValue)
                self.values[told.name] = told.value
                return ToolOutcome(text=f"{told.name} is {told.value}")
            case "count_up":
                self.count += 1
                return ToolOutcome(text=str(self.count))
            case _:
                raise AssertionError(request.tool.name)
