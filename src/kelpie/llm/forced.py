"""What a scripted model does when it must: call a tool whatever was said, or write JSON of a given form."""

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from kelpie.llm.messages import NO_JSON, ReplyFormat, ToolDefinition

_SPOKEN = "message"  # the argument of a tool with which an agent speaks


class _Property(Struct):
    type: str | list[str] = "string"
    enum: list[Raw] = []


class _Object(Struct):
    properties: dict[str, _Property] = {}
    required: list[str] = []


def pick(tools: Sequence[ToolDefinition]) -> ToolDefinition:
    """The tool to call when one must be called: the first with which something can be said, else the first."""
    assert tools, "one of none cannot be called"
    return next((tool for tool in tools if _SPOKEN in _read(tool.parameters).required), tools[0])


def fill(schema: Raw, text: str) -> str:
    """A JSON object with the properties that the schema requires; those that are strings are `text`."""
    told = _read(schema)
    values: dict[str, object] = {}
    for name in told.required:
        wanted = told.properties.get(name, _Property())
        kind = wanted.type if isinstance(wanted.type, str) else wanted.type[0]
        plain: dict[str, object] = {"integer": 1, "number": 1, "boolean": True, "array": [], "object": {}, "null": None}
        values[name] = wanted.enum[0] if wanted.enum else plain.get(kind, text)
    assert len(values) == len(set(told.required))
    return msgspec.json.encode(values).decode()


def form(text: str, asked: ReplyFormat | None) -> str:
    """The text in the form that is asked for; what is a JSON object already stays as it is."""
    if asked is None or _is_object(text):
        return text
    return msgspec.json.encode({"reply": text}).decode() if asked.schema == NO_JSON else fill(asked.schema, text)


def _read(schema: Raw) -> _Object:
    try:
        return msgspec.json.decode(schema, type=_Object)
    except msgspec.DecodeError:
        return _Object()  # properties in a form that is not looked at


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, Raw])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True
