"""What the model is shown: the window as a prompt, how full it is, and what it may hold.

Sizes are estimates until the provider has counted; its last count is then taken for all that it covered, and
only what came later is estimated.
"""

from collections.abc import Sequence

from msgspec import Struct

from kelpie.limits import (
    CHARS_PER_TOKEN,
    COMPACTION_FILL_PERCENT,
    IMAGE_TOKENS,
    MESSAGE_OVERHEAD_TOKENS,
    WINDOW_MESSAGES_MAX,
)
from kelpie.llm.messages import (
    ImagePart,
    ModelMessage,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolReturnPart,
    VerdictPart,
)
from kelpie.memory.history import MessageKind, StoredMessage

NO_RETURN_TEXT = "No result of this call is known: it was interrupted."
SUMMARY_INTRODUCTION = (
    "(Not said by the user: earlier messages of this conversation were replaced by this summary."
    " They are kept, and can be searched.)\n"
)
_ROLES: dict[MessageKind, Role] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "summary": "user",
    "approval": "user",
}


class Counted(Struct, frozen=True, kw_only=True):
    """What the provider counted at the last step: prompt and reply, that is all messages with seq < next_seq.

    It no longer holds once messages were taken out of the window. `fixed_tokens` is what `fixed_tokens()` said
    then, when that is known, so that later edits of the system prompt and the tools are added.
    """

    tokens: int
    next_seq: int
    fixed_tokens: int | None = None


def prompt_messages(messages: Sequence[StoredMessage]) -> tuple[ModelMessage, ...]:
    """The window as the messages of a request, repaired; its leading system message is left to the request's `system`.

    Summaries speak with the user's role, since providers know no other for them. What a person decided about a call
    is told by the call's return.
    """
    said = messages[1:] if messages and messages[0].kind == "system" else messages
    return repair([_prompt_message(message) for message in said if message.kind != "approval"])


def repair(messages: Sequence[ModelMessage]) -> tuple[ModelMessage, ...]:
    """The same messages with every call answered right behind it and no answer without its call.

    A missing answer becomes one that says so; an answer whose call is not there is retold as the user's words;
    a message without parts is left out.
    """
    repaired: list[ModelMessage] = []
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        if message.role == "tool":
            repaired.extend(_retell(message.parts))
            continue
        if message.parts:
            repaired.append(message)
        calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        if not calls:
            continue
        returns: list[Part] = []
        while at < len(messages) and messages[at].role == "tool":
            returns.extend(messages[at].parts)
            at += 1
        repaired.append(ModelMessage(role="tool", parts=_answers(calls, returns)))
        repaired.extend(_retell(returns))
    assert at == len(messages)
    assert all(message.parts for message in repaired)
    return tuple(repaired)


def text_tokens(text: str) -> int:
    """The estimate for a text: its UTF-8 bytes by CHARS_PER_TOKEN, so that scripts with more tokens count for more."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
    return -(-size // CHARS_PER_TOKEN)


def message_tokens(message: StoredMessage | ModelMessage) -> int:
    """The estimate for one message."""
    return MESSAGE_OVERHEAD_TOKENS + sum(_part_tokens(part) for part in message.parts)


def fixed_tokens(system: str, tools: Sequence[ToolDefinition]) -> int:
    """The estimate for what every request of the agent carries: the compiled system prompt and the tools."""
    tokens = MESSAGE_OVERHEAD_TOKENS + text_tokens(system)
    for tool in tools:
        size = len(bytes(tool.parameters))
        tokens += MESSAGE_OVERHEAD_TOKENS + text_tokens(tool.name) + text_tokens(tool.description)
        tokens += -(-size // CHARS_PER_TOKEN)
    return tokens


def window_tokens(messages: Sequence[StoredMessage], *, fixed: int, counted: Counted | None) -> int:
    """How large a request with this window is; `fixed` is what `fixed_tokens` says now.

    The window's leading system message is not added: `fixed` stands for it.
    """
    assert fixed >= 0
    said = messages[1:] if messages and messages[0].kind == "system" else messages
    if counted is None:
        return fixed + sum(message_tokens(message) for message in said)
    later = sum(message_tokens(message) for message in said if message.seq >= counted.next_seq)
    grown = 0 if counted.fixed_tokens is None else fixed - counted.fixed_tokens
    return max(fixed, counted.tokens + grown + later)


def prompt_budget_tokens(context_window_tokens: int, output_tokens_max: int | None) -> int:
    """How many tokens a request may have before the window is compacted.

    COMPACTION_FILL_PERCENT of the context window, less when the reply needs more than the rest, but at least half.
    """
    assert context_window_tokens > 0
    filled = context_window_tokens * COMPACTION_FILL_PERCENT // 100
    if output_tokens_max is None:
        return filled
    return min(filled, max(context_window_tokens - output_tokens_max, context_window_tokens // 2))


def is_full(tokens: int, messages: int, budget_tokens: int) -> bool:
    """Whether a window of that many tokens and messages is to be compacted before the model is asked."""
    assert tokens >= 0 and messages >= 0
    return tokens > budget_tokens or messages >= WINDOW_MESSAGES_MAX


def _prompt_message(message: StoredMessage) -> ModelMessage:
    role = _ROLES[message.kind]
    parts = message.parts
    if message.kind == "summary":
        text = "\n".join(part.text for part in parts if isinstance(part, TextPart))
        parts = (TextPart(text=SUMMARY_INTRODUCTION + text),)
    return ModelMessage(role=role, parts=parts, name=message.name if role == "user" else None)


def _answers(calls: Sequence[ToolCallPart], returns: list[Part]) -> tuple[ToolReturnPart, ...]:
    """One return for each call, in the order of the calls, taken out of `returns`."""
    answers: list[ToolReturnPart] = []
    for call in calls:
        for at, part in enumerate(returns):
            if isinstance(part, ToolReturnPart) and part.call_id == call.call_id:
                answers.append(part)
                del returns[at]
                break
        else:
            answers.append(ToolReturnPart(call_id=call.call_id, name=call.name, text=NO_RETURN_TEXT, ok=False))
    assert len(answers) == len(calls)
    return tuple(answers)


def _retell(parts: Sequence[Part]) -> list[ModelMessage]:
    """Answers without their call, as words of the user."""
    told = [
        TextPart(text=f"(Result of an earlier call of {part.name}: {part.text})")
        for part in parts
        if isinstance(part, ToolReturnPart)
    ]
    return [ModelMessage(role="user", parts=tuple(told))] if told else []


def _part_tokens(part: Part) -> int:
    match part:
        case TextPart():
            return text_tokens(part.text)
        case ReasoningPart():
            return text_tokens(part.text) + text_tokens(part.redacted or "")
        case ToolCallPart():
            return MESSAGE_OVERHEAD_TOKENS + text_tokens(part.name) + text_tokens(part.arguments)
        case ToolReturnPart():
            return MESSAGE_OVERHEAD_TOKENS + text_tokens(part.text) + IMAGE_TOKENS * len(part.images)
        case ImagePart():
            return IMAGE_TOKENS
        case VerdictPart():
            return 0
