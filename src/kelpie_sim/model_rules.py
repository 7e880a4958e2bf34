"""What the real providers refuse in a request: the scripted model server refuses the same, in its own words.

A request that passes here is one that the providers take, as far as their documents and their error messages
tell. Pure.
"""

import re

import msgspec

from kelpie_sim.model_wires import AskedBody, Block, Message, WireName

_ANTHROPIC_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_CACHE_MARKS_MAX = 4
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_THINKING_TOKENS_MIN = 1_024
_OPENAI_ID_CHARS_MAX = 40


def first_fault(wire: WireName, asked: AskedBody) -> str | None:
    """The first thing in the request that the provider would refuse; None when it would take it."""
    if not asked.messages:
        return "messages: at least one message is required"
    return _anthropic_fault(asked) if wire == "anthropic" else _openai_fault(asked)


def _anthropic_fault(asked: AskedBody) -> str | None:
    if asked.max_tokens is None or asked.max_tokens < 1:
        return "max_tokens: Field required"
    thinking = asked.thinking
    if thinking is not None and thinking.type == "enabled":
        if not _THINKING_TOKENS_MIN <= (thinking.budget_tokens or 0) < asked.max_tokens:
            return "`max_tokens` must be greater than `thinking.budget_tokens`, which must be at least 1024"
        if asked.temperature not in (None, 1):
            return "`temperature` may only be set to 1 when thinking is enabled"
        if _forces(asked):
            return "Thinking may not be enabled when tool_choice forces tool use."
    if asked.messages[0].role != "user" or asked.messages[-1].role != "user":
        return "messages: the conversation must begin and end with a user message"
    if _cache_marks(asked) > _CACHE_MARKS_MAX:
        return f"A maximum of {_CACHE_MARKS_MAX} blocks with cache_control may be provided"
    system = asked.system if isinstance(asked.system, list) else []
    return _blank_text(system, "system") or _anthropic_messages_fault(asked.messages)


def _anthropic_messages_fault(messages: list[Message]) -> str | None:
    used: list[str] = []
    open_ids: list[str] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if message.role not in ("user", "assistant"):
            return f"{where}: Unexpected role {message.role}"
        blocks = message.content if isinstance(message.content, list) else [Block(text=message.content or "")]
        if not blocks:
            return f"{where}: content must not be empty"
        fault = _blank_text(blocks, where) or _blank_picture(blocks, where)
        if fault:
            return fault
        results = [block.tool_use_id for block in blocks if block.type == "tool_result"]
        if sorted(results) != sorted(open_ids):
            return f"{where}: `tool_use` ids {open_ids} need `tool_result` blocks immediately after, found {results}"
        if any(block.type != "tool_result" for block in blocks[: len(results)]):
            return f"{where}: `tool_result` blocks must come first"
        calls = [block for block in blocks if block.type == "tool_use"]
        open_ids = [call.id for call in calls]
        used += open_ids
        for call in calls:
            if not _ANTHROPIC_ID.fullmatch(call.id) or not _TOOL_NAME.fullmatch(call.name):
                return f"{where}: tool_use id or name does not match the pattern"
            if not bytes(call.input).lstrip().startswith(b"{"):
                return f"{where}: tool_use.input: Input should be an object"
    if len(used) != len(set(used)):
        return "messages: `tool_use` ids must be unique"
    return None


def _openai_fault(asked: AskedBody) -> str | None:
    fault = _openai_choice_fault(asked)
    if fault is not None:
        return fault
    open_ids: list[str] = []
    for index, message in enumerate(asked.messages):
        where = f"messages[{index}]"
        if message.role not in ("system", "developer", "user", "assistant", "tool"):
            return f"{where}: invalid role {message.role}"
        if message.role == "tool":
            if message.tool_call_id not in open_ids:
                return f"{where}: role 'tool' must be a response to a preceding message with 'tool_calls'"
            open_ids.remove(message.tool_call_id)
            continue
        if open_ids:
            return f"{where}: 'tool_calls' must be followed by tool messages for each id; missing: {open_ids}"
        for call in message.tool_calls or ():
            if not call.id or len(call.id) > _OPENAI_ID_CHARS_MAX or not _TOOL_NAME.fullmatch(call.function.name):
                return f"{where}: tool call id or name is invalid"
            if not _is_object(call.function.arguments):
                return f"{where}: tool call arguments are not a JSON object"
            open_ids.append(call.id)
        if message.role != "assistant" and not message.content:
            return f"{where}: content is required"
        if message.role == "assistant" and not message.content and not message.tool_calls:
            return f"{where}: an assistant message needs content or tool_calls"
    return f"messages: missing tool messages for {open_ids}" if open_ids else None


def _openai_choice_fault(asked: AskedBody) -> str | None:
    if asked.tool_choice != "auto" and not asked.tools:
        return "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified."
    if asked.top_logprobs is not None and not asked.logprobs:
        return "'top_logprobs' needs 'logprobs' to be true"
    wanted = asked.response_format
    if wanted is not None and wanted.type == "json_object":
        texts = [message.content for message in asked.messages if isinstance(message.content, str)]
        if not any("json" in text.casefold() for text in texts):
            return "'messages' must contain the word 'json' in some form, to use 'response_format' of 'json_object'."
    if wanted is not None and wanted.type == "json_schema" and wanted.json_schema is None:
        return "Missing required parameter: 'response_format.json_schema'."
    return None


def _forces(asked: AskedBody) -> bool:
    choice = asked.tool_choice
    return choice != "auto" and (isinstance(choice, str) or choice.type in ("any", "tool"))


def _blank_picture(blocks: list[Block], where: str) -> str | None:
    for block in blocks:
        source = block.source
        if block.type == "image" and source is None:
            return f"{where}: image.source: Field required"
        if source is not None and source.type == "base64" and source.media_type not in _PICTURES:
            return f"{where}: image.source.base64.media_type: Input should be one of {_PICTURES}"
    return None


def _cache_marks(asked: AskedBody) -> int:
    blocks = list(asked.system) if isinstance(asked.system, list) else []
    for message in asked.messages:
        blocks += message.content if isinstance(message.content, list) else []
    marks = sum(block.cache_control is not None for block in blocks)
    return marks + sum(tool.cache_control is not None for tool in asked.tools)


def _blank_text(blocks: list[Block], where: str) -> str | None:
    if any(block.type == "text" and not block.text.strip() for block in blocks):
        return f"{where}: text content blocks must contain non-whitespace text"
    return None


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        return False
    return True
