"""The instructions that a scripted model follows when it finds them in what the user said.

    Reply with the message 'X'
    Call the TOOL tool with key 'value' and other_key "it's"     also key=5, key: true, key [1, 2]
    Call the TOOL tool with {"key": "value"}                     passed on as it stands, even if malformed
    Call the TOOL tool

Instructions in one message are followed together (parallel calls); after `then` the next ones wait for the
tools to return. A reply that is asked for after a call waits for it as well. Shared by the offline model
`kelpie/rehearsed` and the scripted model server, so that both know the same forms.
"""

import re

import msgspec
from msgspec import Struct

_MESSAGE_CHARS_MAX = 20_000  # beyond it nothing is looked for
_INSTRUCTION = re.compile(
    r"reply with (?:the message |the text )?(?P<quote>['\"])(?P<said>.*?)(?P=quote)(?!\w)"
    r"|call the [`'\"]?(?P<tool>[\w.-]+?)[`'\"]? tool\b(?P<with>\s+with\s+(?:the arguments\s+)?)?",
    re.IGNORECASE | re.DOTALL,
)
_KEY = r"(?:[\s,;]|and\b|with\b)*+`?(?P<key>[A-Za-z_]\w*+)`?\s*+(?:=|:|to\b|as\b)?+\s*+"
_ARGUMENT = re.compile(
    _KEY + r"(?:'(?P<single>(?:[^'\\]|\\.|'(?=\w))*)'|\"(?P<double>(?:[^\"\\]|\\.)*)\""
    r"|(?P<plain>-?\d+(?:\.\d+)?(?![\w.]*\w)|(?:true|false|null)\b))",
    re.DOTALL,
)
_STRUCTURE = re.compile(_KEY + r"(?=[\[{])")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t"}
_THEN = re.compile(r"\bthen\b", re.IGNORECASE)


class ScriptedCall(Struct, frozen=True, kw_only=True):
    """Call that tool with that argument text."""

    tool: str
    arguments: str


class ScriptedText(Struct, frozen=True, kw_only=True):
    """Say that."""

    text: str


ScriptStep = tuple[ScriptedCall | ScriptedText, ...]


def read_script(message: str) -> tuple[ScriptStep, ...]:
    """The steps that `message` asks for, each one reply of the model; none when it has no instruction."""
    steps: list[list[ScriptedCall | ScriptedText]] = []
    position = 0
    message = message[:_MESSAGE_CHARS_MAX]
    while (found := _INSTRUCTION.search(message, position)) is not None:
        waits = _THEN.search(message, position, found.start()) is not None
        position = found.end()
        if found["tool"] is None:
            one = ScriptedText(text=found["said"])
            waits = waits or (bool(steps) and isinstance(steps[-1][-1], ScriptedCall))
        else:
            arguments, position = _read_arguments(message, position) if found["with"] else ("{}", position)
            one = ScriptedCall(tool=found["tool"], arguments=arguments)
        if waits or not steps:
            steps.append([])
        steps[-1].append(one)
        assert position >= found.end(), "the search always moves on"
    assert all(steps), "a step has an instruction"
    return tuple(tuple(step) for step in steps)


def words_after_return(returned: tuple[str, ...]) -> str:
    """What a scripted model says of tool returns when its script says nothing more."""
    told = "; ".join(_return_message(text) for text in returned)
    return f"The tool returned: {told}" if len(returned) == 1 else f"The tools returned: {told}"


class _Envelope(Struct):
    """The form in which an agent may tell its model what a tool returned."""

    message: str


def _return_message(text: str) -> str:
    try:
        return msgspec.json.decode(text, type=_Envelope).message
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def _read_arguments(message: str, start: int) -> tuple[str, int]:
    """The argument text from `start` on, and where it ends."""
    assert 0 <= start <= len(message)
    if message[start : start + 1] == "{":
        end = _structure_end(message, start)
        return message[start:end], end
    arguments: dict[str, msgspec.Raw] = {}
    position = start
    while True:  # ends: every argument has at least two characters
        found = _ARGUMENT.match(message, position)
        if found is not None:
            arguments[found["key"]] = msgspec.Raw(_value_of(found))
            position = found.end()
            continue
        found = _STRUCTURE.match(message, position)
        if found is None:
            return msgspec.json.encode(arguments).decode(), position
        position = _structure_end(message, found.end())
        assert position > found.end(), "a bracket at least"
        arguments[found["key"]] = _structure_of(message[found.end() : position])


def _value_of(found: re.Match[str]) -> bytes:
    if found["plain"] is not None:
        return found["plain"].encode()
    text = found["single"] if found["single"] is not None else found["double"]
    assert text is not None
    return msgspec.json.encode(_ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), text))


def _structure_of(text: str) -> msgspec.Raw:
    """`text` if it is JSON, else the text as a JSON string."""
    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(text))


def _structure_end(message: str, start: int) -> int:
    """Where the JSON object or array that begins at `start` ends; the end of the line if it never does."""
    assert message[start] in "{["
    depth, in_string, position = 0, False, start
    while position < len(message):
        character = message[position]
        if in_string:
            if character == "\\":
                position += 1
            in_string = character != '"'
        elif character == '"':
            in_string = True
        elif character in "{[":
            depth += 1
        elif character in "}]":
            depth -= 1
            if depth == 0:
                return position + 1
        position += 1
    assert depth > 0 or in_string, "what is closed was answered above"
    line_end = message.find("\n", start)
    return len(message) if line_end < 0 else line_end
