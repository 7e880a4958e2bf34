"""What comes back on the Anthropic Messages API: a reply, whole or in pieces."""

from msgspec import Raw, Struct

from kelpie.errors import KelpieError, ModelUnavailable
from kelpie.llm.messages import Delta, FinishReason, ModelReply, Usage
from kelpie.llm.sse_parse import ServerEvent
from kelpie.llm.wire import ReplyDraft, ReplyOrigin, decode_json, provider_error

_FINISHES: dict[str | None, FinishReason] = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "tool_use": "tool_calls",
    "max_tokens": "length", "model_context_window_exceeded": "length", "refusal": "refusal",
}  # fmt: skip


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


class ErrorIn(Struct):
    """An error as Anthropic tells it."""

    type: str | None = None
    message: str | None = None


class _MessageStartIn(Struct):
    usage: _UsageIn | None = None


class _EventIn(Struct):
    type: str
    index: int = 0
    content_block: _BlockIn | None = None
    delta: _DeltaIn | None = None
    message: _MessageStartIn | None = None
    usage: _UsageIn | None = None
    error: ErrorIn | None = None


def decode_reply(body: bytes, origin: ReplyOrigin) -> ModelReply:
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
                raise _broken_off(self._origin.provider, told.error or ErrorIn())
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


def _broken_off(provider: str, error: ErrorIn) -> KelpieError:
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
