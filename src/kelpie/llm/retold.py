"""A model call told again in the words of its wire, from what is kept of it.

A request is encoded by the codec that encoded it then, so it is what was sent, as far as its parts are kept. Of a
reply its content, its end and its cost are kept, and not what a provider adds around them (its own ids, times,
fingerprints), so that is not told.
"""

import msgspec
from msgspec import Raw, Struct

from kelpie.llm.conversation import arguments_object
from kelpie.llm.messages import FinishReason, ModelReply, ModelRequest, ReasoningPart, TextPart, ToolCallPart, Usage
from kelpie.llm.model import ModelInfo
from kelpie.llm.providers import wire_of

_ENCODER = msgspec.json.Encoder()
_ANTHROPIC_ENDS: dict[FinishReason, str] = {
    "stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "refusal": "refusal", "other": "end_turn",
}  # fmt: skip
_OPENAI_ENDS: dict[FinishReason, str] = {
    "stop": "stop", "tool_calls": "tool_calls", "length": "length", "refusal": "content_filter", "other": "stop",
}  # fmt: skip


class _Function(Struct, frozen=True):
    name: str
    arguments: str


class _Call(Struct, frozen=True):
    id: str
    function: _Function
    type: str = "function"


class _Said(Struct, frozen=True, omit_defaults=True):
    content: str | None
    tool_calls: tuple[_Call, ...] = ()
    reasoning_content: str | None = None


class _Choice(Struct, frozen=True):
    index: int
    message: _Said
    finish_reason: str


class _InputDetails(Struct, frozen=True):
    cached_tokens: int


class _OutputDetails(Struct, frozen=True):
    reasoning_tokens: int


class _OpenAIUsage(Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _InputDetails
    completion_tokens_details: _OutputDetails


class _OpenAIReply(Struct, frozen=True):
    object: str
    model: str
    choices: tuple[_Choice, ...]
    usage: _OpenAIUsage


class _Text(Struct, frozen=True, tag="text"):
    text: str


class _Thinking(Struct, frozen=True, tag="thinking"):
    thinking: str
    signature: str


class _Redacted(Struct, frozen=True, tag="redacted_thinking"):
    data: str


class _ToolUse(Struct, frozen=True, tag="tool_use"):
    id: str
    name: str
    input: Raw


class _AnthropicUsage(Struct, frozen=True):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int


class _AnthropicReply(Struct, frozen=True):
    type: str
    role: str
    model: str
    content: tuple[_Text | _Thinking | _Redacted | _ToolUse, ...]
    stop_reason: str
    usage: _AnthropicUsage


def retell_request(info: ModelInfo, request: ModelRequest, *, stream: bool) -> Raw:
    """The request's body; of a model that has no wire the request in our own words."""
    match info.provider_kind:
        case "openai" | "anthropic":
            return Raw(wire_of(info.provider_kind, info.endpoint).encode(request, info, stream=stream))
        case _:
            return Raw(_ENCODER.encode(request))


def retell_reply(info: ModelInfo, reply: ModelReply) -> Raw:
    """The reply's body, as one that was not streamed."""
    if info.provider_kind == "anthropic":
        return Raw(_ENCODER.encode(_anthropic_reply(info, reply)))
    return Raw(_ENCODER.encode(_openai_reply(info, reply)))


def _openai_reply(info: ModelInfo, reply: ModelReply) -> _OpenAIReply:
    texts = [part.text for part in reply.parts if isinstance(part, TextPart)]
    thoughts = [part.text for part in reply.parts if isinstance(part, ReasoningPart) and part.text]
    calls = tuple(
        _Call(id=part.call_id, function=_Function(name=part.name, arguments=part.arguments))
        for part in reply.parts
        if isinstance(part, ToolCallPart)
    )
    said = _Said(
        content="".join(texts) if texts else None,
        tool_calls=calls,
        reasoning_content="".join(thoughts) if thoughts else None,
    )
    choice = _Choice(index=0, message=said, finish_reason=_OPENAI_ENDS[reply.finish])
    return _OpenAIReply(object="chat.completion", model=info.model, choices=(choice,), usage=_openai_usage(reply.usage))


def _openai_usage(usage: Usage) -> _OpenAIUsage:
    return _OpenAIUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=_InputDetails(cached_tokens=usage.cached_tokens),
        completion_tokens_details=_OutputDetails(reasoning_tokens=usage.reasoning_tokens),
    )


def _anthropic_reply(info: ModelInfo, reply: ModelReply) -> _AnthropicReply:
    usage = reply.usage
    return _AnthropicReply(
        type="message",
        role="assistant",
        model=info.model,
        content=tuple(map(_anthropic_block, reply.parts)),
        stop_reason=_ANTHROPIC_ENDS[reply.finish],
        usage=_AnthropicUsage(
            input_tokens=max(0, usage.input_tokens - usage.cached_tokens - usage.cache_written_tokens),
            output_tokens=usage.output_tokens,
            cache_read_input_tokens=usage.cached_tokens,
            cache_creation_input_tokens=usage.cache_written_tokens,
        ),
    )


def _anthropic_block(part: ReasoningPart | TextPart | ToolCallPart) -> _Text | _Thinking | _Redacted | _ToolUse:
    match part:
        case TextPart():
            return _Text(text=part.text)
        case ToolCallPart():
            return _ToolUse(id=part.call_id, name=part.name, input=Raw(arguments_object(part.arguments)))
        case ReasoningPart() if part.redacted is not None:
            return _Redacted(data=part.redacted)
        case ReasoningPart():
            return _Thinking(thinking=part.text, signature=part.signature or "")
