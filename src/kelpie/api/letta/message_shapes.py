"""Messages as the wire shows them. One stored message becomes several wire messages of the same id, one for each
thought, text, and all of its tool calls together; their otids number them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, assert_never

import msgspec
from msgspec import Struct

from kelpie.agent.events import FinishedEvent
from kelpie.agent.state import Run
from kelpie.agent.summaries import IN_TURN
from kelpie.api.letta.message_structs import (
    ApprovalOut,
    ApprovalRequestMessage,
    ApprovalResponseMessage,
    AssistantMessage,
    Base64ImageOut,
    EventMessage,
    HiddenReasoningMessage,
    ImageContent,
    LettaImageOut,
    MessageOut,
    ReasoningMessage,
    SummaryMessage,
    SystemMessage,
    TextContent,
    ToolCallDeltaOut,
    ToolCallMessage,
    ToolCallOut,
    ToolReturnMessage,
    ToolReturnOut,
    UrlImageOut,
    UserMessage,
)
from kelpie.api.letta.values import part_otid, seconds_date
from kelpie.api.route import one_of
from kelpie.llm.messages import (
    ImagePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    VerdictPart,
)
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
    | ApprovalRequestMessage
    | ApprovalResponseMessage
    | SummaryMessage
    | EventMessage
)


MESSAGE_SHAPES = (
    SystemMessage,
    UserMessage,
    AssistantMessage,
    ReasoningMessage,
    HiddenReasoningMessage,
    ToolCallMessage,
    ToolReturnMessage,
    ApprovalRequestMessage,
    ApprovalResponseMessage,
    SummaryMessage,
    EventMessage,
    ToolCallOut,
    ToolCallDeltaOut,
    ToolReturnOut,
    ApprovalOut,
    TextContent,
    ImageContent,
    UrlImageOut,
    Base64ImageOut,
    LettaImageOut,
)
ShownMessage = Annotated[Any, one_of(*MESSAGE_SHAPES[:11])]


class Speech(Struct, frozen=True, kw_only=True):
    """Which tool's calls are shown as what the agent said: the text is the argument `kwarg`. None: no tool's."""

    tool: str | None = "send_message"
    kwarg: str = "message"


PLAIN_SPEECH = Speech()


def show_message(stored: StoredMessage, speech: Speech = PLAIN_SPEECH) -> list[WireMessage]:
    """The wire messages of a stored one, in the order of its parts."""
    common = shared_fields(stored)
    match stored.kind:
        case "system":
            return [SystemMessage(**common, otid=stored.otid, content=_joined(stored.parts))]
        case "user":
            otid = stored.otid or part_otid(stored.id, 0)
            return [UserMessage(**common, otid=otid, content=_content(stored.parts))]
        case "summary":
            otid, stats = part_otid(stored.id, 0), _show_stats(stored)
            return [SummaryMessage(**common, otid=otid, summary=_joined(stored.parts), compaction_stats=stats)]
        case "tool":
            return _show_returns(stored, common, speech)
        case "approval":
            return [_show_answers(stored, common)]
        case "assistant":
            return _show_reply(stored, common, speech)
        case _:
            assert_never(stored.kind)


def show_messages(stored: Sequence[StoredMessage], speech: Speech = PLAIN_SPEECH) -> list[WireMessage]:
    """The wire messages of all of them, in order."""
    return [shown for message in stored for shown in show_message(message, speech)]


def show_compaction(summary: SummaryMessage) -> EventMessage:
    """That the window was compacted, for who wants to be told."""
    stats = summary.compaction_stats or {"trigger": IN_TURN}
    return EventMessage(
        id=summary.id,
        date=summary.date,
        otid=part_otid(summary.id, 1),
        step_id=summary.step_id,
        run_id=summary.run_id,
        event_data={**stats, "summary_message_id": summary.id},
    )


def _show_stats(stored: StoredMessage) -> dict[str, Any] | None:
    """What the summary made of its window; not known of older ones."""
    stats = stored.compaction
    if stats is None:
        return None
    return {
        "trigger": stats.trigger,
        "context_tokens_before": stats.tokens_before,
        "context_tokens_after": stats.tokens_after,
        "context_window": stats.context_tokens,
        "messages_count_before": stats.messages_before,
        "messages_count_after": stats.messages_after,
    }


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


def wire_indexes(parts: Sequence[Part], speech: Speech = PLAIN_SPEECH) -> list[int]:
    """Which wire message each part belongs to, as its number within the stored message.

    All calls share one, those that wait for the client another, and what the agent says with a tool has its own.
    """
    return number_parts([call_group(part, speech) for part in parts])


def number_parts(groups: Sequence[str | None]) -> list[int]:
    """A number for each part; those of one group share the number of its first."""
    if not any(groups):
        return list(range(len(groups)))
    numbers: list[int] = []
    firsts: dict[str, int] = {}
    following = 0
    for group in groups:
        if group is not None and group in firsts:
            numbers.append(firsts[group])
            continue
        if group is not None:
            firsts[group] = following
        numbers.append(following)
        following += 1
    assert len(numbers) == len(groups)
    return numbers


def call_group(part: Part, speech: Speech) -> str | None:
    """With which calls a call is shown; None for what is shown by itself."""
    if not isinstance(part, ToolCallPart) or spoken_text(part, speech) is not None:
        return None
    return "asks" if part.asks else "calls"


def spoken_text(call: ToolCallPart, speech: Speech) -> str | None:
    """What the agent says with this call; None when it does not speak with it, or so that it cannot be read."""
    if call.name != speech.tool or call.asks:
        return None
    try:
        told = msgspec.json.decode(call.arguments, type=dict[str, Any]).get(speech.kwarg)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return told if isinstance(told, str) else None


def show_reasoning(part: ReasoningPart, common: dict[str, Any], otid: str) -> WireMessage:
    """A thought, open or encrypted."""
    if part.redacted is not None:
        return HiddenReasoningMessage(**common, otid=otid, hidden_reasoning=part.redacted)
    if part.omitted:
        return HiddenReasoningMessage(**common, otid=otid, state="omitted")
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


def _show_reply(stored: StoredMessage, common: dict[str, Any], speech: Speech) -> list[WireMessage]:
    """What the model answered; parts without text are not shown, but keep their number."""
    shown: list[WireMessage] = []
    groups = [call_group(part, speech) for part in stored.parts]
    seen: list[str] = []
    for part, group, index in zip(stored.parts, groups, number_parts(groups), strict=True):
        otid = part_otid(stored.id, index)
        match part:
            case ReasoningPart() if part.text or part.redacted or part.signature or part.omitted:
                shown.append(show_reasoning(part, common, otid))
            case TextPart() if part.text and part.aside:
                shown.append(ReasoningMessage(**common, otid=otid, source="non_reasoner_model", reasoning=part.text))
            case TextPart() if part.text:
                shown.append(AssistantMessage(**common, otid=otid, content=part.text))
            case ToolCallPart() if group is None:
                shown.append(AssistantMessage(**common, otid=otid, content=spoken_text(part, speech) or ""))
            case ToolCallPart() if group not in seen:
                assert group is not None
                seen.append(group)
                calls = [each for each in stored.parts if isinstance(each, ToolCallPart)]
                same = [show_call(each) for each in calls if call_group(each, speech) == group]
                shown.append(_show_calls(same, group, stored, common, otid))
            case _:
                pass
    return shown


def _show_calls(
    calls: list[ToolCallOut], group: str, stored: StoredMessage, common: dict[str, Any], otid: str
) -> WireMessage:
    if group == "asks":
        return ApprovalRequestMessage(**common, otid=stored.id, tool_call=calls[0], tool_calls=calls)
    return ToolCallMessage(**common, otid=otid, tool_call=calls[0], tool_calls=calls)


def _show_answers(stored: StoredMessage, common: dict[str, Any]) -> WireMessage:
    """What the client said of calls; of one verdict alone, also in the older form."""
    verdicts = [part for part in stored.parts if isinstance(part, VerdictPart)]
    answers = [_show_answer(part) for part in stored.parts]
    alike = len(verdicts) == len(stored.parts) and len({part.approve for part in verdicts}) == 1
    alone = verdicts[0] if alike else None
    return ApprovalResponseMessage(
        **common,
        otid=stored.otid or part_otid(stored.id, 0),
        approvals=answers,
        approve=None if alone is None else alone.approve,
        approval_request_id=None if alone is None else alone.request_id,
        reason=None if alone is None else alone.reason,
    )


def _show_answer(part: Part) -> ApprovalOut | ToolReturnOut:
    if isinstance(part, ToolReturnPart):
        return _show_return(part)
    assert isinstance(part, VerdictPart), "an answer is a verdict or a return"
    return ApprovalOut(tool_call_id=part.call_id, approve=part.approve, reason=part.reason)


def _show_returns(stored: StoredMessage, common: dict[str, Any], speech: Speech) -> list[WireMessage]:
    parts = [part for part in stored.parts if isinstance(part, ToolReturnPart)]
    assert parts, "a message of kind tool has returns"
    parts = [part for part in parts if part.name != speech.tool or not part.ok]  # that something was said, is shown
    if not parts:
        return []
    returns = [_show_return(part) for part in parts]
    first = returns[0]
    return [
        ToolReturnMessage(
            **{**common, "name": parts[0].name},
            otid=part_otid(stored.id, 0),
            tool_return=parts[0].text,
            status=first.status,
            tool_call_id=first.tool_call_id,
            stdout=first.stdout,
            stderr=first.stderr,
            tool_returns=returns,
        )
    ]


def _show_return(part: ToolReturnPart) -> ToolReturnOut:
    return ToolReturnOut(
        tool_return=[TextContent(text=part.text), *map(_show_image, part.images)] if part.images else part.text,
        status="success" if part.ok else "error",
        tool_call_id=part.call_id,
        stdout=part.stdout,
        stderr=part.stderr,
    )


def _content(parts: Sequence[Part]) -> list[TextContent | ImageContent] | str:
    """One text as text, several and pictures as a list."""
    if len(parts) == 1 and isinstance(parts[0], TextPart):
        return parts[0].text
    content: list[TextContent | ImageContent] = []
    for part in parts:
        if isinstance(part, TextPart):
            content.append(TextContent(text=part.text))
        elif isinstance(part, ImagePart):
            content.append(_show_image(part))
    return content


def _show_image(image: ImagePart) -> ImageContent:
    if image.url is not None:
        return ImageContent(source=UrlImageOut(url=image.url))
    assert image.data is not None and image.media_type is not None
    if image.file_id is None:
        source = Base64ImageOut(media_type=image.media_type, data=image.data, detail=image.detail)
        return ImageContent(source=source)
    kept = {"media_type": image.media_type, "data": image.data, "detail": image.detail}
    return ImageContent(source=LettaImageOut(file_id=image.file_id, **kept))


def _joined(parts: Sequence[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))
