"""Messages as the wire shows them. One stored message becomes several wire messages of the same id, one for each
thought, text, and all of its tool calls together; their otids number them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, assert_never

import msgspec
from msgspec import Struct

from kelpie.agent.events import FinishedEvent
from kelpie.agent.state import Run
from kelpie.api.letta.values import part_otid, seconds_date
from kelpie.api.route import one_of
from kelpie.llm.messages import Part, ReasoningPart, TextPart, ToolCallPart, ToolReturnPart
from kelpie.memory.history import StoredMessage

MessageType = Literal[
    "system_message",
    "user_message",
    "assistant_message",
    "reasoning_message",
    "hidden_reasoning_message",
    "tool_call_message",
    "tool_return_message",
    "approval_request_message",
    "approval_response_message",
    "summary_message",
    "event_message",
]


class MessageOut(Struct, frozen=True, kw_only=True):
    """What all messages have."""

    id: str
    date: str
    name: str | None = None
    message_type: str
    otid: str | None = None
    sender_id: str | None = None
    step_id: str | None = None
    is_err: bool | None = None
    seq_id: int | None = None
    run_id: str | None = None


class TextContent(Struct, frozen=True, kw_only=True):
    """A piece of text."""

    type: Literal["text"] = "text"
    text: str


class SystemMessage(MessageOut, frozen=True, kw_only=True):
    """Instructions."""

    message_type: Literal["system_message"] = "system_message"
    content: str


class UserMessage(MessageOut, frozen=True, kw_only=True):
    """What a person or program said to the agent."""

    message_type: Literal["user_message"] = "user_message"
    content: list[TextContent] | str


class AssistantMessage(MessageOut, frozen=True, kw_only=True):
    """What the agent said."""

    message_type: Literal["assistant_message"] = "assistant_message"
    content: list[TextContent] | str


class ReasoningMessage(MessageOut, frozen=True, kw_only=True):
    """What the model thought."""

    message_type: Literal["reasoning_message"] = "reasoning_message"
    source: Literal["reasoner_model", "non_reasoner_model"] = "reasoner_model"
    reasoning: str
    signature: str | None = None


class HiddenReasoningMessage(MessageOut, frozen=True, kw_only=True):
    """What the model thought and its provider encrypted."""

    message_type: Literal["hidden_reasoning_message"] = "hidden_reasoning_message"
    state: Literal["redacted", "omitted"] = "redacted"
    hidden_reasoning: str | None = None


class ToolCallOut(Struct, frozen=True, kw_only=True):
    """A whole call; `arguments` is JSON text."""

    name: str
    arguments: str
    tool_call_id: str


class ToolCallDeltaOut(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a call: the name comes with the first piece, arguments with the later ones."""

    name: str | None = None
    arguments: str | None = None
    tool_call_id: str | None = None


class ToolCallMessage(MessageOut, frozen=True, kw_only=True):
    """The agent calls tools. While it streams, `tool_call` and `tool_calls` are one and the same piece."""

    message_type: Literal["tool_call_message"] = "tool_call_message"
    tool_call: Annotated[Any, one_of(ToolCallOut, ToolCallDeltaOut)]
    tool_calls: list[ToolCallOut] | ToolCallDeltaOut | None = None


class ToolReturnOut(Struct, frozen=True, kw_only=True):
    """What came of one call."""

    type: Literal["tool"] = "tool"
    tool_return: str
    status: Literal["success", "error"]
    tool_call_id: str
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None


class ToolReturnMessage(MessageOut, frozen=True, kw_only=True):
    """What came of the calls of one step; the first one's fields are repeated outside the list."""

    message_type: Literal["tool_return_message"] = "tool_return_message"
    tool_return: str
    status: Literal["success", "error"]
    tool_call_id: str
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None
    tool_returns: list[ToolReturnOut] | None = None


class SummaryMessage(MessageOut, frozen=True, kw_only=True):
    """What stands in the window for older messages."""

    message_type: Literal["summary_message"] = "summary_message"
    summary: str
    compaction_stats: dict[str, Any] | None = None


class Ping(MessageOut, frozen=True, kw_only=True):
    """The stream is alive; the first one names the run."""

    message_type: Literal["ping"] = "ping"


class StopReasonOut(Struct, frozen=True, kw_only=True):
    """Why the run ended."""

    message_type: Literal["stop_reason"] = "stop_reason"
    stop_reason: str


class UsageOut(Struct, frozen=True, kw_only=True):
    """What the run cost."""

    message_type: Literal["usage_statistics"] = "usage_statistics"
    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    step_count: int
    run_ids: list[str] | None = None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    context_tokens: int | None


class ErrorMessage(Struct, frozen=True, kw_only=True):
    """Why the run failed, within a stream."""

    message_type: Literal["error_message"] = "error_message"
    run_id: str
    error_type: str
    message: str
    detail: str
    seq_id: int | None = None


WireMessage = (
    SystemMessage
    | UserMessage
    | AssistantMessage
    | ReasoningMessage
    | HiddenReasoningMessage
    | ToolCallMessage
    | ToolReturnMessage
    | SummaryMessage
)


MESSAGE_SHAPES = (
    SystemMessage,
    UserMessage,
    AssistantMessage,
    ReasoningMessage,
    HiddenReasoningMessage,
    ToolCallMessage,
    ToolReturnMessage,
    SummaryMessage,
    ToolCallOut,
    ToolCallDeltaOut,
)
ShownMessage = Annotated[Any, one_of(*MESSAGE_SHAPES[:8])]


def show_message(stored: StoredMessage) -> list[WireMessage]:
    """The wire messages of a stored one, in the order of its parts."""
    common = shared_fields(stored)
    match stored.kind:
        case "system":
            return [SystemMessage(**common, otid=stored.otid, content=_joined(stored.parts))]
        case "user":
            otid = stored.otid or part_otid(stored.id, 0)
            return [UserMessage(**common, otid=otid, content=_content(stored.parts))]
        case "summary":
            return [SummaryMessage(**common, otid=part_otid(stored.id, 0), summary=_joined(stored.parts))]
        case "tool":
            return _show_returns(stored, common)
        case "assistant":
            return _show_reply(stored, common)
        case _:
            assert_never(stored.kind)


def show_messages(stored: Sequence[StoredMessage]) -> list[WireMessage]:
    """The wire messages of all of them, in order."""
    return [shown for message in stored for shown in show_message(message)]


def shared_fields(stored: StoredMessage) -> dict[str, Any]:
    """The fields that all wire messages of a stored one share, otid left out."""
    return {
        "id": stored.id,
        "date": seconds_date(stored.created_at_us),
        "name": stored.name,
        "sender_id": stored.sender_id,
        "step_id": stored.step_id,
        "run_id": stored.run_id,
    }


def wire_indexes(parts: Sequence[Part]) -> list[int]:
    """Which wire message each part belongs to, as its number within the stored message."""
    indexes: list[int] = []
    calls_at: int | None = None
    following = 0
    for part in parts:
        if isinstance(part, ToolCallPart) and calls_at is not None:
            indexes.append(calls_at)
            continue
        if isinstance(part, ToolCallPart):
            calls_at = following
        indexes.append(following)
        following += 1
    assert len(indexes) == len(parts)
    return indexes


def show_reasoning(part: ReasoningPart, common: dict[str, Any], otid: str) -> WireMessage:
    """A thought, open or encrypted."""
    if part.redacted is not None:
        return HiddenReasoningMessage(**common, otid=otid, hidden_reasoning=part.redacted)
    return ReasoningMessage(**common, otid=otid, reasoning=part.text, signature=part.signature)


def show_call(part: ToolCallPart) -> ToolCallOut:
    """A whole call."""
    return ToolCallOut(name=part.name, arguments=part.arguments, tool_call_id=part.call_id)


def show_stop(finished: FinishedEvent) -> StopReasonOut:
    """Why the run ended."""
    return StopReasonOut(stop_reason=finished.stop_reason)


def show_usage(finished: FinishedEvent | Run) -> UsageOut:
    """What the run cost."""
    usage = finished.usage
    return UsageOut(
        completion_tokens=usage.output_tokens,
        prompt_tokens=usage.input_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        step_count=finished.steps,
        cached_input_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_written_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        context_tokens=finished.context_tokens,
    )


def with_seq(message: WireMessage, seq_id: int | None) -> WireMessage:
    """The message with its number in the stream."""
    return message if seq_id is None else msgspec.structs.replace(message, seq_id=seq_id)


def _show_reply(stored: StoredMessage, common: dict[str, Any]) -> list[WireMessage]:
    """What the model answered; parts without text are not shown, but keep their number."""
    shown: list[WireMessage] = []
    calls = [show_call(part) for part in stored.parts if isinstance(part, ToolCallPart)]
    calls_shown = False
    for part, index in zip(stored.parts, wire_indexes(stored.parts), strict=True):
        otid = part_otid(stored.id, index)
        match part:
            case ReasoningPart() if part.text or part.redacted or part.signature:
                shown.append(show_reasoning(part, common, otid))
            case TextPart() if part.text:
                shown.append(AssistantMessage(**common, otid=otid, content=part.text))
            case ToolCallPart() if not calls_shown:
                shown.append(ToolCallMessage(**common, otid=otid, tool_call=calls[0], tool_calls=calls))
                calls_shown = True
            case _:
                pass
    return shown


def _show_returns(stored: StoredMessage, common: dict[str, Any]) -> list[WireMessage]:
    parts = [part for part in stored.parts if isinstance(part, ToolReturnPart)]
    assert parts, "a message of kind tool has returns"
    returns = [_show_return(part) for part in parts]
    first = returns[0]
    return [
        ToolReturnMessage(
            **{**common, "name": parts[0].name},
            otid=part_otid(stored.id, 0),
            tool_return=first.tool_return,
            status=first.status,
            tool_call_id=first.tool_call_id,
            stdout=first.stdout,
            stderr=first.stderr,
            tool_returns=returns,
        )
    ]


def _show_return(part: ToolReturnPart) -> ToolReturnOut:
    return ToolReturnOut(
        tool_return=part.text,
        status="success" if part.ok else "error",
        tool_call_id=part.call_id,
        stdout=part.stdout,
        stderr=part.stderr,
    )


def _content(parts: Sequence[Part]) -> list[TextContent] | str:
    """One text as text, several as a list."""
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    return texts[0] if len(texts) == 1 else [TextContent(text=text) for text in texts]


def _joined(parts: Sequence[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))
