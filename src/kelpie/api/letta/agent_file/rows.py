"""A message as the retired server stores it, in its files and in its database, and as we do.

There a message has a role, content, the calls that it makes and the returns that it brings, each in a field of its own.
What the model was told of a call is JSON text around the tool's own words, and so is what a user said to agents of the
older types; the words are ours, the envelope is not.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec
from msgspec import Struct

from kelpie.agent.wording import wrap_return
from kelpie.api.errors import Malformed
from kelpie.api.letta.content_requests import ImageSourceIn, read_image
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, ConversationId, MessageId, RunId, StepId
from kelpie.llm.messages import ImagePart, Part, ReasoningPart, TextPart, ToolCallPart, ToolReturnPart, VerdictPart
from kelpie.memory.history import MessageKind, StoredMessage

Row = Mapping[str, Any]
KINDS: dict[str, MessageKind] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "approval": "assistant",
    "tool": "tool",
    "function": "tool",
    "summary": "summary",
}
CONTENT_KINDS = frozenset(
    ("text", "image", "reasoning", "summarized_reasoning", "redacted_reasoning", "omitted_reasoning", "tool_call")
)
_SECOND_US = 1_000_000


class Place(Struct, frozen=True, kw_only=True):
    """Where a message is to stand."""

    id: MessageId
    agent_id: AgentId
    conversation_id: ConversationId | None = None
    seq: int


class Envelope(Struct, frozen=True):
    """What is around the words of a tool, or of a user."""

    type: str | None = None
    status: str | None = None
    message: Any = None
    time: str | None = None


_ENVELOPE = msgspec.json.Decoder(Envelope)


def read_row(row: Row, place: Place) -> StoredMessage:
    """The message at its place. Raises InvalidInput for a role or a content that is none."""
    role = row.get("role")
    kind = KINDS.get(role) if isinstance(role, str) else None
    if kind is None:
        raise InvalidInput(f"messages: '{str(role)[:40]}' is not the role of a message", field="messages")
    answers = row.get("approvals") or ()
    if role == "approval" and not row.get("tool_calls"):
        kind = "approval" if answers or row.get("approve") is not None else "tool"
    match kind:
        case "approval":
            parts = _read_answers(row, answers)
        case "tool":
            parts = _read_returns(row, answers)
        case _:
            parts = _read_parts(row, kind)
    return StoredMessage(
        id=place.id,
        agent_id=place.agent_id,
        conversation_id=place.conversation_id,
        seq=place.seq,
        kind=kind,
        parts=parts or (TextPart(text=""),),
        created_at_us=read_time(row.get("created_at")),
        run_id=None if row.get("run_id") is None else RunId(row["run_id"]),
        step_id=None if row.get("step_id") is None else StepId(row["step_id"]),
        otid=row.get("otid"),
        sender_id=row.get("sender_id"),
        name=None if kind == "tool" else row.get("name"),
    )


def show_row(stored: StoredMessage, number: Mapping[str, str], zone: tzinfo) -> dict[str, Any]:
    """The message as a file has it; `number` gives the ids that stand in the file, `zone` is the agent's."""
    calls = [part for part in stored.parts if isinstance(part, ToolCallPart)]
    returns = [part for part in stored.parts if isinstance(part, ToolReturnPart)]
    if stored.kind == "approval":
        returns, verdicts = [], [part for part in stored.parts if isinstance(part, VerdictPart)]
    else:
        verdicts = []
    told = (TextPart, ImagePart, ReasoningPart)
    said = [_show_part(part) for part in stored.parts if isinstance(part, told)]
    envelopes = [wrap_return(part, stored.created_at_us, zone) for part in returns]
    whole = next((part for part in verdicts if part.request_id is not None), None)
    return {
        "type": "message",
        "otid": stored.otid,
        "group_id": None,
        "role": "user" if stored.kind == "summary" else stored.kind,
        "content": [{"type": "text", "text": text, "signature": None} for text in envelopes[:1]] + said,
        "name": returns[0].name if returns else stored.name,
        "sender_id": stored.sender_id,
        "batch_item_id": None,
        "id": number[stored.id],
        "model": None,
        "agent_id": number[stored.agent_id],
        "tool_calls": [_show_call(call) for call in calls] or None,
        "tool_call_id": returns[0].call_id if returns else None,
        "tool_returns": [_show_return(part, text) for part, text in zip(returns, envelopes, strict=True)],
        "created_at": show_time(stored.created_at_us),
        "approve": None if whole is None else whole.approve,
        "approval_request_id": None if whole is None else whole.request_id,
        "denial_reason": None if whole is None else whole.reason,
        "approvals": _show_answers(stored) if whole is None else [],
    }


def read_picture(piece: Mapping[str, Any]) -> ImagePart:
    """A picture that stands in a message. Raises InvalidInput, also for one that is kept elsewhere."""
    try:
        return read_image(msgspec.convert(piece.get("source"), ImageSourceIn), ("body", "messages"))
    except (msgspec.ValidationError, Malformed) as error:
        raise InvalidInput(f"messages: a picture: {error}", field="messages") from None


def read_time(written: Any) -> int:
    """Microseconds since 1970 of a date as it is written there; one without a zone is of UTC. Raises InvalidInput."""
    try:
        moment = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        raise InvalidInput(f"created_at: {str(written)[:40]!r} is not a date", field="created_at") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    seconds = int(moment.replace(microsecond=0).timestamp())
    return max(0, seconds * _SECOND_US + moment.microsecond)


def show_time(at_us: int) -> str:
    """A date as it is written there."""
    moment = datetime.fromtimestamp(at_us // _SECOND_US, UTC).replace(microsecond=at_us % _SECOND_US)
    return moment.isoformat(timespec="microseconds")


def open_envelope(text: str) -> Envelope | None:
    """What `text` has in it, if it is an envelope."""
    if not text.startswith("{"):
        return None
    try:
        return _ENVELOPE.decode(text)
    except msgspec.MsgspecError:
        return None


def _read_parts(row: Row, kind: MessageKind) -> tuple[Part, ...]:
    """What was thought and said, then the calls."""
    parts: list[Part] = []
    for piece in _pieces(row):
        parts += _read_piece(piece)
    if kind == "user" and len(parts) == 1 and isinstance(parts[0], TextPart):
        envelope = open_envelope(parts[0].text)
        if envelope is not None and envelope.type == "user_message" and isinstance(envelope.message, str):
            parts = [TextPart(text=envelope.message)]
    return (*parts, *[_read_call(call) for call in row.get("tool_calls") or ()])


def _pieces(row: Row) -> Sequence[Mapping[str, Any]]:
    content = row.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content is None:  # the oldest rows have their text in a field of its own
        text = row.get("text")
        return [{"type": "text", "text": text}] if text else []
    if not isinstance(content, list) or not all(isinstance(piece, dict) for piece in content):
        raise InvalidInput("messages: the content of a message is a text or a list of parts", field="messages")
    return content


def _read_piece(piece: Mapping[str, Any]) -> list[Part]:
    match piece.get("type"):
        case "text":
            return [TextPart(text=str(piece.get("text") or ""))]
        case "image":
            return [read_picture(piece)]
        case "reasoning":
            return [ReasoningPart(text=str(piece.get("reasoning") or ""), signature=piece.get("signature"))]
        case "summarized_reasoning":
            summary = [str(one.get("text") or "") for one in piece.get("summary") or ()]
            return [ReasoningPart(text="\n".join(summary), signature=piece.get("encrypted_content"))]
        case "redacted_reasoning":
            return [ReasoningPart(redacted=str(piece.get("data") or ""))]
        case "omitted_reasoning":
            return []
        case "tool_call":
            arguments = msgspec.json.encode(piece.get("input") or {}).decode()
            return [ToolCallPart(call_id=str(piece["id"]), name=str(piece["name"]), arguments=arguments)]
        case kind:
            raise InvalidInput(f"messages: content of type '{str(kind)[:40]}' is not known", field="messages")


def _read_call(call: Any) -> ToolCallPart:
    try:
        function = call["function"]
        return ToolCallPart(call_id=call["id"], name=function["name"], arguments=function["arguments"])
    except (TypeError, KeyError):
        raise InvalidInput("messages: a tool call has an id and a function", field="messages") from None


def _read_returns(row: Row, answers: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """The returns of the calls; the oldest rows have one, in their content."""
    returns = list(row.get("tool_returns") or ()) or [one for one in answers if "func_response" in one]
    if returns:
        return tuple(_read_return(one, row) for one in returns)
    text = "\n".join(part.text for piece in _pieces(row) for part in _read_piece(piece) if isinstance(part, TextPart))
    envelope = open_envelope(text) or Envelope(message=text)
    return (
        ToolReturnPart(
            call_id=str(row.get("tool_call_id") or ""),
            name=str(row.get("name") or ""),
            text=_words(envelope, text),
            ok=envelope.status != "Failed",
        ),
    )


def _read_answers(row: Row, answers: Sequence[Mapping[str, Any]]) -> tuple[Part, ...]:
    """What a person, or the client, answered to calls: all at once in the older form, which names no call."""
    if not answers:
        given = {"reason": row.get("denial_reason"), "request_id": row.get("approval_request_id")}
        return (VerdictPart(call_id="", approve=bool(row["approve"]), **given),)
    return tuple(
        _read_return(one, row)
        if "func_response" in one
        else VerdictPart(
            call_id=str(one.get("tool_call_id") or ""), approve=bool(one.get("approve")), reason=one.get("reason")
        )
        for one in answers
    )


def _read_return(one: Mapping[str, Any], row: Row) -> ToolReturnPart:
    """A return: text, or a list of pieces, which is how pictures come along."""
    told = one.get("func_response")
    images: tuple[ImagePart, ...] = ()
    if isinstance(told, list) and all(isinstance(piece, dict) and "type" in piece for piece in told):
        parts = [part for piece in told for part in _read_piece(piece)]
        images = tuple(part for part in parts if isinstance(part, ImagePart))
        told = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    text = told if isinstance(told, str) else msgspec.json.encode(told).decode()
    return ToolReturnPart(
        call_id=str(one.get("tool_call_id") or row.get("tool_call_id") or ""),
        name=str(row.get("name") or ""),
        text=_words(open_envelope(text), text),
        ok=one.get("status") != "error",
        stdout=None if one.get("stdout") is None else tuple(one["stdout"]),
        stderr=None if one.get("stderr") is None else tuple(one["stderr"]),
        images=images,
    )


def _words(envelope: Envelope | None, text: str) -> str:
    """The tool's own words."""
    if envelope is None or envelope.status is None:
        return text
    return envelope.message if isinstance(envelope.message, str) else msgspec.json.encode(envelope.message).decode()


def _show_part(part: TextPart | ImagePart | ReasoningPart) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text, "signature": None}
        case ImagePart(url=str()):
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        case ImagePart():
            kept = {"media_type": part.media_type, "data": part.data, "detail": part.detail}
            kind = {"type": "base64"} if part.file_id is None else {"type": "letta", "file_id": part.file_id}
            return {"type": "image", "source": {**kind, **kept}}
        case ReasoningPart(redacted=str()):
            return {"type": "redacted_reasoning", "data": part.redacted}
        case ReasoningPart():
            return {"type": "reasoning", "is_native": True, "reasoning": part.text, "signature": part.signature}


def _show_call(call: ToolCallPart) -> dict[str, Any]:
    return {"id": call.call_id, "function": {"arguments": call.arguments, "name": call.name}, "type": "function"}


def _show_return(part: ToolReturnPart, text: str) -> dict[str, Any]:
    pieces = [_show_part(TextPart(text=text)), *map(_show_part, part.images)]
    return {
        "tool_call_id": part.call_id,
        "status": "success" if part.ok else "error",
        "stdout": None if part.stdout is None else list(part.stdout),
        "stderr": None if part.stderr is None else list(part.stderr),
        "func_response": pieces if part.images else text,
    }


def _show_answers(stored: StoredMessage) -> list[dict[str, Any]]:
    """The verdicts and returns of a message that answers calls; of any other none."""
    answers: list[dict[str, Any]] = []
    for part in stored.parts if stored.kind == "approval" else ():
        if isinstance(part, VerdictPart):
            verdict = {"approve": part.approve, "tool_call_id": part.call_id, "reason": part.reason}
            answers.append({"type": "approval", **verdict})
        elif isinstance(part, ToolReturnPart):
            answers.append(_show_return(part, part.text))
    return answers
