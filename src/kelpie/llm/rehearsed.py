"""The offline model `kelpie/rehearsed`: no network, no key, the same answer to the same request.

It understands no language. It follows the instructions of `script.py`, tells what a tool returned, and
otherwise says that it only rehearses and how to configure a real model.
"""

import zlib

from kelpie.limits import CHARS_PER_TOKEN
from kelpie.llm.forced import fill, form, pick
from kelpie.llm.messages import (
    ImagePart,
    ModelMessage,
    ModelReply,
    ModelRequest,
    Part,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    Usage,
    VerdictPart,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.script import ScriptedCall, ScriptedText, ScriptStep, read_script, words_after_return

REHEARSED_INFO = ModelInfo(
    handle="kelpie/rehearsed",
    provider="kelpie",
    provider_kind="rehearsed",
    model="rehearsed",
    endpoint="offline",
    context_tokens=128_000,
    output_tokens_max=32_000,
)

_Said = tuple[TextPart | ToolCallPart, ...]
_ECHO_CHARS_MAX = 400


def rehearse(request: ModelRequest) -> ModelReply:
    """The reply, a function of the request alone."""
    said, replies, returned = situation(request.messages)
    steps = read_script(said)
    if replies < len(steps):
        parts = _perform(steps[replies], request, replies)
    elif returned:
        parts = (TextPart(text=words_after_return(returned)),)
    else:
        parts = (TextPart(text=_introduction(said) + _seen(request.messages)),)
    parts = _obey(parts, request, replies)
    calls = any(isinstance(part, ToolCallPart) for part in parts)
    written = sum(len(part.text if isinstance(part, TextPart) else part.arguments + part.name) for part in parts)
    usage = Usage(input_tokens=_tokens(_chars_in(request)), output_tokens=_tokens(written))
    return ModelReply(parts=parts, finish="tool_calls" if calls else "stop", usage=usage)


def situation(messages: tuple[ModelMessage, ...]) -> tuple[str, int, tuple[str, ...]]:
    """What the user said last, how often the model has replied to it, and what tools returned since its last reply."""
    said: list[str] = []
    replies = 0
    returned: list[str] = []
    for message in reversed(messages):
        texts = [part.text for part in message.parts if isinstance(part, TextPart)]
        if message.role == "user":
            said = texts + said
        elif said and message.role != "system":
            break
        elif message.role == "assistant":
            replies += 1
        elif message.role == "tool" and replies == 0:
            returned = [part.text for part in message.parts if isinstance(part, ToolReturnPart)] + returned
    return "\n".join(said), replies, tuple(returned)


def _perform(step: ScriptStep, request: ModelRequest, replies: int) -> _Said:
    offered = [tool.name for tool in request.tools]
    parts: list[TextPart | ToolCallPart] = []
    for index, one in enumerate(step):
        match one:
            case ScriptedText(text=text):
                parts.append(TextPart(text=text))
            case ScriptedCall(tool=tool, arguments=arguments) if tool in offered:
                parts.append(_call(request, replies, index, tool, arguments))
            case ScriptedCall(tool=tool):
                known = ", ".join(offered) or "none"
                parts.append(TextPart(text=f"There is no tool named {tool}. The tools that I have: {known}."))
    assert parts, "a step has an instruction"
    return tuple(parts)


def _obey(parts: _Said, request: ModelRequest, replies: int) -> _Said:
    """What is said, as a call if there must be one, and in the form that is asked for."""
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    if len(texts) < len(parts):
        return parts
    if request.must_call and request.tools:
        tool = pick(request.tools)
        return (_call(request, replies, 0, tool.name, fill(tool.parameters, "\n".join(texts))),)
    return tuple(TextPart(text=form(text, request.sampling.reply_format)) for text in texts)


def _call(request: ModelRequest, replies: int, index: int, tool: str, arguments: str) -> ToolCallPart:
    key = f"{request.step_id}/{replies}/{index}".encode()
    call_id = f"call_{zlib.crc32(key):08x}{zlib.adler32(key):08x}"
    return ToolCallPart(call_id=call_id, name=tool, arguments=arguments)


def _seen(messages: tuple[ModelMessage, ...]) -> str:
    """That the newest message of the user shows pictures, which this model cannot look at."""
    asked = next((message for message in reversed(messages) if message.role == "user"), None)
    count = 0 if asked is None else sum(isinstance(part, ImagePart) for part in asked.parts)
    return f" You showed {count} picture{'s' if count > 1 else ''}, at which I cannot look." if count else ""


def _introduction(said: str) -> str:
    heard = said if len(said) <= _ECHO_CHARS_MAX else f"{said[:_ECHO_CHARS_MAX]}… ({len(said)} characters)"
    return (
        f"This is kelpie/rehearsed, the offline model: I rehearse, I do not think. You said: {heard!r}. "
        "For a real model set OPENAI_API_KEY or ANTHROPIC_API_KEY, or OPENAI_BASE_URL for a server of your own, and "
        "give the agent a model such as openai/gpt-5-mini. What I can do: follow \"Reply with the message 'hello'\" "
        "and \"Call the NAME tool with key 'value'\"."
    )


def _chars_in(request: ModelRequest) -> int:
    chars = len(request.system)
    for message in request.messages:
        for part in message.parts:
            chars += _chars_of(part)
    return chars + sum(len(tool.description) + len(bytes(tool.parameters)) for tool in request.tools)


def _chars_of(part: Part) -> int:
    match part:
        case ToolCallPart():
            return len(part.arguments)
        case ImagePart() | VerdictPart():
            return 0
        case _:
            return len(part.text)


def _tokens(chars: int) -> int:
    assert chars >= 0
    return -(-chars // CHARS_PER_TOKEN)
