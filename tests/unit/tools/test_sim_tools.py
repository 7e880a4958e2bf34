"""The simulated tools: effects stay, executions are recorded, endings are injected, forbidden repeats are seen."""

import asyncio

import pytest
from msgspec import Raw

from kelpie.ids import AgentId, RunId, StepId
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest
from kelpie_sim.tools import (
    COUNT_UP,
    LOOK_UP,
    SET_VALUE,
    Answers,
    Behaviour,
    Execution,
    Fails,
    Hangs,
    SimTools,
    always_answer,
)


def _request(tool: Tool, arguments: bytes = b"{}", call_id: str = "call") -> ToolRequest:
    return ToolRequest(
        agent_id=AgentId("agent"),
        run_id=RunId("run"),
        step_id=StepId("step"),
        call_id=call_id,
        tool=tool,
        arguments=Raw(arguments),
    )


def test_each_tool_does_its_work_and_leaves_a_record(run):
    """Reading, setting and counting."""

    async def check() -> None:
        tools = SimTools(always_answer)
        set_it = _request(SET_VALUE, b'{"name":"a","value":"b"}', "1")
        assert await tools.call(set_it) == ToolOutcome(text="a is b")
        assert await tools.call(_request(LOOK_UP, b'{"name":"a"}', "2")) == ToolOutcome(text="b")
        assert await tools.call(_request(LOOK_UP, b'{"name":"z"}', "3")) == ToolOutcome(text="nothing")
        assert await tools.call(_request(COUNT_UP, call_id="4")) == ToolOutcome(text="1")
        assert tools.executions[3] == Execution(number=4, key=("run", "step", "4"), tool="count_up", outcome="done")
        assert tools.repeated() == []

    run(check())


@pytest.mark.parametrize(
    ("behaviour", "outcome", "count"),
    [
        (Answers(after_ms=60_000), "begun", 0),
        (Answers(answer_ms=60_000), "done", 1),
        (Hangs(), "begun", 0),
        (Hangs(done=True), "done", 1),
        (Fails(sentence="no", after_ms=60_000), "begun", 0),
    ],
)
def test_given_up_call_leaves_what_was_done_by_then(run, behaviour: Behaviour, outcome, count):
    """A caller that stops waiting cannot know; the record does."""

    async def check() -> None:
        tools = SimTools(lambda _request: behaviour)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await tools.call(_request(COUNT_UP))
        assert ([one.outcome for one in tools.executions], tools.count) == ([outcome], count)

    run(check())


def test_failure_is_an_outcome_without_effect(run):
    """Said by the tool, not raised."""
    tools = SimTools(lambda _request: Fails(sentence="no"))
    assert run(tools.call(_request(COUNT_UP))) == ToolOutcome(text="no", ok=False)
    assert (tools.executions[0].outcome, tools.count) == ("failed", 0)


def test_only_forbidden_repeats_are_reported(run):
    """The same key again: allowed for reading and setting, not for counting; another key is another call."""

    async def check() -> None:
        tools = SimTools(always_answer)
        for tool, arguments in (
            (LOOK_UP, b'{"name":"a"}'),
            (SET_VALUE, b'{"name":"a","value":"b"}'),
            (COUNT_UP, b"{}"),
        ):
            for _ in range(2):
                await tools.call(_request(tool, arguments, tool.name))
        await tools.call(_request(COUNT_UP, call_id="other"))
        assert [(one.number, one.tool) for one in tools.repeated()] == [(6, "count_up")]

    run(check())
