"""The form of replies on the wire: text, any JSON object, or one of a schema."""

from typing import Any

import msgspec
from msgspec import Raw

from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.limits import TOOL_SCHEMA_BYTES_MAX
from kelpie.llm.messages import ReplyFormat


def read_format(wire: dict[str, Any]) -> ReplyFormat | None:
    """None is text. Raises InvalidInput, LimitExceeded."""
    match wire.get("type"):
        case None | "text":
            return None
        case "json_object":
            return ReplyFormat(kind="json_object")
        case "json_schema" if isinstance(wire.get("json_schema"), dict):
            return _read_schema(wire["json_schema"])
        case kind:
            raise InvalidInput(f"response_format: '{str(kind)[:40]}' is no form of a reply", field="response_format")


def show_format(asked: ReplyFormat | None) -> dict[str, Any] | None:
    """As clients know it."""
    if asked is None:
        return None
    if asked.kind == "json_object":
        return {"type": "json_object"}
    schema = msgspec.json.decode(asked.schema)
    if not asked.name:
        return {"type": "json_schema", "json_schema": schema}
    strict = {} if asked.strict is None else {"strict": asked.strict}
    return {"type": "json_schema", "json_schema": {"name": asked.name, "schema": schema, **strict}}


def _read_schema(told: dict[str, Any]) -> ReplyFormat:
    """A schema with its name, as OpenAI has it, or a schema alone."""
    named = isinstance(told.get("schema"), dict)
    schema = msgspec.json.encode(told["schema"] if named else told)
    if len(schema) > TOOL_SCHEMA_BYTES_MAX:
        sentence = f"response_format: a schema of {len(schema)} bytes is over the limit of {TOOL_SCHEMA_BYTES_MAX}"
        raise LimitExceeded(sentence, limit="TOOL_SCHEMA_BYTES_MAX", maximum=TOOL_SCHEMA_BYTES_MAX)
    name, strict = told.get("name"), told.get("strict")
    return ReplyFormat(
        kind="json_schema",
        name=name if named and isinstance(name, str) and name else "reply" if named else "",
        schema=Raw(schema),
        strict=strict if named and isinstance(strict, bool) else None,
    )
