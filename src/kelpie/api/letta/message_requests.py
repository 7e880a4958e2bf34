"""Messages as clients send them: wire structs, and the way from them to ours.

What this server cannot do (ids of tokens, calls of a client's address) is refused by name: a request of which a part
would be ignored in silence would not be answered as it was meant.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from kelpie.agent.drafts import check_message_fields, check_messages
from kelpie.agent.state import ClientSkill, ClientTool, InputMessage, RunOptions
from kelpie.api.errors import Malformed, Unprocessable
from kelpie.api.letta.content_requests import ContentIn, read_content
from kelpie.api.letta.message_shapes import PLAIN_SPEECH, MessageType, Speech
from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.limits import (
    AGENT_SYSTEM_CHARS_MAX,
    CLIENT_TOOLS_MAX,
    IDEMPOTENCY_KEY_BYTES_MAX,
    TEXT_FIELD_CHARS_MAX,
    TOOL_CALLS_PER_STEP_MAX,
    TOOL_NAME_CHARS_MAX,
    TOOL_SCHEMA_BYTES_MAX,
    TURN_STEPS_DEFAULT,
    TURN_STEPS_MAX,
)
from kelpie.llm.messages import NO_JSON, ImagePart, TextPart, ToolReturnPart, VerdictPart

Role = Literal["user", "system", "assistant"]


class AnswerIn(Struct, frozen=True, kw_only=True):
    """What the client says of one call: a verdict, or what the call returned when the client ran it."""

    type: Literal["approval", "tool"] = "approval"
    tool_call_id: str
    approve: bool | None = None
    reason: str | None = None
    tool_return: str | list[ContentIn] | None = None
    status: Literal["success", "error"] = "success"
    stdout: list[str] | None = None
    stderr: list[str] | None = None


class ReturnIn(Struct, frozen=True, kw_only=True):
    """What a call returned that the client ran."""

    type: Literal["tool"] = "tool"
    tool_call_id: str
    tool_return: str | list[ContentIn]
    status: Literal["success", "error"]
    stdout: list[str] | None = None
    stderr: list[str] | None = None


class ClientToolIn(Struct, frozen=True, kw_only=True):
    """A tool that the client runs."""

    name: Annotated[str, Meta(pattern=f"^[a-zA-Z0-9_-]{{1,{TOOL_NAME_CHARS_MAX}}}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class ClientSkillIn(Struct, frozen=True, kw_only=True):
    """Something that the client's surroundings offer."""

    name: str
    description: str
    location: str


class MessageIn(Struct, frozen=True, kw_only=True):
    """A message, or one of the answers to tool calls that clients may send in its place."""

    type: Literal["message", "approval", "tool_return"] | None = None
    role: Role | None = None
    content: str | list[ContentIn] | None = None
    approvals: list[AnswerIn] | None = None
    approve: bool | None = None
    approval_request_id: str | None = None
    reason: str | None = None
    tool_returns: list[ReturnIn] | None = None
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
    client_tools: list[ClientToolIn] | None = None
    client_skills: list[ClientSkillIn] | None = None
    override_model: str | None = None
    override_system: str | None = None
    include_compaction_messages: bool | None = None
    return_logprobs: bool | None = None
    return_token_ids: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    streaming: bool | None = None
    stream_tokens: bool | None = None
    include_pings: bool | None = None
    background: bool | None = None
    callback_url: str | None = None


class ShownAs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How messages of a run are to be shown."""

    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"
    include_return_message_types: list[str] | None = None


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
        messages = tuple(_read_any(*pair) for pair in zip(wire.messages, places, strict=True))
    else:
        raise Malformed("Value error, Must specify either 'input' or 'messages'.", place=("body",))
    check_messages(messages)
    return messages


def read_message(wire: MessageIn, place: tuple[str | int, ...]) -> InputMessage:
    """One message that is said; `place` is where it stands in the request."""
    if wire.type in ("approval", "tool_return"):
        raise InvalidInput("a message that answers tool calls has no place here", field=str(place[1]))
    if wire.role is None:
        raise Malformed("Field required", place=(*place, "role"), kind="missing")
    if wire.content is None:
        raise Malformed("Field required", place=(*place, "content"), kind="missing")
    message = InputMessage(
        kind=wire.role,
        parts=read_content(wire.content, wire.role, (*place, "content")),
        otid=wire.otid,
        sender_id=wire.sender_id,
        name=wire.name,
    )
    check_message_fields(message)
    return message


def read_options(wire: SendIn, *, streamed: bool, background: bool) -> RunOptions:
    """How the run is to be made. Raises InvalidInput for what this server cannot do."""
    _refuse_unsupported(wire)
    _check_size("override_system", len(wire.override_system or ""), AGENT_SYSTEM_CHARS_MAX)
    _check_size("client_tools", len(wire.client_tools or ()), CLIENT_TOOLS_MAX)
    _check_size("client_skills", len(wire.client_skills or ()), CLIENT_TOOLS_MAX)
    if wire.top_logprobs is not None and not wire.return_logprobs:
        raise InvalidInput("top_logprobs needs return_logprobs", field="top_logprobs")
    skills = wire.client_skills or ()
    return RunOptions(
        steps_max=TURN_STEPS_DEFAULT if wire.max_steps is None else wire.max_steps,
        model=wire.override_model,
        stream_tokens=streamed and bool(wire.stream_tokens),
        background=background,
        system=wire.override_system,
        client_tools=tuple(_read_client_tool(tool) for tool in _with_unique_names(wire.client_tools or [])),
        client_skills=tuple(ClientSkill(**msgspec.structs.asdict(skill)) for skill in skills),
        logprobs=(wire.top_logprobs or 0) if wire.return_logprobs else None,
        wire=_shown_as(wire),
    )


def read_shown_as(options: RunOptions) -> ShownAs:
    """How the messages of a run are to be shown, as it was asked for."""
    return ShownAs() if options.wire == NO_JSON else msgspec.json.decode(options.wire, type=ShownAs)


def read_speech(options: RunOptions) -> Speech:
    """As what calls of the tool with which an agent speaks are shown, as the run was asked for."""
    if options.wire == NO_JSON:
        return PLAIN_SPEECH
    asked = read_shown_as(options)
    tool = asked.assistant_message_tool_name if asked.use_assistant_message else None
    return Speech(tool=tool, kwarg=asked.assistant_message_tool_kwarg)


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


def _read_any(wire: MessageIn, place: tuple[str | int, ...]) -> InputMessage:
    """A message that is said, or one that answers tool calls."""
    if wire.type not in ("approval", "tool_return"):
        return read_message(wire, place)
    if wire.type == "tool_return":
        if not wire.tool_returns:
            raise Malformed("Field required", place=(*place, "tool_returns"), kind="missing")
        parts = tuple(_read_return(one, (*place, "tool_returns", at)) for at, one in enumerate(wire.tool_returns))
    elif wire.approvals is not None:
        parts = tuple(_read_answer(one, (*place, "approvals", at)) for at, one in enumerate(wire.approvals))
    else:
        parts = (_read_verdict(wire, place),)
    if not parts or len(parts) > TOOL_CALLS_PER_STEP_MAX:
        sentence = f"an answer is about 1 to {TOOL_CALLS_PER_STEP_MAX} tool calls; this one is about {len(parts)}"
        raise InvalidInput(sentence, field="messages")
    message = InputMessage(kind="approval", parts=parts, otid=wire.otid)
    check_message_fields(message)
    return message


def _read_verdict(wire: MessageIn, place: tuple[str | int, ...]) -> VerdictPart:
    """The older form: one verdict on all calls of a message."""
    if wire.approve is None:
        raise Malformed("Field required", place=(*place, "approvals"), kind="missing")
    if wire.approval_request_id is None:
        raise Malformed("Field required", place=(*place, "approval_request_id"), kind="missing")
    _check_size("reason", len(wire.reason or ""), TEXT_FIELD_CHARS_MAX)
    return VerdictPart(call_id="", approve=wire.approve, reason=wire.reason, request_id=wire.approval_request_id)


def _read_answer(wire: AnswerIn, place: tuple[str | int, ...]) -> VerdictPart | ToolReturnPart:
    if wire.type == "tool" or (wire.approve is None and wire.tool_return is not None):
        if wire.tool_return is None:
            raise Malformed("Field required", place=(*place, "tool_return"), kind="missing")
        given = {name: getattr(wire, name) for name in ("tool_call_id", "tool_return", "status", "stdout", "stderr")}
        return _read_return(ReturnIn(**given), place)
    if wire.approve is None:
        raise Malformed("Field required", place=(*place, "approve"), kind="missing")
    _check_size("reason", len(wire.reason or ""), TEXT_FIELD_CHARS_MAX)
    return VerdictPart(call_id=wire.tool_call_id, approve=wire.approve, reason=wire.reason)


def _read_return(wire: ReturnIn, place: tuple[str | int, ...]) -> ToolReturnPart:
    """What a call returned; its name is known from the call."""
    parts = read_content(wire.tool_return, "user", (*place, "tool_return"))
    return ToolReturnPart(
        call_id=wire.tool_call_id,
        name="",
        text="\n".join(part.text for part in parts if isinstance(part, TextPart)),
        ok=wire.status == "success",
        stdout=None if wire.stdout is None else tuple(wire.stdout),
        stderr=None if wire.stderr is None else tuple(wire.stderr),
        images=tuple(part for part in parts if isinstance(part, ImagePart)),
    )


def _read_client_tool(wire: ClientToolIn) -> ClientTool:
    parameters = msgspec.json.encode({"type": "object", "properties": {}, **(wire.parameters or {})})
    _check_size("client_tools.parameters", len(parameters), TOOL_SCHEMA_BYTES_MAX)
    return ClientTool(name=wire.name, description=wire.description or "", parameters=Raw(parameters))


def _with_unique_names(tools: list[ClientToolIn]) -> list[ClientToolIn]:
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(f"client_tools: two tools have the name '{twice}'", field="client_tools")
    return tools


def _shown_as(wire: SendIn) -> Raw:
    """How messages are to be shown, where it differs from what is usual."""
    named = {name: value for name in ShownAs.__struct_fields__ if (value := getattr(wire, name)) is not None}
    asked = ShownAs(**named)
    return NO_JSON if asked == ShownAs() else Raw(msgspec.json.encode(asked))


def _check_size(field: str, size: int, maximum: int) -> None:
    if size > maximum:
        raise LimitExceeded(f"{field}: {size} are over the limit of {maximum}", field=field, maximum=maximum)


def _refuse_unsupported(wire: SendIn) -> None:
    """Whatever would change the answer and cannot."""
    if wire.return_token_ids:
        sentence = "return_token_ids is not supported: only the native endpoint of SGLang tells the ids of tokens"
        raise InvalidInput(sentence, field="return_token_ids")
    if wire.callback_url:
        sentence = "callback_url is not supported: this server calls no address that a client names; follow the run"
        raise InvalidInput(sentence, field="callback_url")
