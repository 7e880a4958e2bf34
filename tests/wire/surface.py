"""The retired server's operations, and whether an answer is one that it might have given.

`operation_of` finds the operation of a request; `Operation.check` holds an answer against the OpenAPI document of
0.16.8: its status is one that is promised there, its JSON satisfies the schema, every event of its stream is a message
that clients know, and an error is `{"detail": "<sentence>"}`. Schemas are compiled once, when first asked for.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

FACTS = Path(__file__).parent / "facts"
SURFACE: dict[str, Any] = json.loads((FACTS / "surface.json").read_text())
ENDPOINTS: list[dict[str, str]] = json.loads((FACTS / "endpoints.json").read_text())
ALIAS, FIRST = "/latest/", "/v1/"
EVENT_KINDS = {
    "ping": "LettaPing",
    "stop_reason": "LettaStopReason",
    "usage_statistics": "LettaUsageStatistics",
    "error_message": "LettaErrorMessage",
}
MESSAGE_STREAMS = ("/messages", "/messages/stream", "/stream")  # how the paths end whose streams are of messages
FILES = ("/export",)  # how the paths end that the document has answer a string, and that answer an agent file
MISTAKES_SHOWN_MAX = 5
NEWER = {"Conversation": ("archived", "archived_at", "context_window_limit", "description")}  # what only 1.12.1 knows
for _name, _fields in NEWER.items():
    SURFACE["schemas"][_name]["properties"].update(dict.fromkeys(_fields, {}))


class Operation:
    """One operation, named `METHOD /path/{parameter}`; `facts` is None where the OpenAPI document has none of it."""

    def __init__(self, name: str, facts: dict[str, Any] | None) -> None:
        self.name = name
        self.facts = facts
        self._validators: dict[str, Any] = {}

    def check(self, status: int, content_type: str, body: bytes) -> None:
        """AssertionError unless the answer is one of this operation's."""
        if status >= 400:
            said = json.loads(body)
            told = said.get("detail")
            if isinstance(told, dict) and told.get("code") == "PENDING_APPROVAL":
                told = told.get("message")
            assert isinstance(told, str) and told, f"{self.name}: {status} without a sentence"
        elif self.facts is None:
            return
        elif content_type.startswith("text/event-stream"):
            assert self.facts["streams"], f"{self.name} has no streams"
            if self.name.endswith(MESSAGE_STREAMS):
                check_events(self.name, body)
        else:
            answers = self.facts["answers"]
            assert str(status) in answers, f"{self.name}: {status} where {sorted(answers)} is promised"
            if answers[str(status)] is None:
                assert body in (b"", b"null"), f"{self.name}: {status} says something: {body[:200]!r}"
            else:
                assert content_type.startswith("application/json"), f"{self.name}: {content_type}"
                file = self.name.endswith(FILES)
                validator = schema_named("AgentFileSchema") if file else self._validator(str(status))
                satisfy(self.name, validator, json.loads(body))

    def _validator(self, status: str) -> Any:
        assert self.facts is not None
        if status not in self._validators:
            self._validators[status] = compiled(self.facts["answers"][status])
        return self._validators[status]


def operation_of(method: str, path: str) -> Operation | None:
    """The operation that a request is for; words win over parameters, a last slash does not matter."""
    if path.startswith(ALIAS):
        path = FIRST + path.removeprefix(ALIAS)
    segments = path.strip("/").split("/")
    fitting = [
        one for pattern, one in patterns().get((method, len(segments)), []) if all(map(_fits, pattern, segments))
    ]
    return fitting[0] if fitting else None


@cache
def patterns() -> dict[tuple[str, int], list[tuple[list[str], Operation]]]:
    """Method and number of segments -> the paths that fit, those with words first."""
    found: dict[tuple[str, int], list[tuple[list[str], Operation]]] = {}
    for name, operation in operations().items():
        method, _, path = name.partition(" ")
        segments = path.strip("/").split("/")
        found.setdefault((method, len(segments)), []).append((segments, operation))
    for fitting in found.values():
        fitting.sort(key=lambda one: [segment.startswith("{") for segment in one[0]])
    return found


@cache
def operations() -> dict[str, Operation]:
    """Every operation of the list of endpoints, by name. ANY stands for POST, the one that such clients send."""
    names = [f"{one['method'].replace('ANY', 'POST')} {one['path']}" for one in ENDPOINTS]
    return {name: Operation(name, SURFACE["operations"].get(name)) for name in names}


def check_events(name: str, body: bytes) -> None:
    """Every event of a stream of messages is one that clients know, and the end is marked."""
    frames = [line.removeprefix("data: ") for line in body.decode().split("\n") if line.startswith("data: ")]
    assert frames and frames[-1] == "[DONE]", f"{name}: the stream does not end with [DONE]"
    for frame in frames[:-1]:
        event = json.loads(frame)
        kind = EVENT_KINDS.get(event["message_type"], "LettaMessageUnion")
        satisfy(f"{name}: {event['message_type']}", schema_named(kind), event)


@cache
def schema_named(name: str) -> Any:
    """The validator of one schema of the document."""
    return compiled({"$ref": f"#/components/schemas/{name}"})


def compiled(schema: dict[str, Any]) -> Any:
    """A validator of a schema that refers to the document's components."""
    return jsonschema_rs.Draft202012Validator({**schema, "components": {"schemas": SURFACE["schemas"]}})


def satisfy(name: str, validator: Any, value: Any) -> None:
    """AssertionError that says where a value is not as its schema has it."""
    if not validator.is_valid(value):
        mistakes = [f"{list(one.instance_path)}: {one.message[:300]}" for one in validator.iter_errors(value)]
        raise AssertionError(f"{name}:\n" + "\n".join(mistakes[:MISTAKES_SHOWN_MAX]))


def _fits(pattern: str, segment: str) -> bool:
    return pattern == segment or (pattern.startswith("{") and bool(segment))
