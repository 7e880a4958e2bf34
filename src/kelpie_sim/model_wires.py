"""The two wires of the scripted model server, from the server's side: requests read, replies written.

Written apart from `kelpie.llm`'s codecs on purpose: the codecs are tested against this file, and this file
against the official SDKs.
"""

import re
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.llm.messages import NO_JSON, ReasoningPart, ReplyFormat, TextPart, ToolCallPart, ToolDefinition

WireName = Literal["openai", "anthropic"]
ReplyPart = ReasoningPart | TextPart | ToolCallPart

CREATED_S = 1_760_000_000  # a fixed moment: replies are the same every time
_WORD = re.compile(r"\s*\S+\s*|\s+")
_ARGUMENT_CHARS = 16  # of a tool call's arguments in one event


class Block(Struct, omit_defaults=True):
    """A content block of either wire, as far as the server looks at it."""

    type: str = "text"
    text: str = ""
    id: str = ""
    name: str = ""
    input: Raw = Raw(b"{}")
    tool_use_id: str = ""
    content: "str | list[Block]" = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    is_error: bool = False
    cache_control: object = None
    source: "ImageSource | None" = None
    image_url: "ImageUrl | None" = None


class ImageSource(Struct):
    """A picture on Anthropic's wire."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""


class ImageUrl(Struct):
    """A picture on OpenAI's wire."""

    url: str
    detail: str | None = None


class Function(Struct):
    """The function of a tool call or offer."""

    name: str
    arguments: str = ""
    parameters: Raw = Raw(b"{}")


class Call(Struct):
    """A tool call in a message on OpenAI's wire."""

    id: str
    function: Function
    type: str = "function"


class Message(Struct):
    """A message of either wire."""

    role: str
    content: str | list[Block] | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class Offer(Struct):
    """A tool that may be called, of either wire."""

    name: str = ""
    function: Function | None = None
    input_schema: Raw = Raw(b"{}")
    cache_control: object = None


class Thinking(Struct):
    """Anthropic's thinking parameter."""

    type: str
    budget_tokens: int | None = None


class ToolChoice(Struct):
    """Whether and which tool must be called, on either wire."""

    type: str
    name: str = ""
    function: Function | None = None


class JsonSchema(Struct):
    """The schema of a reply, on OpenAI's wire."""

    name: str
    schema: Raw = NO_JSON
    strict: bool | None = None


class ResponseFormat(Struct):
    """The form of a reply, on either wire."""

    type: str
    json_schema: JsonSchema | None = None
    schema: Raw = NO_JSON


class OutputConfig(Struct):
    """Anthropic's choices about the output."""

    effort: str | None = None
    format: ResponseFormat | None = None


class StreamOptions(Struct):
    """OpenAI's stream options."""

    include_usage: bool = False


class AskedBody(Struct):
    """The body of a request on either wire."""

    model: str
    messages: list[Message]
    system: str | list[Block] = ""
    tools: list[Offer] = []
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    thinking: Thinking | None = None
    temperature: float | None = None
    tool_choice: str | ToolChoice = "auto"
    response_format: ResponseFormat | None = None
    output_config: OutputConfig | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


class Situation(Struct, frozen=True, kw_only=True):
    """What the script needs: the last words of the user, replies since then, and the latest tool returns."""

    said: str
    replies: int
    returned: tuple[str, ...]


class Reply(Struct, frozen=True, kw_only=True):
    """What is to be written, on whichever wire; `number` makes its ids."""

    number: int
    model: str
    parts: tuple[ReplyPart, ...]
    input_tokens: int
    output_tokens: int
    quirks: frozenset[str] = frozenset()  # only asked whether it holds a name
    logprobs: int | None = None


def offered_tools(asked: AskedBody) -> list[ToolDefinition]:
    """The tools of which one must be called; none: the model may do as it likes."""
    choice = asked.tool_choice
    kind = choice if isinstance(choice, str) else choice.type
    if kind not in ("required", "any", "tool", "function"):
        return []
    named = "" if isinstance(choice, str) else choice.function.name if choice.function else choice.name
    tools: list[ToolDefinition] = []
    for offer in asked.tools:
        function = offer.function or Function(name=offer.name, parameters=offer.input_schema)
        if not named or function.name == named:
            tools.append(ToolDefinition(name=function.name, description="", parameters=function.parameters))
    return tools


def asked_format(asked: AskedBody) -> ReplyFormat | None:
    """The form in which the reply is wanted."""
    wanted = asked.response_format
    if wanted is None and asked.output_config is not None:
        wanted = asked.output_config.format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return ReplyFormat(kind="json_object")
    schema = wanted.schema if wanted.json_schema is None else wanted.json_schema.schema
    return ReplyFormat(kind="json_schema", schema=schema)


def situation_of(messages: list[Message]) -> Situation:
    """The situation at the end of a conversation."""
    said: list[str] = []
    replies = 0
    returned: list[str] = []
    for message in reversed(messages):
        blocks = _blocks(message)
        texts = [block.text for block in blocks if block.type == "text" and not block.text.startswith("<system>")]
        if message.role == "assistant":
            if said:
                break
            replies += 1
        elif message.role == "tool":
            if said:
                break
            if replies == 0:
                returned.insert(0, "".join(texts))
        elif message.role == "user":
            said = texts + said
            if replies == 0 and not said:
                returned = [_flat(block.content) for block in blocks if block.type == "tool_result"] + returned
            elif said and any(block.type == "tool_result" for block in blocks):
                break
    return Situation(said="\n".join(said), replies=replies, returned=tuple(returned))


def openai_whole(reply: Reply) -> bytes:
    """A chat completion."""
    calls = [_openai_call(reply, part) for part in reply.parts if isinstance(part, ToolCallPart)]
    message: dict[str, object] = {"role": "assistant", "content": _text(reply) or None, "refusal": None}
    thought = "".join(part.text for part in reply.parts if isinstance(part, ReasoningPart))
    if thought:
        message[_reasoning_field(reply)] = thought
    if calls:
        message["tool_calls"] = calls
    finish = "tool_calls" if calls else "stop"
    body = _openai_head(reply, "chat.completion") | {
        "choices": [{"index": 0, "message": message, "logprobs": _logprobs(reply), "finish_reason": finish}]
    }
    if "no-usage" not in reply.quirks:
        body["usage"] = _openai_usage(reply)
    return msgspec.json.encode(body)


def openai_events(reply: Reply, *, include_usage: bool) -> list[bytes]:
    """A streamed chat completion, event by event."""
    deltas: list[dict[str, object]] = [{"role": "assistant", "content": ""}]
    calls = 0
    for part in reply.parts:
        match part:
            case TextPart(text=text):
                deltas += [{"content": word} for word in _WORD.findall(text)]
            case ReasoningPart(text=text):
                deltas += [{_reasoning_field(reply): word} for word in _WORD.findall(text)]
            case ToolCallPart():
                deltas += _openai_call_deltas(reply, part, calls)
                calls += 1
    head = _openai_head(reply, "chat.completion.chunk")
    chunks = [head | {"choices": [_openai_choice(delta, None)]} for delta in deltas]
    if reply.logprobs is not None:
        chunks.append(head | {"choices": [_openai_choice({}, None) | {"logprobs": _logprobs(reply)}]})
    chunks.append(head | {"choices": [_openai_choice({}, "tool_calls" if calls else "stop")]})
    if include_usage and "no-usage" not in reply.quirks:
        chunks.append(head | {"choices": [], "usage": _openai_usage(reply)})
    events = [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks]
    return events if "no-done" in reply.quirks else [*events, b"data: [DONE]\n\n"]


def anthropic_whole(reply: Reply) -> bytes:
    """A message."""
    blocks = [_anthropic_block(part, whole=True) for part in reply.parts]
    body = _anthropic_head(reply) | {"content": blocks, "stop_reason": _anthropic_stop(reply)}
    body["usage"] = _anthropic_usage(reply, reply.output_tokens)
    return msgspec.json.encode(body)


def anthropic_events(reply: Reply) -> list[bytes]:
    """A streamed message, event by event."""
    start = _anthropic_head(reply) | {"content": [], "stop_reason": None, "usage": _anthropic_usage(reply, 1)}
    events = [_anthropic_event("message_start", {"message": start}), _anthropic_event("ping", {})]
    for index, part in enumerate(reply.parts):
        block = _anthropic_block(part, whole=False)
        events.append(_anthropic_event("content_block_start", {"index": index, "content_block": block}))
        for delta in _anthropic_deltas(part):
            events.append(_anthropic_event("content_block_delta", {"index": index, "delta": delta}))
        events.append(_anthropic_event("content_block_stop", {"index": index}))
    delta = {"stop_reason": _anthropic_stop(reply), "stop_sequence": None}
    usage = {"output_tokens": reply.output_tokens}
    events.append(_anthropic_event("message_delta", {"delta": delta, "usage": usage}))
    events.append(_anthropic_event("message_stop", {}))
    return events


def error_body(wire: WireName, status: int, words: str, kind: str) -> bytes:
    """An error in the form of that wire."""
    if wire == "anthropic":
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"})
    code = "context_length_exceeded" if "context length" in words else None
    return msgspec.json.encode({"error": {"message": words, "type": kind, "param": None, "code": code}})


def models_page(wire: WireName, names: list[str], after: str | None, limit: int) -> bytes:
    """The list of models; Anthropic's has pages."""
    if wire == "openai":
        entries = [{"id": name, "object": "model", "created": CREATED_S, "owned_by": "kelpie"} for name in names]
        return msgspec.json.encode({"object": "list", "data": entries})
    first = names.index(after) + 1 if after in names else 0
    shown = names[first : first + limit]
    entries = [
        {"type": "model", "id": name, "display_name": name, "created_at": "2025-01-01T00:00:00Z", "lifecycle": "active",
         "max_input_tokens": 200_000, "max_tokens": 64_000}
        for name in shown
    ]  # fmt: skip
    page = {"data": entries, "has_more": first + limit < len(names)}
    return msgspec.json.encode(
        page | {"first_id": shown[0] if shown else None, "last_id": shown[-1] if shown else None}
    )


def _blocks(message: Message) -> list[Block]:
    if isinstance(message.content, str):
        return [Block(text=message.content)]
    return message.content or []


def _flat(content: str | list[Block]) -> str:
    return content if isinstance(content, str) else "".join(block.text for block in content)


def _text(reply: Reply) -> str:
    return "\n\n".join(part.text for part in reply.parts if isinstance(part, TextPart))


def _reasoning_field(reply: Reply) -> str:
    return "reasoning" if "reasoning-field" in reply.quirks else "reasoning_content"


def _openai_head(reply: Reply, kind: str) -> dict[str, object]:
    return {"id": f"chatcmpl-{reply.number}", "object": kind, "created": CREATED_S, "model": reply.model}


def _openai_choice(delta: dict[str, object], finish: str | None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def _logprobs(reply: Reply) -> dict[str, object] | None:
    """Of each word of the text: certain, with as many candidates as are asked for, all the same."""
    if reply.logprobs is None:
        return None
    content: list[dict[str, object]] = []
    for word in _WORD.findall(_text(reply)):
        token: dict[str, object] = {"token": word, "logprob": -0.5, "bytes": list(word.encode())}
        content.append(token | {"top_logprobs": [token] * reply.logprobs})
    return {"content": content, "refusal": None}


def _openai_usage(reply: Reply) -> dict[str, object]:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.input_tokens // 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _openai_call(reply: Reply, call: ToolCallPart) -> dict[str, object]:
    arguments: object = call.arguments
    if "object-arguments" in reply.quirks:
        arguments = Raw(call.arguments.encode())
    told: dict[str, object] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return told if "no-ids" in reply.quirks else told | {"id": call.call_id}


def _openai_call_deltas(reply: Reply, call: ToolCallPart, index: int) -> list[dict[str, object]]:
    whole = {"index": index} | _openai_call(reply, call)
    if "no-index" in reply.quirks:
        del whole["index"]
        return [{"tool_calls": [whole]}]
    if "object-arguments" in reply.quirks:
        return [{"tool_calls": [whole]}]
    whole["function"] = {"name": call.name, "arguments": ""}
    pieces = [{"index": index, "function": {"arguments": piece}} for piece in _argument_pieces(call.arguments)]
    return [{"tool_calls": [piece]} for piece in [whole, *pieces]]


def _argument_pieces(arguments: str) -> list[str]:
    return [arguments[start : start + _ARGUMENT_CHARS] for start in range(0, len(arguments), _ARGUMENT_CHARS)]


def _anthropic_head(reply: Reply) -> dict[str, object]:
    return {
        "id": f"msg_{reply.number}", "type": "message", "role": "assistant", "model": reply.model,
        "stop_sequence": None,
    }  # fmt: skip


def _anthropic_stop(reply: Reply) -> str:
    return "tool_use" if any(isinstance(part, ToolCallPart) for part in reply.parts) else "end_turn"


def _anthropic_usage(reply: Reply, output_tokens: int) -> dict[str, object]:
    cached = reply.input_tokens // 2
    return {
        "input_tokens": reply.input_tokens - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _anthropic_block(part: ReplyPart, *, whole: bool) -> dict[str, object]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text if whole else ""}
        case ReasoningPart(redacted=redacted) if redacted is not None:
            return {"type": "redacted_thinking", "data": redacted}
        case ReasoningPart(text=text, signature=signature):
            return {"type": "thinking", "thinking": text if whole else "", "signature": signature if whole else ""}
        case ToolCallPart(call_id=call_id, name=name, arguments=arguments):
            try:
                written = msgspec.json.decode(arguments, type=Raw)
            except msgspec.DecodeError:
                written = Raw(msgspec.json.encode({"malformed": arguments}))
            return {"type": "tool_use", "id": call_id, "name": name, "input": written if whole else {}}


def _anthropic_deltas(part: ReplyPart) -> list[dict[str, object]]:
    match part:
        case TextPart(text=text):
            return [{"type": "text_delta", "text": word} for word in _WORD.findall(text)]
        case ReasoningPart(redacted=redacted) if redacted is not None:
            return []
        case ReasoningPart(text=text, signature=signature):
            words: list[dict[str, object]] = [
                {"type": "thinking_delta", "thinking": word} for word in _WORD.findall(text)
            ]
            return [*words, {"type": "signature_delta", "signature": signature}]
        case ToolCallPart(arguments=arguments):
            return [{"type": "input_json_delta", "partial_json": piece} for piece in _argument_pieces(arguments)]


def _anthropic_event(name: str, fields: dict[str, object]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode({"type": name} | fields))
