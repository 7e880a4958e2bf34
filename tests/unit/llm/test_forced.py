"""Goal: a scripted model obeys when it must. Method: by value."""

import msgspec
import pytest
from msgspec import Raw

from kelpie.llm.forced import fill, form, pick
from kelpie.llm.messages import ReplyFormat, TextPart, ToolCallPart, ToolDefinition
from kelpie.llm.rehearsed import rehearse

from .build import request, tool

SPEAK = ToolDefinition(
    name="speak",
    description="",
    parameters=Raw(b'{"type":"object","properties":{"message":{"type":"string"}},"required":["message"]}'),
)


def test_what_a_schema_requires_is_filled_in() -> None:
    """Each type has its value, an enumeration its first one, what is not required is left out."""
    schema = Raw(
        b'{"properties":{"a":{"type":"string"},"b":{"type":["integer","null"]},"c":{"enum":["x","y"]},"d":{}},'
        b'"required":["a","b","c"]}'
    )
    assert msgspec.json.decode(fill(schema, "hi")) == {"a": "hi", "b": 1, "c": "x"}
    assert fill(Raw(b'{"properties":[]}'), "hi") == "{}"


def test_the_tool_that_speaks_is_picked() -> None:
    """Also when it is not the first."""
    assert pick([tool(), SPEAK]) == SPEAK
    assert pick([tool()]) == tool()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (None, "hi"),
        (ReplyFormat(kind="json_object"), '{"reply":"hi"}'),
        (ReplyFormat(kind="json_schema", schema=SPEAK.parameters), '{"message":"hi"}'),
    ],
)
def test_text_is_put_into_the_form(asked: ReplyFormat | None, told: str) -> None:
    """What is in it already stays."""
    assert form("hi", asked) == told
    assert form('{"a": 1}', asked) == '{"a": 1}'


def test_the_offline_model_calls_when_it_must() -> None:
    """What it would have said becomes the call's argument."""
    asked = request("Reply with the message 'hi'", tools=(tool(), SPEAK))
    assert rehearse(asked).parts == (TextPart(text="hi"),)
    (part,) = rehearse(msgspec.structs.replace(asked, must_call=True)).parts
    assert isinstance(part, ToolCallPart) and (part.name, part.arguments) == ("speak", '{"message":"hi"}')
