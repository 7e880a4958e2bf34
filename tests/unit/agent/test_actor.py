"""Goal: an agent serves its messages one after another, says what it does, and stops when it is told to."""

import asyncio
import logging

import msgspec
import pytest

from kelpie.agent.effects import Finish
from kelpie.agent.events import DeltaEvent, FinishedEvent
from kelpie.agent.state import AGENT_RUNS, STATES, InputMessage, RunOptions
from kelpie.agent.turn import CANCELLED, POISONED
from kelpie.errors import ActivationLost, Busy, ModelUnavailable, NotFound
from kelpie.ids import AgentId, RunId
from kelpie.limits import (
    ACTIVATION_RESTARTS_MAX,
    TOOL_CALLS_PER_STEP_MAX,
    TURNS_QUEUED_MAX,
)
from kelpie.llm.messages import ModelReply, ModelRequest, TextDelta, TextPart
from kelpie.storage.records import Batch
from kelpie.tools.tool import ToolRequest
from kelpie.world import World
from kelpie_sim.tools import Answers, Behaviour, Hangs
from tests.unit.actor.build import marks_of, virtual
from tests.unit.agent.build import (
    COUNT,
    TEA,
    a_node,
    block_values,
    call_reply,
    check_run,
    history_of,
    rows_about,
    said,
    state_of,
    tell,
    text_reply,
    until,
)


def test_a_plain_turn() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, "Reply with the message 'hi'")
            finished = await check_run(node.outside, node, ann, run_id)
            assert (finished.stop_reason, finished.steps, finished.error) == ("end_turn", 1, None)
            assert finished.usage.output_tokens > 0
            run = await node.door.get_run(run_id)
            assert (run.status, run.stop_reason, run.steps, run.events) == ("completed", "end_turn", 1, 2)
            told = tell(await history_of(node.outside, ann))
            assert told[1:] == ["user: Reply with the message 'hi'", "assistant: hi"]
            state = await state_of(node.outside, ann)
            assert (state.turn, state.queue, state.last_stop_reason) == (None, (), "end_turn")
            assert [entry.seq for entry in state.window] == [0, 1, 2]

    virtual(main)


def test_a_memory_tool_changes_the_block_with_its_result_and_the_next_step_sees_it() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, TEA)
            await check_run(node.outside, node, ann, run_id)
            assert await block_values(node.outside, node, ann) == ["Name: Bo\nlikes tea"]
            told = tell(await history_of(node.outside, ann))
            assert told[2:] == [
                'assistant: memory_insert({"label":"human","new_string":"likes tea"})',
                "tool: memory_insert -> Name: Bo\nlikes tea",
                "assistant: noted",
            ]
            first, second = node.outside.models.requests
            assert ("likes tea" in first.system, "likes tea" in second.system) == (False, True)
            assert "likes tea" in told[0], "the history's system message is what the model saw last"

    virtual(main)


def test_all_tools_of_a_reply_run_beside_each_other_within_bounds_and_answer_in_order() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            open_now: list[int] = [0, 0]

            def behave(request: ToolRequest) -> Behaviour:
                open_now[0] = 1 + sum(each.outcome == "begun" for each in node.outside.tools.executions) - 1
                open_now[1] = max(open_now)
                return Answers(after_ms=100 - len(node.outside.tools.executions))

            node.outside.tools.behave = behave
            replies = [call_reply(TOOL_CALLS_PER_STEP_MAX + 2), text_reply("done")]
            node.outside.models.reply = lambda _request: replies.pop(0)
            run_id = await node.send(ann, "go")
            await check_run(node.outside, node, ann, run_id)
            returns = (await history_of(node.outside, ann))[3].parts
            assert [part.call_id for part in returns] == [f"c{at}" for at in range(66)]  # type: ignore[union-attr]
            assert [part.ok for part in returns] == [True] * 64 + [False] * 2  # type: ignore[union-attr]
            assert open_now[1] == 8
            assert node.outside.tools.count == TOOL_CALLS_PER_STEP_MAX

    virtual(main)


def test_messages_are_served_one_after_another_in_the_order_of_their_acceptance() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 500
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(node.send(ann, f"Reply with the message '{at}'")) for at in range(9)]
            statuses = [(await node.door.get_run(task.result())).status for task in tasks]
            assert statuses.count("running") == 1 and statuses.count("created") == 8
            for task in tasks:
                await check_run(node.outside, node, ann, task.result())
            accepted = [run.value.id for run in await node.outside.records.scan(AGENT_RUNS, ann, limit=20)]
            history = await history_of(node.outside, ann)
            assert [message.run_id for message in history[1::2]] == [message.run_id for message in history[2::2]]
            assert sorted(accepted) == sorted({message.run_id or "" for message in history[1:]})
            words = tell(history)[1:]
            assert [words[at + 1] for at in range(0, 18, 2)] == [
                "assistant: " + words[at].split("'")[1] for at in range(0, 18, 2)
            ]

    for seed in range(3):
        virtual(main, seed=seed, order=None)


def test_a_full_queue_answers_busy_and_accepts_again_when_one_has_ended() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 500
            runs = [await node.send(ann, "hello") for _ in range(TURNS_QUEUED_MAX + 1)]
            with pytest.raises(Busy) as refused:
                await node.send(ann, "one more")
            assert refused.value.fields["limit"] == "TURNS_QUEUED_MAX"
            await node.door.finish(runs[0])
            await asyncio.sleep(0.1)
            runs.append(await node.send(ann, "one more"))
            for run_id in runs:
                assert (await node.door.finish(run_id))[1].stop_reason == "end_turn"

    virtual(main)


# -- cancelling ---------------------------------------------------------------------------------------------


def test_cancel_while_the_model_is_asked() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 60_000
            run_id = await node.send(ann, "hello")
            await until(lambda: node.outside.models.open == 1)
            assert await node.door.cancel(ann, [run_id]) == {run_id: "cancelled"}
            await asyncio.sleep(0.01)
            assert node.outside.models.open == 0, "the effect ends with its turn"
            assert (await check_run(node.outside, node, ann, run_id)).stop_reason == "cancelled"
            node.outside.models.delay_ms = 1
            assert (await node.talk(ann, "again"))[1].stop_reason == "end_turn"
            assert await node.door.cancel(ann, [run_id]) == {run_id: "cancelled"}, "again: it is so already"

    virtual(main)


def test_cancel_while_tools_run_gives_each_call_a_result() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.tools.behave = lambda request: Answers() if request.call_id == "c1" else Hangs()
            node.outside.models.reply = lambda _request: call_reply(12)
            run_id = await node.send(ann, "go")
            await until(lambda: any(each.outcome == "done" for each in node.outside.tools.executions))
            await asyncio.sleep(0.05)
            begun = len(node.outside.tools.executions)
            assert await node.door.cancel(ann, None) == {run_id: "cancelled"}
            await asyncio.sleep(0.5)
            assert len(node.outside.tools.executions) == begun, "calls that waited for their place are not made"
            await check_run(node.outside, node, ann, run_id)
            returns = (await history_of(node.outside, ann))[-1].parts
            assert [part.text for part in returns] == [CANCELLED, "1", *[CANCELLED] * 10]  # type: ignore[union-attr]
            node.outside.models.reply = lambda _request: text_reply("fine")
            node.outside.tools.behave = lambda _request: Answers()
            assert (await node.talk(ann, "again"))[1].stop_reason == "end_turn"

    virtual(main)


def test_cancel_what_waits_leaves_what_runs_and_the_other_way_round() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 1_000
            runs = [await node.send(ann, str(at)) for at in range(4)]
            assert await node.door.cancel(ann, [runs[2], runs[0]]) == {runs[0]: "cancelled", runs[2]: "cancelled"}
            ended = {run_id: (await node.door.finish(run_id))[1].stop_reason for run_id in runs}
            assert list(ended.values()) == ["cancelled", "end_turn", "cancelled", "end_turn"]
            dropped = await node.door.get_run(runs[2])
            assert (dropped.status, dropped.events) == ("cancelled", 1)
            assert [message.run_id for message in (await history_of(node.outside, ann))[1:]] == [
                runs[0],
                runs[1],
                runs[1],
                runs[3],
                runs[3],
            ]
            with pytest.raises(NotFound):
                await node.door.cancel(ann, [RunId("run-unknown")])

    virtual(main)


def test_control_does_not_wait_for_the_model() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 60_000
            await node.send(ann, "hello")
            begun = asyncio.get_running_loop().time()
            with pytest.raises(Busy):
                await node.door.reset(ann)
            await node.door.cancel(ann, None)
            assert asyncio.get_running_loop().time() - begun < 0.1

    virtual(main)


# -- reset and delete ---------------------------------------------------------------------------------------


def test_reset_empties_the_window_and_keeps_the_history() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            await node.talk(ann, "first")
            await node.door.reset(ann)
            assert [entry.seq for entry in (await state_of(node.outside, ann)).window] == [0]
            assert len(await history_of(node.outside, ann)) == 3
            await node.talk(ann, "second")
            assert [len(request.messages) for request in node.outside.models.requests] == [1, 1]
            assert [entry.seq for entry in (await state_of(node.outside, ann)).window] == [0, 3, 4]

    virtual(main)


def test_an_agent_that_forgets_sees_only_the_new_message_each_time() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create(forget_between_turns=True)
            for text in (TEA, COUNT, "third"):
                await node.talk(ann, text)
            firsts = [request for request in node.outside.models.requests if len(request.messages) == 1]
            assert len(firsts) == 3
            assert [entry.seq for entry in (await state_of(node.outside, ann)).window] == [0]

    virtual(main)


@pytest.mark.parametrize("doing", ["nothing", "asking", "running tools", "waiting"])
def test_delete_whatever_it_does_leaves_no_row_and_no_effect(doing: str) -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann, bob = await node.create(), await node.create(name="bob")
            await node.talk(ann, TEA)
            runs = [await node.send(ann, "with a key", key="k")]
            await node.door.finish(runs[0])
            if doing != "nothing":
                node.outside.models.delay_ms = 60_000 if doing == "asking" else 1
                node.outside.tools.behave = lambda _request: Hangs()
                runs += [await node.send(ann, COUNT) for _ in range(3 if doing == "waiting" else 1)]
                await asyncio.sleep(0.1)
            followed = asyncio.ensure_future(node.door.finish(runs[-1]))
            begun_s = asyncio.get_running_loop().time()
            await node.door.delete(ann)
            with pytest.raises(NotFound):
                await node.roster.get_settings(ann)
            for late in (node.send(ann, "hello"), node.door.delete(ann), node.door.reset(ann)):
                with pytest.raises(NotFound):
                    await late
            assert asyncio.get_running_loop().time() - begun_s < 1, "nobody waits for what no longer matters"
            await asyncio.sleep(3)
            assert rows_about(node, ann, *runs) == []
            assert node.outside.models.open == 0
            if doing == "nothing":
                await followed
            else:
                with pytest.raises(NotFound):
                    await followed
            assert node.host.active == 0
            node.outside.models.delay_ms = 1
            assert (await node.talk(bob, "hello"))[1].stop_reason == "end_turn"

    virtual(main)


# -- failures -----------------------------------------------------------------------------------------------


def test_a_model_that_fails_ends_the_run_with_its_words() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()

            def away(_request: ModelRequest) -> ModelReply:
                raise ModelUnavailable("the provider is on holiday")

            node.outside.models.reply = away
            run_id = await node.send(ann, "hello")
            finished = await check_run(node.outside, node, ann, run_id)
            assert finished.stop_reason == "llm_api_error"
            assert finished.error == msgspec.structs.replace(
                POISONED, code="model_unavailable", sentence="the provider is on holiday"
            )
            assert (await node.door.get_run(run_id)).status == "failed"

    virtual(main)


def test_a_step_that_crashes_its_agent_is_given_up_and_the_agent_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()

            def bug(_request: ModelRequest) -> ModelReply:
                raise AssertionError("a bug")

            node.outside.models.reply = bug
            run_id = await node.send(ann, "poison")
            finished = await check_run(node.outside, node, ann, run_id)
            assert (finished.stop_reason, finished.error) == ("error", POISONED)
            assert len(node.outside.models.requests) == ACTIVATION_RESTARTS_MAX + 1
            node.outside.models.reply = lambda _request: text_reply("fine")
            assert (await node.talk(ann, "hello"))[1].stop_reason == "end_turn"
            assert Finish(stop_reason="error", error=POISONED).error == finished.error

    virtual(main)


def test_two_agents_write_one_block_at_the_same_time_and_both_edits_stand() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            shared = (await node.roster.get_settings(ann)).blocks[0].id
            bob = await node.create(name="bob", new_blocks=(), block_ids=(shared,))
            texts = [TEA, TEA.replace("tea", "cake")]
            async with asyncio.TaskGroup() as group:
                sends = [group.create_task(node.send(*each)) for each in zip((ann, bob), texts, strict=True)]
            for agent, sent in zip((ann, bob), sends, strict=True):
                await check_run(node.outside, node, agent, sent.result())
            (value,) = await block_values(node.outside, node, ann)
            assert sorted(value.split("\n")) == ["Name: Bo", "likes cake", "likes tea"]
            lost = "a memory tool lost against another writer and ran again"
            conflicts.append(marks_of(world).counts.get(lost, 0))

    conflicts: list[int] = []
    for seed in range(8):
        virtual(main, seed=seed, order=None)
    assert any(conflicts)


def test_a_stranger_s_state_is_nobody_s_and_leaves_no_owner_behind() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ghost = AgentId("agent-ghost")
            with pytest.raises(NotFound):
                await node.send(ghost, "hello")
            ann = await node.create()
            check = node.host._kind.check

            async def vanish(address: AgentId) -> None:
                await check(address)  # type: ignore[arg-type]
                batch = Batch()
                batch.delete(STATES.at(address))
                await node.outside.records.commit(batch)

            node.host._kind.check = vanish  # type: ignore[method-assign]
            with pytest.raises(NotFound):
                await node.send(ann, "hello")
            await asyncio.sleep(0.1)
            assert [key for key in rows_about(node, ann) if key.startswith(b"owner")] == []

    virtual(main)


def test_previews_come_before_the_message_and_bear_its_id() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 50
            run_id = await node.send(ann, "Reply with the message 'hi'", options=RunOptions(stream_tokens=True))
            events = [event async for event in node.door.follow(run_id, after=0, deltas=True)]
            delta, message, finished = events
            assert isinstance(delta, DeltaEvent) and delta.delta == TextDelta(part=0, text="hi")
            assert not isinstance(message, DeltaEvent | FinishedEvent)
            assert (delta.message_id, delta.step_id) == (message.message.id, message.message.step_id)
            assert isinstance(finished, FinishedEvent)

    virtual(main)


def test_an_actor_falls_asleep_only_when_nothing_is_under_way() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            sending = asyncio.ensure_future(node.send(ann, "hello"))
            seen: list[bool] = []
            while not sending.done():
                seen += [each.idle for each in node.host._activations.values()]
                await asyncio.sleep(0.0001)
            assert seen and not any(seen), "a call that is being served is something under way"
            run_id = await sending
            assert await node.host.drain(10_000) is True
            assert (await node.door.get_run(run_id)).status == "completed"

    virtual(main)


def test_lost_while_serving_is_told_as_such() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            await node.talk(ann, "hello")
            message = InputMessage(kind="user", parts=(TextPart(text="x"),))
            assert said("x") == (message,)
            sending = asyncio.ensure_future(node.send(ann, "again"))
            await asyncio.sleep(0.001)
            task = next(iter(node.host._tasks.values()))
            task.cancel()
            run_id = await sending
            assert (await node.door.finish(run_id))[1].stop_reason == "end_turn"
            assert ActivationLost.__mro__[1].__name__ == "OutcomeUnknown"
            assert tell(await history_of(node.outside, ann)).count("user: again") == 1

    virtual(main)
