"""Messages as clients send them: wire structs, and the way from them to ours.

What this server cannot do yet (images, client tools, approvals, probabilities of tokens) is refused by name: a
request of which a part would be ignored in silence would not be answered as it was meant.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from kelpie.agent.drafts import check_message_fields, check_messages
from kelpie.agent.state import InputMessage, RunOptions
from kelpie.api.errors import Malformed, Unprocessable
from kelpie.api.letta.message_shapes import MessageType
from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.limits import IDEMPOTENCY_KEY_BYTES_MAX, TURN_STEPS_DEFAULT, TURN_STEPS_MAX
from kelpie.llm.messages import TextPart

Role = Literal["user", "system", "assistant"]


class ContentIn(Struct, frozen=True, kw_only=True):
    """A piece of a message's content."""

    type: str = "text"
    text: str | None = None


class MessageIn(Struct, frozen=True, kw_only=True):
    """A message, or one of the answers to tool calls that clients may send in its place."""

    type: Literal["message", "approval", "tool_return"] | None = None
    role: Role | None = None
    content: str | list[ContentIn] | None = None
    otid: str | None = None
    name: str | None = None
    sender_id: str | None = None


class SendIn(Struct, frozen=True, kw_only=True):
    """A request to the agent: `messages`, or `input` as a short form of one."""

    messages: list[MessageIn] | None = None
    input: str | list[ContentIn] | None = None
    max_steps: Annotated[int, Meta(ge=1, le=TURN_STEPS_MAX)] | None = None
    use_assistant_message: bool | None = None
    assistant_message_tool_name: str | None = None
    assistant_message_tool_kwarg: str | None = None
    include_return_message_types: list[MessageType] | None = None
    client_tools: list[dict[str, Any]] | None = None
    client_skills: list[dict[str, Any]] | None = None
    override_model: str | None = None
    override_system: str | None = None
    include_compaction_messages: bool | None = None
    return_logprobs: bool | None = None
    return_token_ids: bool | None = None
    top_logprobs: int | None = None
    streaming: bool | None = None
    stream_tokens: bool | None = None
    include_pings: bool | None = None
    background: bool | None = None
    callback_url: str | None = None


def read_messages(wire: SendIn) -> tuple[InputMessage, ...]:
    """What was said. Raises Malformed, Unprocessable, InvalidInput, LimitExceeded."""
    if wire.input is not None and wire.messages is not None:
        raise Malformed(
            "Value error, Cannot specify both 'input' and 'messages'. Use one or the other.", place=("body",)
        )
    if wire.input is not None:
        messages = (read_message(MessageIn(role="user", content=wire.input), ("body", "input")),)
    elif wire.messages is not None:
        if not wire.messages:
            raise Unprocessable("Messages must not be empty", field="messages")
        places = (("body", "messages", at) for at in range(len(wire.messages)))
        messages = tuple(read_message(*pair) for pair in zip(wire.messages, places, strict=True))
    else:
        raise Malformed("Value error, Must specify either 'input' or 'messages'.", place=("body",))
    check_messages(messages)
    return messages


def read_message(wire: MessageIn, place: tuple[str | int, ...]) -> InputMessage:
    """One message; `place` is where it stands in the request."""
    if wire.type in ("approval", "tool_return"):
        raise InvalidInput(
            "No tool call is currently awaiting approval: there is nothing that this message answers", field="messages"
        )
    if wire.role is None:
        raise Malformed("Field required", place=(*place, "role"), kind="missing")
    if wire.content is None:
        raise Malformed("Field required", place=(*place, "content"), kind="missing")
    message = InputMessage(
        kind=wire.role,
        parts=_read_content(wire.content, (*place, "content")),
        otid=wire.otid,
        sender_id=wire.sender_id,
        name=wire.name,
    )
    check_message_fields(message)
    return message


def read_options(wire: SendIn, *, streamed: bool, background: bool) -> RunOptions:
    """How the run is to be made. Raises InvalidInput for what this server cannot do."""
    _refuse_unsupported(wire)
    return RunOptions(
        steps_max=TURN_STEPS_DEFAULT if wire.max_steps is None else wire.max_steps,
        model=wire.override_model,
        stream_tokens=streamed and bool(wire.stream_tokens),
        background=background,
    )


def read_key(headers: Mapping[bytes, bytes], messages: Sequence[InputMessage]) -> str | None:
    """Under which key a repeat is the same request: the header's, or that of all the messages' otids together."""
    header = headers.get(b"idempotency-key")
    if header:
        if len(header) > IDEMPOTENCY_KEY_BYTES_MAX:
            raise LimitExceeded(
                f"Idempotency-Key: {len(header)} bytes are over the limit of {IDEMPOTENCY_KEY_BYTES_MAX}",
                limit="IDEMPOTENCY_KEY_BYTES_MAX",
                maximum=IDEMPOTENCY_KEY_BYTES_MAX,
            )
        return f"key:{header.decode('latin-1')}"
    otids = [message.otid for message in messages if message.otid]
    if len(otids) < len(messages):
        return None
    return f"otid:{hashlib.sha256(chr(0).join(otids).encode()).hexdigest()}"


def _read_content(content: str | list[ContentIn], place: tuple[str | int, ...]) -> tuple[TextPart, ...]:
    if isinstance(content, str):
        return (TextPart(text=content),)
    parts: list[TextPart] = []
    for at, piece in enumerate(content):
        if piece.type != "text":
            sentence = f"content of type '{piece.type[:40]}' is not supported by this server; only text is"
            raise Malformed(sentence, place=(*place, at, "type"))
        if piece.text is None:
            raise Malformed("Field required", place=(*place, at, "text"), kind="missing")
        parts.append(TextPart(text=piece.text))
    return tuple(parts)


def _refuse_unsupported(wire: SendIn) -> None:
    """Whatever would change the answer and cannot."""
    asked = {
        "client_tools": wire.client_tools,
        "client_skills": wire.client_skills,
        "override_system": wire.override_system,
        "return_logprobs": wire.return_logprobs,
        "return_token_ids": wire.return_token_ids,
        "top_logprobs": wire.top_logprobs,
        "callback_url": wire.callback_url,
    }
    for field, value in asked.items():
        if value:
            raise InvalidInput(f"{field} is not supported by this server", field=field)
