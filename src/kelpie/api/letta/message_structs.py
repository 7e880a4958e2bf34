"""The messages of the wire, as structs: every type, and what they are made of."""

from typing import Annotated, Any, Literal

from msgspec import Struct

from kelpie.api.route import one_of


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


class UrlImageOut(Struct, frozen=True, kw_only=True):
    """Where a picture is."""

    type: Literal["url"] = "url"
    url: str


class Base64ImageOut(Struct, frozen=True, kw_only=True):
    """A picture itself."""

    type: Literal["base64"] = "base64"
    media_type: str
    data: str
    detail: str | None = None


class LettaImageOut(Struct, frozen=True, kw_only=True):
    """A picture that the client knows by a name of its own."""

    type: Literal["letta"] = "letta"
    file_id: str
    media_type: str | None = None
    data: str | None = None
    detail: str | None = None


class ImageContent(Struct, frozen=True, kw_only=True):
    """A picture."""

    type: Literal["image"] = "image"
    source: Annotated[Any, one_of(UrlImageOut, Base64ImageOut, LettaImageOut)]


Content = list[Annotated[Any, one_of(TextContent, ImageContent)]] | str


class SystemMessage(MessageOut, frozen=True, kw_only=True):
    """Instructions."""

    message_type: Literal["system_message"] = "system_message"
    content: str


class UserMessage(MessageOut, frozen=True, kw_only=True):
    """What a person or program said to the agent."""

    message_type: Literal["user_message"] = "user_message"
    content: Content


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
    tool_return: Content
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


class ApprovalRequestMessage(MessageOut, frozen=True, kw_only=True):
    """Calls that wait for the client: to be allowed, or to be run by it. Streamed as tool calls are."""

    message_type: Literal["approval_request_message"] = "approval_request_message"
    tool_call: Annotated[Any, one_of(ToolCallOut, ToolCallDeltaOut)]
    tool_calls: list[ToolCallOut] | ToolCallDeltaOut | None = None


class ApprovalOut(Struct, frozen=True, kw_only=True):
    """What a person said of one call."""

    type: Literal["approval"] = "approval"
    tool_call_id: str
    approve: bool
    reason: str | None = None


class ApprovalResponseMessage(MessageOut, frozen=True, kw_only=True):
    """What the client said of the calls that waited; the older form has one verdict outside the list."""

    message_type: Literal["approval_response_message"] = "approval_response_message"
    approvals: list[Annotated[Any, one_of(ApprovalOut, ToolReturnOut)]] | None = None
    approve: bool | None = None
    approval_request_id: str | None = None
    reason: str | None = None


class SummaryMessage(MessageOut, frozen=True, kw_only=True):
    """What stands in the window for older messages."""

    message_type: Literal["summary_message"] = "summary_message"
    summary: str
    compaction_stats: dict[str, Any] | None = None


class EventMessage(MessageOut, frozen=True, kw_only=True):
    """That something happened to the window; a summary follows."""

    message_type: Literal["event_message"] = "event_message"
    event_type: Literal["compaction"] = "compaction"
    event_data: dict[str, Any]
