"""Goal: the Messages codec, both ways. Method: whole requests and replies by value."""

import msgspec
import pytest

from kelpie.errors import ModelRefused, ModelUnavailable, WindowOverflow
from kelpie.llm.anthropic import CONTINUE_TEXT, OPENING_TEXT, AnthropicWire
from kelpie.llm.conversation import JSON_ONLY_TEXT
from kelpie.llm.messages import (
    ImagePart,
    ModelReply,
    ReasoningDelta,
    ReasoningPart,
    ReplyFormat,
    Sampling,
    TextDelta,
    TextPart,
    ToolCallDelta,
    Usage,
)
from kelpie.llm.sse_parse import ServerEvent
from kelpie.llm.wire import ListedModel, ModelPage

from .build import ORIGIN, call, info, request, returned, said, tool

WIRE = AnthropicWire()
MARK = {"type": "ephemeral"}


def encoded(asked, model=None, **more) -> dict:
    """The body as plain data."""
    return msgspec.json.decode(WIRE.encode(asked, model or info(asked.model), stream=more.get("stream", False)))


def test_a_whole_conversation() -> None:
    """Cache marks, thinking, parallel calls, returns, merging: the exact body."""
    thought = ReasoningPart(text="hm", signature="sig", provider="acme")
    hidden = ReasoningPart(redacted="blob", provider="acme")
    foreign = ReasoningPart(text="other", provider="else")
    asked = request(
        "roll twice",
        said("assistant", thought, hidden, foreign, "ok", call("a"), call("b", arguments="{broken")),
        said("tool", returned("a"), returned("b", "no", ok=False)),
        said("user", "and?"),
        tools=(tool("roll"), tool("toss")),
        sampling=Sampling(temperature=0.5, output_tokens_max=100, parallel_tool_calls=False),
        model="claude-haiku-4-5",
    )
    schema = {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]}
    assert encoded(asked, stream=True) == {
        "model": "claude-haiku-4-5",
        "max_tokens": 100,
        "stream": True,
        "temperature": 0.5,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "tools": [
            {"name": "roll", "description": "Tool roll", "input_schema": schema},
            {"name": "toss", "description": "Tool toss", "input_schema": schema, "cache_control": MARK},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "roll twice", "cache_control": MARK}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "blob"},
                    {"type": "text", "text": "ok"},
                    {"type": "tool_use", "id": "a", "name": "roll", "input": {"sides": 6}},
                    {"type": "tool_use", "id": "b", "name": "roll", "input": {"malformed_arguments": "{broken"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "4"},
                    {"type": "tool_result", "tool_use_id": "b", "content": "no", "is_error": True},
                    {"type": "text", "text": "and?", "cache_control": MARK},
                ],
            },
        ],
    }


def test_the_user_speaks_first_and_last() -> None:
    """Also when the history begins or ends with the model, or is empty."""
    texts = [
        [(message["role"], message["content"][0]["text"]) for message in encoded(asked)["messages"]]
        for asked in (request(), request(said("assistant", "hi")))
    ]
    assert texts == [
        [("user", OPENING_TEXT)],
        [("user", OPENING_TEXT), ("assistant", "hi"), ("user", CONTINUE_TEXT)],
    ]


@pytest.mark.parametrize(
    ("model", "sampling", "output_max", "expected"),
    [
        ("claude-haiku-4-5", Sampling(), 8_000, (8_000, None, None, None)),
        ("claude-haiku-4-5", Sampling(reasoning_effort="none", temperature=1.0), 8_000, (8_000, None, None, 1.0)),
        (
            "claude-haiku-4-5",
            Sampling(reasoning_tokens_max=2_000, output_tokens_max=500, temperature=0.1),
            8_000,
            (2_500, {"type": "enabled", "budget_tokens": 2_000}, None, None),
        ),
        (
            "claude-haiku-4-5",
            Sampling(reasoning_effort="high"),
            8_000,
            (8_000, {"type": "enabled", "budget_tokens": 4_000}, None, None),
        ),
        ("claude-3-haiku", Sampling(reasoning_tokens_max=5), 1_500, (1_500, None, None, None)),
        (
            "claude-opus-4-8",
            Sampling(reasoning_effort="minimal", temperature=0.3),
            8_000,
            (8_000, {"type": "adaptive", "display": "summarized"}, {"effort": "low"}, None),
        ),
        ("claude-sonnet-5", Sampling(temperature=0.3), 8_000, (8_000, None, None, None)),
    ],
)
def test_thinking_is_asked_for_as_the_model_understands_it(model, sampling, output_max, expected) -> None:
    """Budgets for the older models, effort for the newer, no temperature beside thinking."""
    body = encoded(request("x", model=model, sampling=sampling), info(model, output_tokens_max=output_max))
    assert tuple(body.get(key) for key in ("max_tokens", "thinking", "output_config", "temperature")) == expected


def test_a_whole_reply() -> None:
    """All kinds of blocks, unknown ones passed over, usage with the cached tokens included."""
    body = msgspec.json.encode({
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "blob"},
            {"type": "invented_later", "content": []},
            {"type": "text", "text": "hello"},
            {"type": "tool_use", "id": "t1", "name": "roll", "input": {"sides": 6}},
            {"type": "tool_use", "id": "t1", "name": "roll", "input": None},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 1, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 300,
                  "output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}},
    })  # fmt: skip
    assert WIRE.decode(body, ORIGIN) == ModelReply(
        parts=(
            ReasoningPart(text="hm", signature="s", provider="acme"),
            ReasoningPart(redacted="blob", provider="acme"),
            TextPart(text="hello"),
            call("t1", arguments='{"sides":6}'),
            call("call_00000000abcd_4", arguments="{}"),
        ),
        finish="tool_calls",
        usage=Usage(input_tokens=321, output_tokens=9, cached_tokens=20, cache_written_tokens=300, reasoning_tokens=4),
    )


def events(*told: dict) -> list[ServerEvent]:
    """Events of a stream."""
    return [ServerEvent(name=one["type"], data=msgspec.json.encode(one)) for one in told]


def test_a_streamed_reply() -> None:
    """Deltas as they come, thinking without words kept for its signature, a call without arguments."""
    decoder = WIRE.stream_decoder(ORIGIN)
    stream = events(
        {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "ping"},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a b"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t", "name": "now"}},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    )
    deltas = [delta for event in stream for delta in decoder.feed(event)]
    assert deltas == [
        TextDelta(part=1, text="a b"),
        ToolCallDelta(part=2, call_id="t", name="now", arguments=""),
        ToolCallDelta(part=2, call_id="t", name=None, arguments="{}"),
    ]
    assert decoder.finish() == ModelReply(
        parts=(ReasoningPart(signature="s", provider="acme"), TextPart(text="a b"), call("t", "now", "{}")),
        finish="tool_calls",
        usage=Usage(input_tokens=5, output_tokens=7),
    )


def test_a_stream_that_fails_or_ends_early() -> None:
    """An error event is an error; an end without message_stop is one too."""
    decoder = WIRE.stream_decoder(ORIGIN)
    grown = events(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}},
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
    )
    assert decoder.feed(grown[0]) == [ReasoningDelta(part=0, text="h")]
    with pytest.raises(ModelUnavailable, match="acme broke off its reply: Overloaded"):
        decoder.feed(grown[1])
    with pytest.raises(ModelUnavailable, match="acme ended its reply in the middle"):
        decoder.finish()


@pytest.mark.parametrize(
    ("status", "kind", "words", "error"),
    [
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", WindowOverflow),
        (400, "invalid_request_error", "input length and `max_tokens` exceed context limit", WindowOverflow),
        (413, "request_too_large", "Request exceeds the maximum size", WindowOverflow),
        (400, "invalid_request_error", "max_tokens: Field required", ModelRefused),
        (401, "authentication_error", "invalid x-api-key", ModelRefused),
        (403, "permission_error", "no", ModelRefused),
        (404, "not_found_error", "model: claude-9", ModelRefused),
        (429, "rate_limit_error", "slow down", ModelUnavailable),
        (500, "api_error", "Internal server error", ModelUnavailable),
        (529, "overloaded_error", "Overloaded", ModelUnavailable),
    ],
)
def test_errors_keep_the_providers_words(status, kind, words, error) -> None:
    """Family, sentence and fields."""
    body = msgspec.json.encode({"type": "error", "error": {"type": kind, "message": words}})
    told = WIRE.error(status, body, 70 if error is ModelUnavailable else None, "acme")
    assert (type(told), told.sentence) == (error, f"acme answered {status}: {words}")
    assert told.fields.get("retry_after_ms") == (70 if error is ModelUnavailable else None)


def test_pages_of_models() -> None:
    """Sizes that the provider tells, and where the next page begins."""
    body = b'{"data":[{"id":"claude-x","max_input_tokens":9,"max_tokens":3}],"has_more":true,"last_id":"claude-x"}'
    listed = ListedModel(model="claude-x", context_tokens=9, output_tokens_max=3)
    assert WIRE.decode_models(body) == ModelPage(models=(listed,), after="claude-x")
    assert WIRE.list_path("claude-x") == "/v1/models?limit=1000&after_id=claude-x"


@pytest.mark.parametrize(
    ("names", "alone", "choice"),
    [
        (("roll",), False, {"type": "tool", "name": "roll"}),
        (("roll", "toss"), False, {"type": "any"}),
        (("roll", "toss"), True, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_a_call_is_forced(names: tuple[str, ...], alone: bool, choice: object) -> None:
    """By name or any of several, and without thinking, which this API does not take together with it."""
    sampling = Sampling(reasoning_tokens_max=2_000, parallel_tool_calls=not alone)
    asked = msgspec.structs.replace(request("go", tools=tuple(map(tool, names)), sampling=sampling), must_call=True)
    body = encoded(asked)
    assert body["tool_choice"] == choice and "thinking" not in body


def test_the_form_of_a_reply_is_asked_for() -> None:
    """A schema has its place beside the effort; any JSON is asked for in words."""
    form = ReplyFormat(kind="json_schema", schema=msgspec.Raw(b'{"type":"object"}'))
    body = encoded(request("go", sampling=Sampling(reply_format=form, reasoning_effort="low"), model="claude-opus-4-8"))
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    assert body["output_config"] == {"effort": "low", "format": wanted}
    body = encoded(request("go", sampling=Sampling(reply_format=ReplyFormat(kind="json_object"))))
    assert body["system"][0]["text"] == f"Be brief.\n\n{JSON_ONLY_TEXT}" and "output_config" not in body


def test_pictures_are_sent() -> None:
    """Those of the user, and those that a tool returned, inside its result."""
    here, there = ImagePart(media_type="image/png", data="iVBO"), ImagePart(url="https://example.com/a.png")
    answer = msgspec.structs.replace(returned("a"), images=(here,))
    told = encoded(request(said("user", here, there), said("assistant", call("a")), said("tool", answer)))["messages"]
    base64 = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
    url = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    assert told[0]["content"] == [base64, url]
    assert told[2]["content"][0]["content"] == [{"type": "text", "text": "4"}, base64]
