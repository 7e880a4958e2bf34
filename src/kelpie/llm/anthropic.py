"""Codec of the Anthropic Messages API, pure.

Cache marks are set where they pay: after the tools, after the system prompt, and on the last two user
messages, so that the prefix which the previous request wrote is found again.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import KelpieError
from kelpie.limits import MODEL_CACHE_MARKS_MAX, MODEL_THINKING_TOKENS_MIN
from kelpie.llm.anthropic_reply import AnthropicStream, ErrorIn, decode_reply
from kelpie.llm.conversation import arguments_object, mend, system_text, wire_call_id, wire_name
from kelpie.llm.known_models import takes_temperature, thinks_adaptively
from kelpie.llm.messages import (
    ImagePart,
    ModelMessage,
    ModelReply,
    ModelRequest,
    ReasoningPart,
    ReplyFormat,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolReturnPart,
    VerdictPart,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.wire import ListedModel, ModelPage, ReplyOrigin, decode_json, provider_error

API_VERSION = b"2023-06-01"
OPENING_TEXT = "(The conversation begins.)"  # Anthropic wants the user to speak first
CONTINUE_TEXT = "(Continue.)"  # ... and last: the newer models refuse to continue their own message

_MARKED_USER_MESSAGES = MODEL_CACHE_MARKS_MAX - 2
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_BUDGETS = {"minimal": MODEL_THINKING_TOKENS_MIN, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_000}


class _CacheMark(Struct, frozen=True):
    type: str = "ephemeral"


class _Text(Struct, frozen=True, tag="text", omit_defaults=True):
    text: str
    cache_control: _CacheMark | None = None


class _Base64(Struct, frozen=True, tag="base64"):
    media_type: str
    data: str


class _Url(Struct, frozen=True, tag="url"):
    url: str


class _Image(Struct, frozen=True, tag="image"):
    source: _Base64 | _Url


class _Thinking(Struct, frozen=True, tag="thinking"):
    thinking: str
    signature: str


class _RedactedThinking(Struct, frozen=True, tag="redacted_thinking"):
    data: str


class _ToolUse(Struct, frozen=True, tag="tool_use"):
    id: str
    name: str
    input: Raw


class _ToolResult(Struct, frozen=True, tag="tool_result", omit_defaults=True):
    tool_use_id: str
    content: str | list[_Text | _Image] = ""
    is_error: bool = False
    cache_control: _CacheMark | None = None


_Block = _Text | _Image | _Thinking | _RedactedThinking | _ToolUse | _ToolResult


class _Message(Struct):
    role: Literal["user", "assistant"]
    content: list[_Block]


class _Tool(Struct, frozen=True, omit_defaults=True):
    name: str
    description: str
    input_schema: Raw
    cache_control: _CacheMark | None = None


class _ToolChoice(Struct, frozen=True, omit_defaults=True):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool = False


class _ThinkingChoice(Struct, frozen=True, omit_defaults=True):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _OutputFormat(Struct, frozen=True):
    schema: Raw
    type: str = "json_schema"


class _OutputChoice(Struct, frozen=True, omit_defaults=True):
    effort: str | None = None
    format: _OutputFormat | None = None


class _Request(Struct, omit_defaults=True):
    model: str
    max_tokens: int
    messages: list[_Message]
    system: list[_Text] = []
    tools: list[_Tool] = []
    tool_choice: _ToolChoice | None = None
    temperature: float | None = None
    thinking: _ThinkingChoice | None = None
    output_config: _OutputChoice | None = None
    stream: bool = False


class _ErrorBodyIn(Struct):
    error: ErrorIn | None = None


class _ModelIn(Struct):
    id: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class _ModelsIn(Struct):
    data: list[_ModelIn]
    has_more: bool = False
    last_id: str | None = None


class AnthropicWire:
    """See `wire.Wire`. The base URL is the host's, without `/v1`."""

    def headers(self, api_key: str) -> list[tuple[bytes, bytes]]:
        """The key goes into `x-api-key`."""
        return [
            (b"content-type", b"application/json"),
            (b"anthropic-version", API_VERSION),
            (b"x-api-key", api_key.encode()),
        ]

    def ask_path(self) -> str:
        """The messages endpoint."""
        return "/v1/messages"

    def list_path(self, after: str | None) -> str:
        """Pages of a thousand."""
        return "/v1/models?limit=1000" + (f"&after_id={after}" if after else "")

    def encode(self, request: ModelRequest, info: ModelInfo, *, stream: bool) -> bytes:
        """The body of one call."""
        assert request.model
        assert info.output_tokens_max > 0
        system = system_text(request)
        messages = _messages_of(mend(request.messages, plain=True), info.provider)
        _mark_last_user_messages(messages)
        body = _Request(
            model=request.model,
            max_tokens=request.sampling.output_tokens_max or info.output_tokens_max,
            messages=messages,
            system=[_Text(system, _CacheMark())] if system.strip() else [],
            tools=_tools_of(request.tools),
            stream=stream,
        )
        body.tool_choice = _choice_of(request)
        _choose_thinking(body, request, info)
        _choose_format(body, request.sampling.reply_format)
        if body.thinking is None and takes_temperature(request.model):
            body.temperature = request.sampling.temperature
        return msgspec.json.encode(body)

    def decode(self, body: bytes, origin: ReplyOrigin) -> ModelReply:
        """A whole reply."""
        return decode_reply(body, origin)

    def stream_decoder(self, origin: ReplyOrigin) -> "AnthropicStream":
        """A decoder for one streamed reply."""
        return AnthropicStream(origin)

    def error(self, status: int, body: bytes, retry_after_ms: int | None, provider: str) -> KelpieError:
        """The error in Anthropic's words."""
        assert status != 200
        try:
            told = msgspec.json.decode(body, type=_ErrorBodyIn).error or ErrorIn()
        except (msgspec.DecodeError, RecursionError):
            told = ErrorIn(message=body.decode("utf-8", "replace"))
        kinds = (told.type,) if told.type else ()
        return provider_error(provider, status, kinds, told.message or "", retry_after_ms)

    def decode_models(self, body: bytes) -> ModelPage:
        """A page of the list of models."""
        page = decode_json(body, _ModelsIn, "anthropic")
        models = tuple(
            ListedModel(model=one.id, context_tokens=one.max_input_tokens, output_tokens_max=one.max_tokens)
            for one in page.data
        )
        return ModelPage(models=models, after=page.last_id if page.has_more else None)


def _messages_of(messages: list[ModelMessage], provider: str) -> list[_Message]:
    """Alternating messages, the user's first and last."""
    told: list[_Message] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if not told and role == "assistant":
            told.append(_Message("user", [_Text(OPENING_TEXT)]))
        blocks = _blocks_of(message, provider)
        if told and told[-1].role == role:
            told[-1].content.extend(blocks)
        else:
            told.append(_Message(role, blocks))
    if not told or told[-1].role == "assistant":
        told.append(_Message("user", [_Text(CONTINUE_TEXT if told else OPENING_TEXT)]))
    return told


def _blocks_of(message: ModelMessage, provider: str) -> list[_Block]:
    blocks: list[_Block] = []
    for part in message.parts:
        match part:
            case TextPart(text=text):
                blocks.append(_Text(text))
            case ToolCallPart(call_id=call_id, name=name, arguments=arguments):
                blocks.append(_ToolUse(wire_call_id(call_id), wire_name(name), Raw(arguments_object(arguments))))
            case ImagePart():
                blocks.append(_image_of(part))
            case ToolReturnPart(call_id=call_id, ok=ok):
                blocks.append(_ToolResult(wire_call_id(call_id), _result_of(part), not ok))
            case VerdictPart():
                raise AssertionError("a verdict is no part of a prompt")
            case ReasoningPart(provider=made_by) if made_by != provider:
                pass
            case ReasoningPart(redacted=redacted) if redacted is not None:
                blocks.append(_RedactedThinking(redacted))
            case ReasoningPart(text=text, signature=signature) if signature is not None:
                blocks.append(_Thinking(text, signature))
            case ReasoningPart():
                pass  # unsigned thinking is refused
    assert blocks, "a mended message has more than thinking"
    assert len(blocks) <= len(message.parts)
    return blocks


def _result_of(part: ToolReturnPart) -> str | list[_Text | _Image]:
    text = part.text if part.text.strip() else ""
    if not part.images:
        return text
    return [*([_Text(text)] if text else []), *[_image_of(image) for image in part.images]]


def _image_of(image: ImagePart) -> _Image:
    if image.url is not None:
        return _Image(_Url(image.url))
    assert image.data is not None and image.media_type is not None
    return _Image(_Base64(image.media_type, image.data))


def _tools_of(tools: tuple[ToolDefinition, ...]) -> list[_Tool]:
    told = [_Tool(tool.name, tool.description, tool.parameters) for tool in tools]
    if told:
        told[-1] = msgspec.structs.replace(told[-1], cache_control=_CacheMark())
    return told


def _mark_last_user_messages(messages: list[_Message]) -> None:
    marked = 0
    for message in reversed(messages):
        last = message.content[-1]
        if message.role == "user" and isinstance(last, (_Text, _ToolResult)):
            message.content[-1] = msgspec.structs.replace(last, cache_control=_CacheMark())
            marked += 1
            if marked == _MARKED_USER_MESSAGES:
                return


def _choice_of(request: ModelRequest) -> _ToolChoice | None:
    """None leaves it to the model whether it calls a tool, and how many."""
    alone = not request.sampling.parallel_tool_calls
    if not request.tools or not (alone or request.must_call):
        return None
    if not request.must_call:
        return _ToolChoice("auto", disable_parallel_tool_use=alone)
    if len(request.tools) == 1:
        return _ToolChoice("tool", request.tools[0].name, disable_parallel_tool_use=alone)
    return _ToolChoice("any", disable_parallel_tool_use=alone)


def _choose_format(body: _Request, asked: ReplyFormat | None) -> None:
    """Ask for a reply of a schema; this API knows no form without one, that is asked for in words."""
    if asked is None or asked.kind == "json_object":
        return
    effort = None if body.output_config is None else body.output_config.effort
    body.output_config = _OutputChoice(effort, _OutputFormat(asked.schema))


def _choose_thinking(body: _Request, request: ModelRequest, info: ModelInfo) -> None:
    """Ask for thinking in the way this model understands; a budget comes on top of the words asked for.

    A model that must call a tool may not think before it does.
    """
    effort, budget = request.sampling.reasoning_effort, request.sampling.reasoning_tokens_max
    if effort == "none" or (effort is None and not budget) or (request.must_call and request.tools):
        return
    if thinks_adaptively(body.model):
        body.thinking = _ThinkingChoice("adaptive", display="summarized")
        if effort is not None:
            body.output_config = _OutputChoice(_EFFORTS[effort])
        return
    asked = max(budget or _BUDGETS[effort or "medium"], MODEL_THINKING_TOKENS_MIN)
    words = body.max_tokens
    body.max_tokens = max(words, min(words + asked, info.output_tokens_max))
    granted = min(asked, max(body.max_tokens - words, body.max_tokens // 2))
    if granted >= MODEL_THINKING_TOKENS_MIN:  # else this model's replies are too short to think in
        body.thinking = _ThinkingChoice("enabled", budget_tokens=granted)
        assert granted < body.max_tokens
