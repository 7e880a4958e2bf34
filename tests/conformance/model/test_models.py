"""The suite of the seam `Models`: the offline model, both wires, and the simulated one pass it alike."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from kelpie.errors import NotFound
from kelpie.llm.messages import Delta, ModelMessage, ModelReply, ModelRequest, TextPart, ToolCallPart, ToolReturnPart
from kelpie.llm.model import ModelInfo, Models
from kelpie.llm.providers import ConfiguredModels
from kelpie.llm.transport import open_transport
from kelpie.system import NoMarks, SystemEntropy, system_world
from kelpie_sim.model import ModelFaults, SimModels

from ...unit.llm.build import joined, request, said, serving, told, tool


@contextlib.asynccontextmanager
async def opened(part: str) -> AsyncIterator[tuple[Models, str]]:
    """One part that claims to be a Models, and a handle that it knows."""
    if part == "rehearsed":
        models = ConfiguredModels(system_world(), open_transport(None), [])
        yield models, "kelpie/rehearsed"
        await models.close()
    elif part == "simulated":
        faults = ModelFaults(delay_s=lambda: 0.001, fails=lambda: False, garbage=lambda: False)
        yield SimModels(SystemEntropy(), NoMarks(), faults), "kelpie/simulated"
    else:
        async with serving(kind=part) as (models, _):
            yield models, "acme/scripted"


PARTS = pytest.mark.parametrize("part", ["rehearsed", "openai", "anthropic", "simulated"])
TOOLS = (tool("roll"), tool("toss"))


async def asked(models: Models, info: ModelInfo, *messages: ModelMessage | str) -> ModelReply:
    """Ask whole and streamed; the pieces must add up to the reply, and both replies must say the same."""
    deltas: list[Delta] = []
    question = msgspec.structs.replace(request(*messages, tools=TOOLS), model=info.model)
    streamed = await models.ask(info, question, deltas.append)
    assert joined(deltas) == told(streamed)
    whole = await models.ask(info, question, None)
    assert [_without_id(part) for part in whole.parts] == [_without_id(part) for part in streamed.parts]
    assert (whole.finish, whole.usage.output_tokens) == (streamed.finish, streamed.usage.output_tokens)
    return streamed


def _without_id(part) -> object:
    return msgspec.structs.replace(part, call_id="") if isinstance(part, ToolCallPart) else part


@PARTS
def test_a_known_handle_is_found_listed_and_usable(run, part) -> None:
    """Sizes are positive and the handle is the one that was asked for."""

    async def scenario() -> None:
        async with opened(part) as (models, handle):
            info = await models.find(handle)
            assert info.handle == handle == f"{info.provider}/{info.model}"
            assert 0 < info.output_tokens_max <= info.context_tokens
            assert handle in [one.handle for one in await models.list_models()]
            for unknown in ("nobody/nothing", "", "scripted"):
                with pytest.raises(NotFound):
                    await models.find(unknown)

    run(scenario())


@PARTS
def test_pieces_add_up_to_the_reply(run, part) -> None:
    """Text with odd spaces and characters; usage is counted."""

    async def scenario() -> None:
        async with opened(part) as (models, handle):
            info = await models.find(handle)
            reply = await asked(models, info, 'Reply with the message "  ünï  cödé\n\n🐕 "')
            assert reply.parts == (TextPart(text="  ünï  cödé\n\n🐕 "),)
            assert (reply.finish, reply.usage.output_tokens > 0) == ("stop", True)

    run(scenario())


@PARTS
def test_parallel_calls_their_returns_and_the_last_word(run, part) -> None:
    """A whole turn: two calls at once, a call after them, the reply."""

    async def scenario() -> None:
        async with opened(part) as (models, handle):
            info = await models.find(handle)
            history: list[ModelMessage | str] = [
                "Call the roll tool with sides 6 and call the toss tool, then call the roll tool with sides 20"
            ]
            wanted = [[("roll", '{"sides":6}'), ("toss", "{}")], [("roll", '{"sides":20}')]]
            for calls in wanted:
                reply = await asked(models, info, *history)
                parts = [part_ for part_ in reply.parts if isinstance(part_, ToolCallPart)]
                assert [(one.name, one.arguments) for one in parts] == calls
                assert reply.finish == "tool_calls"
                assert len({one.call_id for one in parts}) == len(parts)
                results = [ToolReturnPart(call_id=one.call_id, name=one.name, text="17", ok=True) for one in parts]
                history += [said("assistant", *reply.parts), said("tool", *results)]
            reply = await asked(models, info, *history)
            assert reply.parts == (TextPart(text="The tool returned: 17"),)
            assert reply.finish == "stop"

    run(scenario())


@PARTS
def test_malformed_arguments_arrive_as_the_model_wrote_them_or_as_an_object(run, part) -> None:
    """They are not an error of the call, and the history that holds them can be sent again."""

    async def scenario() -> None:
        async with opened(part) as (models, handle):
            info = await models.find(handle)
            reply = await models.ask(info, _request(info, 'Call the roll tool with {"sides": '), lambda delta: None)
            (call,) = reply.parts
            assert isinstance(call, ToolCallPart)
            assert call.arguments == '{"sides": '
            result = ToolReturnPart(call_id=call.call_id, name="roll", text="malformed", ok=False)
            history = ["Call the roll tool with x", said("assistant", call), said("tool", result)]
            again = await models.ask(info, _request(info, *history), None)
            assert again.parts == (TextPart(text="The tool returned: malformed"),)

    run(scenario())


def _request(info: ModelInfo, *messages: ModelMessage | str) -> ModelRequest:
    return msgspec.structs.replace(request(*messages, tools=TOOLS), model=info.model)


@PARTS
@pytest.mark.parametrize("streamed", [False, True])
def test_cancelling_ends_a_call_at_once_and_the_next_one_works(run, part, streamed) -> None:
    """Nothing is left behind that another call would trip over."""

    async def scenario() -> None:
        async with opened(part) as (models, handle):
            info = await models.find(handle)
            on_delta = (lambda delta: None) if streamed else None
            task = asyncio.ensure_future(models.ask(info, _request(info, "[slow-3000] " + "word " * 50), on_delta))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            reply = await models.ask(info, _request(info, "Reply with the message 'still here'"), on_delta)
            assert reply.parts == (TextPart(text="still here"),)

    run(scenario())


@PARTS
def test_many_calls_at_once_do_not_mix(run, part) -> None:
    """Each caller gets its own words."""

    async def scenario() -> None:
        async with opened(part) as (models, handle):
            info = await models.find(handle)

            async def one(number: int) -> None:
                deltas: list[Delta] = []
                question = _request(info, f"Reply with the message 'number {number}'")
                reply = await models.ask(info, question, deltas.append if number % 2 else None)
                assert told(reply) == [("TextDelta", f"number {number}")]
                assert joined(deltas) == (told(reply) if number % 2 else [])

            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(one(number))

    run(scenario())
