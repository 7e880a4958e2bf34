"""Goal: our codecs and our scripted server agree with the official SDKs.

Method: the SDKs ask the scripted server, whole and streamed; what they understand must equal what our codecs
decode from the same kind of request; and the bodies that our codecs encode pass the SDKs' own parameter types.
"""

import json
from collections.abc import Iterable

import anthropic
import openai
import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import TypeAdapter, ValidationError

from kelpie.llm.anthropic import AnthropicWire
from kelpie.llm.messages import ModelReply, ReasoningPart, Sampling, TextPart, ToolCallPart
from kelpie.llm.openai import OpenAIWire
from kelpie_sim.model_server import ModelServer

from .build import info, request, returned, said, serving, tool
from .test_openai import CONVERSATION

SCRIPTS = [
    "hello there",
    "Reply with the message 'alpha beta  gamma'",
    "Call the roll tool with sides 6 and call the roll tool with sides 20",
    "Reply with 'wait' and call the roll tool",
    "[fault-blank]",
]


def simplified(reply: ModelReply) -> list[tuple]:
    """A reply as kinds and contents, arguments parsed, ids left out (the server counts them)."""
    simple: list[tuple] = []
    for part in reply.parts:
        match part:
            case TextPart(text=text):
                simple.append(("text", text))
            case ReasoningPart(text=text):
                simple.append(("thinking", text))
            case ToolCallPart(name=name, arguments=arguments):
                simple.append(("call", name, json.loads(arguments)))
    return simple


async def ours(kind: str, text: str, streamed: bool) -> tuple[list[tuple], str]:
    """What our side makes of the script."""
    sampling = Sampling(reasoning_tokens_max=1_024) if kind == "anthropic" else Sampling()
    async with serving(kind=kind) as (models, _):
        asked = request(text, tools=(tool(),), sampling=sampling)
        reply = await models.ask(info(kind=kind), asked, (lambda delta: None) if streamed else None)
        return simplified(reply), reply.finish


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_anthropic_sdk_understands_the_same(run, text, streamed) -> None:
    """Text, thinking, parallel calls, nothing at all."""

    async def theirs() -> tuple[list[tuple], str]:
        server = await ModelServer().open("127.0.0.1", 0)
        async with server:
            base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            client = anthropic.AsyncAnthropic(api_key="k", base_url=base_url, max_retries=0)
            asked = {
                "model": "scripted",
                "max_tokens": 2_000,
                "thinking": {"type": "enabled", "budget_tokens": 1_024},
                "messages": [{"role": "user", "content": text}],
            }
            if streamed:
                async with client.messages.stream(**asked) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**asked)
            await client.close()
        assert message.usage.output_tokens > 0
        blocks = [
            ("text", block.text)
            if block.type == "text"
            else ("thinking", block.thinking)
            if block.type == "thinking"
            else ("call", block.name, block.input)
            for block in message.content
        ]
        return blocks, {"end_turn": "stop", "tool_use": "tool_calls"}[message.stop_reason]

    assert run(theirs()) == run(ours("anthropic", text, streamed))


@pytest.mark.parametrize("text", SCRIPTS)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_openai_sdk_understands_the_same(run, text, streamed) -> None:
    """Text, parallel calls, nothing at all."""

    async def theirs() -> tuple[list[tuple], str]:
        server = await ModelServer().open("127.0.0.1", 0)
        async with server:
            base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            client = openai.AsyncOpenAI(api_key="k", base_url=base_url, max_retries=0)
            asked = {"model": "scripted", "messages": [{"role": "user", "content": text}]}
            if streamed:
                options = {"include_usage": True}
                async with client.chat.completions.stream(**asked, stream_options=options) as stream:
                    completion = await stream.get_final_completion()
            else:
                completion = await client.chat.completions.create(**asked)
            await client.close()
        assert completion.usage is not None and completion.usage.completion_tokens > 0
        message = completion.choices[0].message
        parts = [("text", message.content)] if message.content else []
        for call in message.tool_calls or ():
            parts.append(("call", call.function.name, json.loads(call.function.arguments)))
        return parts, completion.choices[0].finish_reason

    assert run(theirs()) == run(ours("openai", text, streamed))


@pytest.mark.parametrize("streamed", [False, True])
def test_the_sdks_take_the_error_statuses_for_what_they_are(run, streamed) -> None:
    """Our server's errors have the providers' form."""

    async def scenario() -> None:
        server = await ModelServer().open("127.0.0.1", 0)
        async with server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            one = anthropic.AsyncAnthropic(api_key="k", base_url=address, max_retries=0)
            other = openai.AsyncOpenAI(api_key="k", base_url=f"{address}/v1", max_retries=0)
            messages = [{"role": "user", "content": "hi"}]
            with pytest.raises(anthropic.AuthenticationError, match="scripted fault"):
                await one.messages.create(model="fault-401", max_tokens=9, messages=messages, stream=streamed)
            with pytest.raises(openai.RateLimitError, match="scripted fault"):
                await other.chat.completions.create(model="fault-429", messages=messages, stream=streamed)
            assert [model.id async for model in one.models.list(limit=3)] == [
                model.id async for model in other.models.list()
            ]
            await one.close()
            await other.close()

    run(scenario())


FULL = request(
    *CONVERSATION,
    said("assistant", ReasoningPart(text="hm", signature="s", provider="acme"), "done"),
    said("tool", returned("gone")),
    tools=(tool("roll"), tool("toss")),
    sampling=Sampling(output_tokens_max=100, reasoning_tokens_max=1_024, parallel_tool_calls=False),
    model="claude-haiku-4-5",
)


def taken(adapter: TypeAdapter, body: dict) -> object:
    """`body` as the type takes it: fields that the type does not know are missing. Raises ValidationError."""
    return whole(adapter.validate_python(body))


def whole(value: object) -> object:
    """Run through lazy iterators, which validate only then."""
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    if isinstance(value, str) or not isinstance(value, Iterable):
        return value
    return [whole(one) for one in value]


@pytest.mark.parametrize("stream", [False, True])
def test_what_we_encode_is_what_the_sdks_would_send(stream) -> None:
    """The bodies pass the SDKs' parameter types, and have no field that these do not know."""
    anthropic_type = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
    openai_type = CompletionCreateParamsStreaming if stream else CompletionCreateParamsNonStreaming
    for params, wire in (
        (anthropic_type, AnthropicWire()),
        (openai_type, OpenAIWire("https://api.openai.com/v1")),
    ):
        body = json.loads(wire.encode(FULL, info("claude-haiku-4-5"), stream=stream))
        adapter = TypeAdapter(params)
        assert taken(adapter, body) == body
        del body["messages"][0]["content"]
        with pytest.raises(ValidationError):
            taken(adapter, body)
