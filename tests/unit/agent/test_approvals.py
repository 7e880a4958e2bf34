"""Goal: an allowed call runs once, a denied one never, whatever happens in between.

Method: agents on a node, whose store fails and which is exchanged for another one.
"""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from kelpie.agent.approvals import NOTHING_WAITS
from kelpie.agent.rules import ApprovalRule
from kelpie.agent.state import ClientTool, InputMessage, RunOptions
from kelpie.agent.turn import DENIED, WITHDRAWN
from kelpie.errors import AnswerAwaited, InvalidInput, LimitExceeded, OutcomeUnknown, Unavailable
from kelpie.ids import AgentId, RunId
from kelpie.llm.messages import ImagePart, ToolReturnPart, VerdictPart
from kelpie.world import World
from kelpie_sim.tools import Answers
from tests.unit.actor.build import Fault, marks_of, running, virtual
from tests.unit.agent.build import COUNT, Node, a_node, an_outside, check_run, history_of, said, state_of, tell, until

BOTH = (
    "Call the count_up tool and call the set_value tool with name 'x' and value '1' then reply with the message 'done'"
)
RULES = {"tool_rules": (ApprovalRule(tool="count_up"),)}
WEATHER = ClientTool(name="weather", description="", parameters=msgspec.Raw(b'{"type":"object","properties":{}}'))


async def asked(
    node: Node, ann: AgentId, text: str = COUNT, options: RunOptions | None = None
) -> tuple[RunId, list[str]]:
    """A run that ended with calls that wait; their ids."""
    run_id = await node.send(ann, text, options=options)
    finished = await check_run(node.outside, node, ann, run_id)
    assert finished.stop_reason == "requires_approval" and finished.error is None
    awaiting = (await state_of(node.outside, ann)).awaiting
    assert awaiting is not None and awaiting.run_id == run_id
    return run_id, [pending.call.call_id for pending in awaiting.calls if pending.call.asks]


def verdicts(ids: Sequence[str], *, approve: bool = True, reason: str | None = None) -> InputMessage:
    parts = tuple(VerdictPart(call_id=call_id, approve=approve, reason=reason) for call_id in ids)
    return InputMessage(kind="approval", parts=parts)


async def answer(node: Node, ann: AgentId, *messages: InputMessage, options: RunOptions | None = None) -> RunId:
    return await node.door.send(ann, messages, options or RunOptions(), key=None)


def test_an_allowed_call_runs_once_and_a_repeat_of_the_answer_is_the_same_request() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            _, ids = await asked(node, ann)
            assert node.outside.tools.executions == [] and (await node.door.get_run(_)).status == "completed"
            run_id = await answer(node, ann, verdicts(ids))
            assert await answer(node, ann, verdicts(ids)) == run_id
            finished = await check_run(node.outside, node, ann, run_id)
            assert (finished.stop_reason, finished.steps) == ("end_turn", 1)
            assert await answer(node, ann, verdicts(ids)) == run_id
            assert node.outside.tools.count == 1
            state = await state_of(node.outside, ann)
            assert (state.awaiting, state.turn, state.queue) == (None, None, ())
            with pytest.raises(InvalidInput, match="answered already, and otherwise"):
                await answer(node, ann, verdicts(ids, approve=False))

    virtual(main)


def test_a_denied_call_never_runs_and_the_model_is_told_why() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            _, ids = await asked(node, ann)
            await check_run(node.outside, node, ann, await answer(node, ann, verdicts(ids, approve=False, reason="no")))
            assert node.outside.tools.executions == []
            told = tell(await history_of(node.outside, ann))
            assert told[-2:] == [f"tool: count_up failed: {DENIED} Their reason: no", "assistant: counted"]

    virtual(main)


def test_calls_beside_one_that_asks_wait_with_it() -> None:
    """And what the client says besides comes behind the results."""

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            _, ids = await asked(node, ann, BOTH)
            assert len(ids) == 1 and node.outside.tools.values == {}
            run_id = await answer(node, ann, verdicts(ids), *said("Reply with the message 'next'"))
            await check_run(node.outside, node, ann, run_id)
            assert (node.outside.tools.count, node.outside.tools.values) == (1, {"x": "1"})
            told = tell(await history_of(node.outside, ann))
            assert told[-3:] == [
                "tool: count_up -> 1; set_value -> x is 1",
                "user: Reply with the message 'next'",
                "assistant: next",
            ]

    virtual(main)


def test_the_client_s_own_tool_is_answered_with_what_it_returned() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            options = RunOptions(client_tools=(WEATHER,))
            text = "Call the weather tool then reply with the message 'fine'"
            _, (call_id,) = await asked(node, ann, text, options)
            with pytest.raises(InvalidInput, match="answered with what it returned"):
                await answer(node, ann, verdicts([call_id]))
            given = ToolReturnPart(call_id=call_id, name="", text="sunny", ok=True)
            run_id = await answer(node, ann, InputMessage(kind="approval", parts=(given,)), options=options)
            await check_run(node.outside, node, ann, run_id)
            assert tell(await history_of(node.outside, ann))[-2:] == ["tool: weather -> sunny", "assistant: fine"]

    virtual(main)


def test_nothing_else_is_taken_while_calls_wait_but_what_was_accepted_before_is_kept() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            node.outside.models.delay_ms = 50
            first = await node.send(ann, COUNT)
            second = await node.send(ann, "Reply with the message 'second'")
            await node.door.finish(first)
            awaiting = (await state_of(node.outside, ann)).awaiting
            assert awaiting is not None
            with pytest.raises(AnswerAwaited, match=f"waiting for approval.*run_id={first}"):
                await node.send(ann, "hi")
            assert (await node.door.get_run(second)).status == "created"
            third = await answer(node, ann, verdicts([awaiting.calls[0].call.call_id]))
            await node.door.finish(second)
            order = [message.run_id for message in await history_of(node.outside, ann)][1:]
            assert list(dict.fromkeys(order)) == [first, third, second]

    virtual(main)


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ((VerdictPart(call_id="x", approve=True),), "Invalid tool call IDs. Expected"),
        ((), "Invalid tool call IDs"),
        ((VerdictPart(call_id="", approve=True, request_id="message-x"),), "Invalid approval request ID"),
    ],
)
def test_wrong_answers_are_refused_and_change_nothing(parts: tuple[VerdictPart, ...], sentence: str) -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            with pytest.raises(InvalidInput, match=NOTHING_WAITS[:30]):
                await answer(node, ann, verdicts(["a"]))
            _, ids = await asked(node, ann)
            before = await state_of(node.outside, ann)
            with pytest.raises(InvalidInput, match=sentence):
                await answer(node, ann, InputMessage(kind="approval", parts=parts))
            assert await state_of(node.outside, ann) == before

    virtual(main)


def test_the_older_form_is_one_verdict_on_all_calls_of_the_message() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            await asked(
                node, ann, "Call the count_up tool and call the count_up tool then reply with the message 'two'"
            )
            awaiting = (await state_of(node.outside, ann)).awaiting
            assert awaiting is not None
            verdict = VerdictPart(call_id="", approve=True, request_id=awaiting.message_id)
            message = InputMessage(kind="approval", parts=(verdict,))
            run_id = await answer(node, ann, message)
            await check_run(node.outside, node, ann, run_id)
            assert await answer(node, ann, message) == run_id
            assert node.outside.tools.count == 2

    virtual(main)


def test_cancelling_takes_what_waits_away_and_lets_others_begin() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            node.outside.models.delay_ms = 50
            first = await node.send(ann, COUNT)
            second = await node.send(ann, "Reply with the message 'second'")
            await node.door.finish(first)
            assert await node.door.cancel(ann, [first]) == {first: "cancelled"}
            await check_run(node.outside, node, ann, second)
            told = tell(await history_of(node.outside, ann))
            assert told[3:] == [
                f"tool: count_up failed: {WITHDRAWN}",
                "user: Reply with the message 'second'",
                "assistant: second",
            ]
            assert node.outside.tools.count == 0

    virtual(main)


def test_reset_forgets_what_waits() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(**RULES)
            await asked(node, ann)
            await node.door.reset(ann)
            state = await state_of(node.outside, ann)
            assert (state.awaiting, len(state.window)) == (None, 1)
            _, finished = await node.talk(ann, "Reply with the message 'hi'")
            assert finished.stop_reason == "end_turn"

    virtual(main)


def test_an_agent_that_forgets_keeps_its_window_while_calls_wait() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(forget_between_turns=True, **RULES)
            _, ids = await asked(node, ann)
            assert len((await state_of(node.outside, ann)).window) == 3
            await check_run(node.outside, node, ann, await answer(node, ann, verdicts(ids)))
            assert len((await state_of(node.outside, ann)).window) == 1

    virtual(main)


def test_pictures_that_are_too_large_are_refused() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            _, (call_id,) = await asked(node, ann, "Call the weather tool", RunOptions(client_tools=(WEATHER,)))
            large = ImagePart(media_type="image/png", data="x" * 200_000)
            part = ToolReturnPart(call_id=call_id, name="", text="", ok=True, images=(large,))
            with pytest.raises(LimitExceeded, match="pictures that a tool returned"):
                await answer(node, ann, InputMessage(kind="approval", parts=(part,)))

    virtual(main)


async def answer_until_taken(nodes: list[Node], ann: AgentId, ids: Sequence[str]) -> RunId:
    """A client that repeats its answer until it is told a run."""
    for _ in range(100):
        try:
            return await answer(nodes[-1], ann, verdicts(ids))
        except (Unavailable, OutcomeUnknown):
            await asyncio.sleep(0.05)
    raise AssertionError("no node ever answered")


@pytest.mark.parametrize("fault", list(Fault))
def test_any_fault_at_any_commit_of_an_answer_runs_the_call_once_at_most(fault: Fault) -> None:
    """The answer is repeated without a key until it is taken; the call's effect is never had twice."""
    played = 0
    for number in range(1, 5):

        async def main(world: World, number: int = number) -> int:
            outside = an_outside(world)
            outside.tools.behave = lambda _request: Answers(after_ms=3, answer_ms=3)
            nodes = [Node(outside)]
            async with running(nodes[0].host):
                ann = await nodes[0].create(**RULES)
                _, ids = await asked(nodes[0], ann)
                outside.faulty.faults = {outside.faulty.commits + number: fault}
                run_id = await answer_until_taken(nodes, ann, ids)
                assert (await check_run(outside, nodes[0], ann, run_id)).stop_reason == "end_turn"
                assert outside.tools.repeated() == [] and outside.tools.count <= 1
                return outside.tools.count

        played += virtual(main)
    assert played >= 3, "it was mostly run"


def test_what_waits_survives_the_node_and_the_answer_is_taken_by_another_one() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        first = Node(outside)
        async with running(first.host):
            ann = await first.create(**RULES)
            _, ids = await asked(first, ann)
        second = Node(outside)
        async with running(second.host):
            run_id = await answer(second, ann, verdicts(ids))
            await until(lambda: outside.tools.count == 1)
        third = Node(outside)
        async with running(third.host):
            assert (await check_run(outside, third, ann, run_id)).stop_reason == "end_turn"
            assert await answer(third, ann, verdicts(ids)) == run_id
        assert outside.tools.count == 1
        assert marks_of(world).counts.get("an answer to waiting calls was repeated", 0) >= 1

    virtual(main)
