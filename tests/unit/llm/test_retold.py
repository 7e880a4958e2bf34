"""Goal: a reply told again is read by our own codec as the same reply. Method: every kind of part, both wires."""

import pytest

from kelpie.llm.messages import ModelReply, ReasoningPart, TextPart, ToolCallPart, Usage
from kelpie.llm.providers import wire_of
from kelpie.llm.rehearsed import REHEARSED_INFO
from kelpie.llm.retold import retell_reply, retell_request

from .build import ORIGIN, info, request, tool

USAGE = Usage(input_tokens=10, output_tokens=5, cached_tokens=3)
CALL = ToolCallPart(call_id="c1", name="roll", arguments='{"sides": 6}')
THOUGHT = ReasoningPart(text="hm", signature="s", provider="acme")


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize(
    ("parts", "finish"),
    [
        ((TextPart(text="yes"),), "stop"),
        ((TextPart(text="well"), CALL), "tool_calls"),
        ((CALL,), "tool_calls"),
        ((TextPart(text="cut"),), "length"),
    ],
)
def test_a_reply_is_read_back_as_it_was(kind, parts, finish) -> None:
    reply = ModelReply(parts=parts, finish=finish, usage=USAGE)
    body = bytes(retell_reply(info(kind=kind), reply))
    assert wire_of(kind, "http://127.0.0.1").decode(body, ORIGIN) == reply


def test_signed_and_redacted_thinking_is_told_in_its_own_blocks() -> None:
    parts = (THOUGHT, ReasoningPart(redacted="xyz", provider="acme"), TextPart(text="yes"))
    reply = ModelReply(parts=parts, finish="stop", usage=USAGE)
    assert wire_of("anthropic", "").decode(bytes(retell_reply(info(kind="anthropic"), reply)), ORIGIN) == reply
    openai = bytes(retell_reply(info(kind="openai"), reply))
    assert b'"reasoning_content":"hm"' in openai and b"xyz" not in openai


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_request_is_told_as_its_codec_sends_it(kind, stream) -> None:
    asked, model = request("hi", tools=(tool(),)), info(kind=kind)
    sent = wire_of(kind, model.endpoint).encode(asked, model, stream=stream)
    assert bytes(retell_request(model, asked, stream=stream)) == sent


def test_a_model_without_a_wire_is_told_in_our_own_words() -> None:
    assert b'"system":"Be brief."' in bytes(retell_request(REHEARSED_INFO, request("hi"), stream=False))
