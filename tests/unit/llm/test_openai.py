"""Goal: the Chat Completions codec, both ways, and the accents of compatible servers. Method: by value."""

import hashlib

import msgspec
import pytest

from kelpie.errors import ModelRefused, ModelUnavailable, WindowOverflow
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
from kelpie.llm.openai import OpenAIWire
from kelpie.llm.sse_parse import ServerEvent
from kelpie.llm.wire import ListedModel, ModelPage

from .build import ORIGIN, call, info, request, returned, said, tool

OFFICIAL = OpenAIWire("https://api.openai.com/v1")
OTHER = OpenAIWire("http://localhost:8000/v1")
CONVERSATION = (
    said("user", "roll", name="ada"),
    said("assistant", "first", call("z", arguments="")),
    said("tool", returned("z")),
    said("system", "note"),
    said("user", "and?"),
    said("assistant", ReasoningPart(text="hm", provider="acme"), call("a"), call("b:1", "b.c", "{x")),
    said("tool", returned("a"), returned("b:1", "no", ok=False)),
)


def encoded(wire, asked, **more) -> dict:
    """The body as plain data."""
    return msgspec.json.decode(wire.encode(asked, info(asked.model), stream=more.get("stream", False)))


def test_a_whole_conversation_to_a_compatible_server() -> None:
    """Plain roles, thinking of this turn sent back, malformed arguments made an object, ids and names mended."""
    odd_id = "call_" + hashlib.sha256(b"b:1").hexdigest()[:24]
    sampling = Sampling(temperature=0.5, output_tokens_max=100, reasoning_effort="low", parallel_tool_calls=False)
    asked = request(*CONVERSATION, tools=(tool(),), sampling=sampling, model="gpt-5")
    schema = {"type": "object", "properties": {"sides": {"type": "integer"}}, "required": ["sides"]}
    assert encoded(OTHER, asked, stream=True) == {
        "model": "gpt-5",
        "max_tokens": 100,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "parallel_tool_calls": False,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": {"name": "roll", "description": "Tool roll", "parameters": schema}}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "roll"},
            {"role": "assistant", "content": "first", "tool_calls": [wire_call("z", "roll", "{}")]},
            {"role": "tool", "tool_call_id": "z", "content": "4"},
            {"role": "user", "content": "<system>\nnote\n</system>\n\nand?"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    wire_call("a", "roll", '{"sides": 6}'),
                    wire_call(odd_id, "b_c", '{"malformed_arguments":"{x"}'),
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "4"},
            {"role": "tool", "tool_call_id": odd_id, "content": "no"},
        ],
    }


def wire_call(call_id: str, name: str, arguments: str) -> dict:
    """A call as it is sent."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def test_openai_itself_gets_names_and_system_notes_and_its_own_parameter_names() -> None:
    """No thinking sent back, no temperature for a reasoning model, max_completion_tokens."""
    sampling = Sampling(temperature=0.5, output_tokens_max=100)
    body = encoded(OFFICIAL, request(*CONVERSATION, sampling=sampling, model="gpt-5"))
    assert (body.get("max_completion_tokens"), body.get("max_tokens"), body.get("temperature")) == (100, None, None)
    assert [message["role"] for message in body["messages"]] == [
        "system", "user", "assistant", "tool", "system", "user", "assistant", "tool", "tool",
    ]  # fmt: skip
    assert body["messages"][1] == {"role": "user", "content": "roll", "name": "ada"}
    assert all("reasoning_content" not in message for message in body["messages"])
    assert encoded(OFFICIAL, request("x", sampling=sampling, model="gpt-4o"))["temperature"] == 0.5


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": "hi"}, (TextPart(text="hi"),)),
        ({"content": None}, ()),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, (TextPart(text="ab"),)),
        (
            {"content": "hi", "reasoning_content": "hm", "reasoning": "hm"},
            (ReasoningPart(text="hm", provider="acme"), TextPart(text="hi")),
        ),
        ({"reasoning": "hm"}, (ReasoningPart(text="hm", provider="acme"),)),
        (
            {"tool_calls": [{"function": {"name": "roll", "arguments": {"sides": 6}}}]},
            (call("call_00000000abcd_0", arguments='{"sides":6}'),),
        ),
        (
            {"tool_calls": [{"id": "c", "function": {"name": "roll"}}, {"id": "c", "function": {"name": "roll"}}]},
            (call("c", arguments="{}"), call("call_00000000abcd_1", arguments="{}")),
        ),
        ({"tool_calls": [{"id": 7, "function": {"name": "roll", "arguments": "{"}}]}, (call("7", arguments="{"),)),
    ],
)
def test_a_whole_reply_in_many_accents(message, parts) -> None:
    """Content, thinking and calls in all forms; no usage is no error."""
    body = msgspec.json.encode({"choices": [{"message": message, "finish_reason": "stop"}]})
    finish = "tool_calls" if "tool_calls" in message else "stop"
    assert OTHER.decode(body, ORIGIN) == ModelReply(parts=parts, finish=finish, usage=Usage())


def test_usage_and_refusal() -> None:
    """Cached and reasoning tokens; a refusal's words are the reply's text."""
    body = msgspec.json.encode({
        "choices": [{"message": {"content": None, "refusal": "I will not"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4},
                  "completion_tokens_details": {"reasoning_tokens": 2}},
    })  # fmt: skip
    usage = Usage(input_tokens=9, output_tokens=3, cached_tokens=4, reasoning_tokens=2)
    assert OTHER.decode(body, ORIGIN) == ModelReply(parts=(TextPart(text="I will not"),), finish="refusal", usage=usage)


def stream(*chunks: dict | bytes) -> tuple[list, ModelReply]:
    """The deltas and the reply of a stream; a dict is a choice's delta."""
    decoder = OTHER.stream_decoder(ORIGIN)
    deltas = []
    for chunk in chunks:
        raw = chunk if isinstance(chunk, bytes) else msgspec.json.encode({"choices": [{"index": 0, "delta": chunk}]})
        deltas += decoder.feed(ServerEvent(data=raw))
    return deltas, decoder.finish()


FINISH = b'{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}'
USAGE = b'{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}'
DONE = b"[DONE]"


def test_a_streamed_reply() -> None:
    """Thinking, text, two calls in pieces, usage after the finish."""
    deltas, reply = stream(
        {"role": "assistant", "content": ""},
        {"reasoning_content": "h"},
        {"content": "a "},
        {"content": "b"},
        {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "roll", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"sides"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 6}"}}]},
        {"tool_calls": [{"index": 1, "id": "y", "function": {"name": "now", "arguments": ""}}]},
        FINISH,
        USAGE,
        DONE,
    )
    assert deltas == [
        ReasoningDelta(part=0, text="h"),
        TextDelta(part=1, text="a "),
        TextDelta(part=1, text="b"),
        ToolCallDelta(part=2, call_id="x", name="roll", arguments=""),
        ToolCallDelta(part=2, call_id="x", name=None, arguments='{"sides"'),
        ToolCallDelta(part=2, call_id="x", name=None, arguments=": 6}"),
        ToolCallDelta(part=3, call_id="y", name="now", arguments=""),
        ToolCallDelta(part=3, call_id="y", name=None, arguments="{}"),
    ]
    assert reply == ModelReply(
        parts=(ReasoningPart(text="h", provider="acme"), TextPart(text="a b"), call("x"), call("y", "now", "{}")),
        finish="tool_calls",
        usage=Usage(input_tokens=5, output_tokens=2),
    )


def piece(**fields) -> dict:
    """A delta with one piece of a call; name and arguments go into its function."""
    function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    return {"tool_calls": [fields | {"function": function}]}


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        pytest.param(
            [piece(id="a", name="roll", arguments="{}"), piece(id="b", name="roll", arguments="{}")],
            [("a", "roll", "{}"), ("b", "roll", "{}")],
            id="no index",
        ),
        pytest.param(
            [piece(name="roll"), piece(arguments="{"), piece(arguments="}"), piece(name="now", arguments="{}")],
            [("call_00000000abcd_0", "roll", "{}"), ("call_00000000abcd_1", "now", "{}")],
            id="neither id nor index",
        ),
        pytest.param(
            [piece(index=0, id="a", name="roll", arguments="{}"), piece(index=0, id="b", name="now", arguments="{}")],
            [("a", "roll", "{}"), ("b", "now", "{}")],
            id="every index is 0",
        ),
        pytest.param(
            [piece(index=0, id="a", name="roll", arguments="{"), piece(index=0, id="a", name="roll", arguments="}")],
            [("a", "roll", "{}")],
            id="id and name repeated",
        ),
        pytest.param(
            [piece(index=0, id="a", name="roll", arguments="{"), piece(index=0, id="other", arguments="}")],
            [("a", "roll", "{}")],
            id="another id with each piece",
        ),
        pytest.param(
            [piece(index=0, id="c", name="roll", arguments="{}"), piece(index=1, id="c", name="now", arguments="{}")],
            [("c", "roll", "{}"), ("call_00000000abcd_1", "now", "{}")],
            id="one id for two calls",
        ),
        pytest.param(
            [piece(index=0, id="a"), piece(index=0, arguments="{}"), piece(index=0, name="roll")],
            [("a", "roll", "{}")],
            id="the name comes last",
        ),
        pytest.param([piece(index=0, id="a", arguments="{}")], [("a", "", "{}")], id="no name at all"),
        pytest.param(
            [piece(index=0, id="a", name="roll", arguments={"n": 1})], [("a", "roll", '{"n":1}')], id="object"
        ),
    ],
)
def test_streamed_calls_in_many_accents(pieces, calls) -> None:
    """Servers number, name and repeat the pieces of calls in their own ways."""
    deltas, reply = stream(*pieces, DONE)
    assert reply.parts == tuple(call(*one) for one in calls)
    assert reply.finish == "tool_calls"
    for index, (call_id, name, arguments) in enumerate(calls):
        mine = [delta for delta in deltas if delta.part == index]
        assert [(delta.call_id, delta.name) for delta in mine[:1]] == [(call_id, name)]
        assert "".join(delta.arguments for delta in mine) == arguments


def test_a_stream_that_fails_ends_early_or_says_nothing() -> None:
    """Errors inside a 200, with and without a status of their own."""
    with pytest.raises(ModelUnavailable, match="in the middle"):
        stream({"content": "half"})
    with pytest.raises(ModelUnavailable, match="without a message"):
        stream(DONE)
    with pytest.raises(ModelUnavailable, match="acme answered 502: upstream gone"):
        stream(b'{"error":{"code":502,"message":"upstream gone"}}')
    with pytest.raises(ModelRefused, match="acme broke off its reply: bad tool"):
        stream(b'{"error":{"type":"invalid_request_error","message":"bad tool"}}')
    with pytest.raises(ModelUnavailable, match="not a reply"):
        stream(b"{oops")


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, WindowOverflow, "too long"),
        (400, {"object": "error", "message": "maximum context length is 9", "code": 400}, WindowOverflow, None),
        (500, {"error": {"message": "the request exceeds the available context size"}}, WindowOverflow, None),
        (404, {"error": "model 'x' not found"}, ModelRefused, "model 'x' not found"),
        (422, {"detail": [{"msg": "bad"}]}, ModelRefused, '[{"msg":"bad"}]'),
        (429, {"error": {"message": "no money", "code": "insufficient_quota"}}, ModelRefused, "no money"),
        (429, {"error": {"message": "context window tokens per minute"}}, ModelUnavailable, None),
        (301, {}, ModelRefused, "without a word"),
        (502, "<html><title>Bad</title> <b>gateway</b></html>", ModelUnavailable, "Bad gateway"),
        (503, "", ModelUnavailable, "without a word"),
    ],
)
def test_errors_wherever_the_words_are(status, body, error, words) -> None:
    """OpenAI, vLLM, llama.cpp, Ollama, FastAPI, a proxy's page."""
    raw = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    told = OTHER.error(status, raw, None, "acme")
    assert type(told) is error
    assert words is None or told.sentence == f"acme answered {status}: {words}"


def test_the_list_of_models() -> None:
    """OpenRouter and vLLM tell the context size."""
    body = b'{"data":[{"id":"a"},{"id":"b","context_length":9},{"id":"c","max_model_len":8}]}'
    models = (
        ListedModel(model="a"),
        ListedModel(model="b", context_tokens=9),
        ListedModel(model="c", context_tokens=8),
    )
    assert OTHER.decode_models(body) == ModelPage(models=models)
    assert OTHER.headers("") == [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    ("names", "choice"),
    [(("roll",), {"type": "function", "function": {"name": "roll"}}), (("roll", "spin"), "required")],
)
def test_a_call_is_forced(names: tuple[str, ...], choice: object) -> None:
    """One tool alone by its name, one of several as required; not forced, nothing is said of it."""
    asked = msgspec.structs.replace(request("go", tools=tuple(map(tool, names))), must_call=True)
    assert encoded(OFFICIAL, asked)["tool_choice"] == choice
    assert "tool_choice" not in encoded(OFFICIAL, msgspec.structs.replace(asked, must_call=False))


def test_the_form_of_a_reply_is_asked_for() -> None:
    """A schema goes into the field for it; for any JSON the system prompt must say the word as well."""
    schema = msgspec.Raw(b'{"type":"object"}')
    form = ReplyFormat(kind="json_schema", name="answer", schema=schema, strict=True)
    body = encoded(OFFICIAL, request("go", sampling=Sampling(reply_format=form)))
    told = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    assert body["response_format"] == {"type": "json_schema", "json_schema": told}
    body = encoded(OFFICIAL, request("go", sampling=Sampling(reply_format=ReplyFormat(kind="json_object"))))
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["content"] == f"Be brief.\n\n{JSON_ONLY_TEXT}"


def test_pictures_are_sent() -> None:
    """Those of the user among the words, those that tools returned behind the returns, as the user's."""
    here = ImagePart(media_type="image/png", data="iVBO", detail="low")
    there = ImagePart(url="https://example.com/a.png")
    answer = msgspec.structs.replace(returned("a"), images=(here,))
    conversation = (said("user", "look", here, there), said("assistant", call("a")), said("tool", answer))
    piece = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}}
    told = encoded(OFFICIAL, request(*conversation))["messages"]
    assert told[1]["content"] == [
        {"type": "text", "text": "look"},
        piece,
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    words = {"type": "text", "text": "(Not said by the user: pictures that roll returned.)"}
    assert told[3:] == [
        {"role": "tool", "tool_call_id": "a", "content": "4"},
        {"role": "user", "content": [words, piece]},
    ]


def test_probabilities_are_asked_for_and_kept() -> None:
    """Those of all chunks together, as the provider wrote them."""
    asked = encoded(OFFICIAL, msgspec.structs.replace(request("go"), logprobs=2))
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 2)
    stream = OFFICIAL.stream_decoder(ORIGIN)
    for token in ("a", "b"):
        choice = {"index": 0, "delta": {"content": token}, "logprobs": {"content": [{"token": token}]}}
        stream.feed(ServerEvent(data=msgspec.json.encode({"choices": [choice]})))
    stream.feed(ServerEvent(data=b"[DONE]"))
    told = msgspec.json.decode(stream.finish().logprobs)
    assert told == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_encrypted_thinking_comes_and_goes_as_it_is() -> None:
    """A router's sealed details are a part of their own, and sent back in the turn that they belong to."""
    detail = {"type": "reasoning.encrypted", "data": "x1", "id": "r1", "index": 0}
    message = {"content": "hi", "reasoning_details": [detail, {"type": "reasoning.text", "text": "open"}]}
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    reply = OTHER.decode(msgspec.json.encode(whole), ORIGIN)
    sealed = reply.parts[0]
    assert isinstance(sealed, ReasoningPart) and sealed.redacted is not None
    assert msgspec.json.decode(sealed.redacted) == detail
    told = encoded(OTHER, request("go", said("assistant", *reply.parts, call("a")), said("tool", returned("a"))))
    assert told["messages"][2]["reasoning_details"] == [detail]
