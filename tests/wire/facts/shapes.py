"""A JSON value reduced to its shape, so that two servers' answers can be compared whatever they talked about."""

import json
import re
from typing import Any

_FORMS = (
    (re.compile(r"[a-z_]+-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "id"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "uuid"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"), "seconds"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"), "micros"),
)
_WORDS = (
    "message_type",
    "stop_reason",
    "status",
    "source",
    "type",
    "agent_type",
    "model_type",
)  # their values are facts


def shape(value: Any, key: str = "") -> Any:
    """Objects keep their keys, lists the distinct shapes of their items, texts their form, other values their type."""
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return _text_shape(value, key)
        case list():
            shapes: list[Any] = []
            for item in value:
                one = shape(item)
                if one not in shapes:
                    shapes.append(one)
            return shapes
        case dict():
            return {name: shape(item, name) for name, item in value.items()}
        case _:
            raise AssertionError(f"no JSON: {value!r}")


def _text_shape(text: str, key: str) -> str:
    if key in _WORDS:
        return f"={text}"
    for pattern, name in _FORMS:
        if pattern.fullmatch(text):
            return f"{name}:{text.partition('-')[0]}" if name == "id" else name
    return "text"


def stream_events(body: str) -> list[Any]:
    """What the frames of a stream say, whole ones only, the end mark as text."""
    frames = [frame.removeprefix("data: ") for frame in body.split("\n\n")[:-1] if frame.startswith("data: ")]
    return [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]
