"""Codec of the Anthropic Messages API, pure.

Cache marks are set where they pay: after the tools, after the system prompt, and on the last two user
messages, so that the prefix which the previous request wrote is found again.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import KelpieError, ModelUnavailable
from kelpie.limits import MODEL_CACHE_MARKS_MAX, MODEL_THINKING_TOKENS_MIN
from kelpie.llm.conversation import arguments_object, mend, wire_call_id, wire_name
from kelpie.llm.known_models import takes_temperature, thinks_adaptively
from kelpie.llm.messages import (
    Delta,
    FinishReason,
    ModelMessage,
    ModelReply,
    ModelRequest,
    ReasoningPart,
    Sampling,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolReturnPart,
    Usage,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.sse_parse import ServerEvent
from kelpie.llm.wire import ListedModel, ModelPage, ReplyDraft, ReplyOrigin, decode_json, provider_error

API_VERSION = b"2023-06-01"
OPENING_TEXT = "(The conversation begins.)"  # Anthropic wants the user to speak first
CONTINUE_TEXT = "(Continue.)"  # ... and last: the newer models refuse to continue their own message

_MARKED_USER_MESSAGES = MODEL_CACHE_MARKS_MAX - 2
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_BUDGETS = {"minimal": MODEL_THINKING_TOKENS_MIN, "low": 2_048, "medium": 8_192, "high": 16_384, "xhigh": 32_000}
_FINISHES: dict[str | None, FinishReason] = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "tool_use": "tool_calls",
    "max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refusal",
}  # fmt: skip


class _CacheMark(Struct, frozen=True):
    type: str = "ephemeral"


class _Text(Struct, frozen=True, tag="text", omit_defaults=True):
    text: str
    cache_control: _CacheMark | None = None


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
    content: str = ""
    is_error: bool = False
    cache_control: _CacheMark | None = None


_Block = _Text | _Thinking | _RedactedThinking | _ToolUse | _ToolResult


class _Message(Struct):
    role: Literal["user", "assistant"]
    content: list[_Block]


class _Tool(Struct, frozen=True, omit_defaults=True):
    name: str
    description: str
    input_schema: Raw
    cache_control: _CacheMark | None = None


class _ToolChoice(Struct, frozen=True):
    type: str
    disable_parallel_tool_use: bool


class _ThinkingChoice(Struct, frozen=True, omit_defaults=True):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class _OutputChoice(Struct, frozen=True):
    effort: str


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


class _UsageIn(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: "_OutputDetailsIn | None" = None


class _OutputDetailsIn(Struct):
    thinking_tokens: int | None = None


class _BlockIn(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw(b"{}")


class _ReplyIn(Struct):
    content: list[_BlockIn]
    stop_reason: str | None = None
    usage: _UsageIn | None = None


class _DeltaIn(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _ErrorIn(Struct):
    type: str | None = None
    message: str | None = None


class _ErrorBodyIn(Struct):
    error: _ErrorIn | None = None


class _MessageStartIn(Struct):
    usage: _UsageIn | None = None


class _EventIn(Struct):
    type: str
    index: int = 0
    content_block: _BlockIn | None = None
    delta: _DeltaIn | None = None
    message: _MessageStartIn | None = None
    usage: _UsageIn | None = None
    error: _ErrorIn | None = None


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
        messages = _messages_of(mend(request.messages, plain=True), info.provider)
        _mark_last_user_messages(messages)
        body = _Request(
            model=request.model,
            max_tokens=request.sampling.output_tokens_max or info.output_tokens_max,
            messages=messages,
            system=[_Text(request.system, _CacheMark())] if request.system.strip() else [],
            tools=_tools_of(request.tools),
            stream=stream,
        )
        if request.tools and not request.sampling.parallel_tool_calls:
            body.tool_choice = _ToolChoice("auto", disable_parallel_tool_use=True)
        _choose_thinking(body, request.sampling, info)
        if body.thinking is None and takes_temperature(request.model):
            body.temperature = request.sampling.temperature
        return msgspec.json.encode(body)

    def decode(self, body: bytes, origin: ReplyOrigin) -> ModelReply:
        """A whole reply."""
        reply = decode_json(body, _ReplyIn, origin.provider)
        draft = ReplyDraft(origin)
        for block in reply.content:
            part = _begin_block(draft, block)[0]
            if part is not None:
                draft.add_arguments(part, _written(block))
                draft.end_call(part)
        draft.usage = _usage_of(Usage(), reply.usage)
        return draft.finished(_FINISHES.get(reply.stop_reason, "other"))

    def stream_decoder(self, origin: ReplyOrigin) -> "AnthropicStream":
        """A decoder for one streamed reply."""
        return AnthropicStream(origin)

    def error(self, status: int, body: bytes, retry_after_ms: int | None, provider: str) -> KelpieError:
        """The error in Anthropic's words."""
        assert status != 200
        try:
            told = msgspec.json.decode(body, type=_ErrorBodyIn).error or _ErrorIn()
        except (msgspec.DecodeError, RecursionError):
            told = _ErrorIn(message=body.decode("utf-8", "replace"))
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


class AnthropicStream:
    """Decodes one streamed reply; see `wire.StreamDecoder`."""

    def __init__(self, origin: ReplyOrigin) -> None:
        self.done = False
        self._origin = origin
        self._draft = ReplyDraft(origin)
        self._call_parts: dict[int, int] = {}  # content block -> part, for tool calls
        self._finish: FinishReason = "other"

    def feed(self, event: ServerEvent) -> list[Delta]:
        """The pieces that one event adds."""
        told = decode_json(event.data, _EventIn, self._origin.provider)
        match told.type:
            case "content_block_delta":
                return self._grow(told.index, told.delta or _DeltaIn())
            case "content_block_start":
                return self._begin(told.index, told.content_block or _BlockIn())
            case "content_block_stop":
                part = self._call_parts.pop(told.index, None)
                return [] if part is None else self._draft.end_call(part)
            case _:
                self._note(told)
                return []

    def _note(self, told: _EventIn) -> None:
        """Take what an event says of the message as a whole."""
        match told.type:
            case "message_start":
                self._draft.usage = _usage_of(self._draft.usage, told.message.usage if told.message else None)
            case "message_delta":
                self._draft.usage = _usage_of(self._draft.usage, told.usage)
                if told.delta is not None and told.delta.stop_reason is not None:
                    self._finish = _FINISHES.get(told.delta.stop_reason, "other")
            case "message_stop":
                self.done = True
            case "error":
                raise _broken_off(self._origin.provider, told.error or _ErrorIn())
            case _:
                pass  # ping, and what is not invented yet

    def finish(self) -> ModelReply:
        """The whole reply; ModelUnavailable when it ended before its end."""
        if not self.done:
            name = self._origin.provider
            raise ModelUnavailable(f"{name} ended its reply in the middle", provider=name)
        return self._draft.finished(self._finish)

    def _begin(self, index: int, block: _BlockIn) -> list[Delta]:
        part, deltas = _begin_block(self._draft, block)
        if part is not None:
            self._call_parts[index] = part
            deltas = deltas + self._draft.add_arguments(part, _written(block))
        return deltas

    def _grow(self, index: int, delta: _DeltaIn) -> list[Delta]:
        match delta.type:
            case "text_delta":
                return self._draft.add_text(delta.text or "")
            case "input_json_delta":
                part = self._call_parts.get(index)
                return [] if part is None else self._draft.add_arguments(part, delta.partial_json or "")
            case "thinking_delta":
                return self._draft.add_reasoning(delta.thinking or "")
            case "signature_delta":
                if delta.signature:
                    self._draft.seal_reasoning(signature=delta.signature)
        return []


def _broken_off(provider: str, error: _ErrorIn) -> KelpieError:
    return provider_error(provider, None, (error.type,) if error.type else (), error.message or "", None)


def _written(block: _BlockIn) -> str:
    """The arguments that a tool call has from its start: in a stream usually none."""
    text = bytes(block.input).decode()
    return "" if text in ("{}", "null") else text


def _begin_block(draft: ReplyDraft, block: _BlockIn) -> tuple[int | None, list[Delta]]:
    """Add what a content block has from its start; the part is given for a tool call, whose arguments follow."""
    match block.type:
        case "text":
            return None, draft.add_text(block.text or "")
        case "thinking":
            deltas = draft.add_reasoning(block.thinking or "")
            if block.signature:
                draft.seal_reasoning(signature=block.signature)
            return None, deltas
        case "redacted_thinking":
            draft.seal_reasoning(redacted=block.data or "")
            return None, []
        case "tool_use":
            return draft.begin_call(block.id, block.name or "")
        case _:
            return None, []


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
            case ToolReturnPart(call_id=call_id, text=text, ok=ok):
                blocks.append(_ToolResult(wire_call_id(call_id), text if text.strip() else "", not ok))
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


def _choose_thinking(body: _Request, sampling: Sampling, info: ModelInfo) -> None:
    """Ask for thinking in the way this model understands; a budget comes on top of the words asked for."""
    effort, budget = sampling.reasoning_effort, sampling.reasoning_tokens_max
    if effort == "none" or (effort is None and not budget):
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


def _usage_of(before: Usage, told: _UsageIn | None) -> Usage:
    """`before` with what was told now; the counts in a stream grow, and what is not told stays."""
    if told is None:
        return before
    read = before.cached_tokens if told.cache_read_input_tokens is None else told.cache_read_input_tokens
    written = before.cache_written_tokens
    if told.cache_creation_input_tokens is not None:
        written = told.cache_creation_input_tokens
    fresh = before.input_tokens - before.cached_tokens - before.cache_written_tokens
    if told.input_tokens is not None:
        fresh = told.input_tokens
    thought = told.output_tokens_details.thinking_tokens if told.output_tokens_details else None
    assert fresh is not None
    assert read is not None
    return Usage(
        input_tokens=fresh + read + written,
        output_tokens=before.output_tokens if told.output_tokens is None else told.output_tokens,
        cached_tokens=read,
        cache_written_tokens=written,
        reasoning_tokens=before.reasoning_tokens if thought is None else thought,
    )
