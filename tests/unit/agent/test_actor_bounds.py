"""Goal: what is too much is refused or shortened visibly, and never makes a turn that can neither go on nor end."""

import msgspec
import pytest

from kelpie.errors import LimitExceeded, ModelUnavailable, WindowOverflow
from kelpie.limits import MESSAGE_BYTES_MAX, RUN_INPUT_BYTES_MAX, STEP_RETURNS_BYTES_MAX
from kelpie.llm.messages import ModelReply, ModelRequest
from kelpie.memory.history import History
from kelpie.world import World
from tests.unit.actor.build import virtual
from tests.unit.agent.build import a_node, call_reply, check_run, history_of, state_of, text_reply


def long_reply(_request: ModelRequest) -> ModelReply:
    return text_reply("x" * (MESSAGE_BYTES_MAX + 1))


def test_a_reply_that_is_too_large_to_keep_fails_the_run_once_and_says_so() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            for reply in (long_reply, lambda _request: call_reply(600, arguments="{}" * 10)):
                node.outside.models.reply = reply
                run_id = await node.send(ann, "go")
                finished = await check_run(node.outside, node, ann, run_id)
                assert finished.stop_reason == "llm_api_error"
                assert finished.error is not None and finished.error.code == "limit_exceeded"
            assert len(node.outside.models.requests) == 2, "it is not asked for again"

    virtual(main)


def test_results_that_are_too_large_together_are_clipped_visibly() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.tools.values["x"] = "\x01" * 40_000 + "e" * 8_000
            replies = [call_reply(64, "look_up", '{"name":"x"}'), text_reply("done")]
            node.outside.models.reply = lambda _request: replies.pop(0)
            run_id = await node.send(ann, "go")
            assert (await check_run(node.outside, node, ann, run_id)).stop_reason == "end_turn"
            returns = (await history_of(node.outside, ann))[3]
            assert len(msgspec.json.encode(returns.parts)) <= STEP_RETURNS_BYTES_MAX + 64
            for part in returns.parts:
                assert part.chars_total == 48_000 and "clipped" in part.text  # type: ignore[union-attr]

    virtual(main)


def test_input_that_could_never_be_ended_is_refused_at_the_door() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            size = RUN_INPUT_BYTES_MAX // 3
            with pytest.raises(LimitExceeded) as refused:
                await node.send(ann, "x" * size, "y" * size, "z" * size)
            assert refused.value.fields["limit"] == "RUN_INPUT_BYTES_MAX"
            assert (await node.talk(ann, "x" * (size - 200), "y" * size))[1].stop_reason == "end_turn"

    virtual(main)


def test_a_window_that_cannot_be_summarised_grows_to_its_bound_and_then_refuses_but_reset_helps() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()

            def away(_request: ModelRequest) -> ModelReply:
                raise ModelUnavailable("away")

            node.outside.models.reply = away
            ended: list[str] = []
            with pytest.raises(LimitExceeded) as refused:
                for _ in range(40):
                    finished = (await node.talk(ann, *["short"] * 64))[1]
                    ended.append(finished.stop_reason)
            assert refused.value.fields["limit"] == "WINDOW_ENTRIES_MAX"
            assert ended == ["llm_api_error"] * 31
            node.outside.models.reply = lambda _request: text_reply("back")
            await node.door.reset(ann)
            assert (await node.talk(ann, "hello"))[1].stop_reason == "end_turn"

    virtual(main)


def test_a_long_window_is_summarised_when_the_model_is_back() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            for _ in range(16):
                await node.talk(ann, *["short"] * 64)
            window = [entry.seq for entry in (await state_of(node.outside, ann)).window]
            messages = await History(node.outside.records).get_many(ann, window)
            assert len(messages) < 1_000
            assert [message.kind for message in messages[:2]] == ["system", "summary"]
            assert window[2:] == sorted(window[2:])

    virtual(main)


def test_an_overflow_is_summarised_and_every_event_has_its_own_number() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            for at in range(6):
                await node.talk(ann, f"message {at}: " + "word " * 50)
            refusals = [True, False]

            def reply(request: ModelRequest) -> ModelReply:
                if request.tools and refusals and refusals.pop(0):
                    raise WindowOverflow("too long")
                return text_reply("ok") if request.tools else text_reply("a summary")

            node.outside.models.reply = reply
            run_id = await node.send(ann, "go on")
            finished = await check_run(node.outside, node, ann, run_id)
            run = [message.kind for message in await history_of(node.outside, ann) if message.run_id == run_id]
            assert finished.stop_reason == "end_turn"
            assert run[0] == "user" and run[-1] == "assistant" and "summary" in run
            assert finished.number == len(run)

    virtual(main)
