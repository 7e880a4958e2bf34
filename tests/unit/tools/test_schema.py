"""Schemas: what is admitted and refused, that every schema can be compiled or is refused, and signatures as schemas."""

from typing import Literal

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from kelpie.errors import InvalidInput
from kelpie.limits import TOOL_ARGUMENTS_BYTES_MAX, TOOL_SCHEMA_BYTES_MAX
from kelpie.tools.schema import check_arguments, compile_schema, tool_schema, type_schema
from kelpie_sim.tools import sim_tool

PERSON = """{"type": "object", "required": ["name"], "properties": {
  "name": {"type": "string", "minLength": 1},
  "age": {"type": "integer", "minimum": 0, "maximum": 150},
  "size": {"type": ["number", "null"]},
  "role": {"enum": ["user", "tool"]},
  "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
  "home": {"type": "object", "properties": {"zip": {"type": "string"}}, "additionalProperties": false},
  "contact": {"anyOf": [{"type": "string"}, {"type": "null"}]},
  "friend": {"$ref": "#"}, "kind": {"const": 1}
}}"""


def _check(schema: str, arguments: str) -> Raw | str:
    return check_arguments(sim_tool("look", schema), arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        '{"name":"Ada"}',
        '{"name":"Ada","age":5.0,"size":1.5,"role":"tool","tags":["a","b"],"home":{"zip":"1"}}',
        '{"name":"Ada","size":null,"contact":null,"unknown":{"kept":true}}',
        '{"name":"Ada","friend":{"name":"Bob","friend":{"name":"Cy"}},"kind":1}',
        ' {"name": "Ada"}\n',
    ],
)
def test_good_arguments_are_given_back_as_they_were(arguments):
    """Byte by byte."""
    assert _check(PERSON, arguments) == Raw(arguments.encode())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("{}", "the arguments object lacks the required 'name'"),
        ("", "the arguments object lacks the required 'name'"),
        ('{"name":5}', "'name' must be of type string, not 5"),
        ('{"name":""}', "'name' must be of a length of at least 1"),
        ('{"name":null}', "'name' must be of type string, not null"),
        ('{"name":"A","age":true}', "'age' must be of type integer, not true"),
        ('{"name":"A","age":1.5}', "'age' must be of type integer, not 1.5"),
        ('{"name":"A","age":-1}', "'age' must be at least 0"),
        ('{"name":"A","age":151}', "'age' must be at most 150"),
        ('{"name":"A","size":"x"}', "'size' must be of type number or null, not \"x\""),
        ('{"name":"A","role":"x"}', '\'role\' must be one of ["user","tool"], not "x"'),
        ('{"name":"A","kind":true}', "'kind' must be one of [1], not true"),
        ('{"name":"A","tags":["a",1]}', "'tags[1]' must be of type string, not 1"),
        ('{"name":"A","tags":["a","b","c"]}', "'tags' must be of a length of at most 2"),
        ('{"name":"A","home":{"street":1}}', "'home.street' is not a parameter here"),
        (
            '{"name":"A","contact":1}',
            "'contact' must be of type string, not 1 and 'contact' must be of type null, not 1",
        ),
        ('{"name":"A","friend":{}}', "'friend' lacks the required 'name'"),
        ("[1]", "the arguments must be a JSON object, not [1]"),
        ('{"name":', "the arguments are not valid JSON: Input data was truncated"),
    ],
)
def test_bad_arguments_are_refused_with_the_reason(arguments, reason):
    """The sentence names the place, what is wanted, and what was given."""
    assert _check(PERSON, arguments) == reason


def test_hostile_arguments_and_schemas_are_refused():
    """Too large, too deep, or a schema that refers to itself without end: a reason or InvalidInput, no crash."""
    assert "may have" in str(_check(PERSON, '{"name":"%s"}' % ("x" * TOOL_ARGUMENTS_BYTES_MAX)))
    assert "not valid JSON" in str(_check(PERSON, '{"name":' + "[" * 90_000))
    assert isinstance(_check(PERSON, '{"name":"\ud800"}'), Raw)
    loops = '{"properties":{"a":{"$ref":"#/$defs/x"}},"$defs":{"x":{"anyOf":[{"$ref":"#/$defs/x"}]}}}'
    with pytest.raises(InvalidInput):
        compile_schema(loops.encode())
    required = loops.replace('"properties"', '"required":["a"],"properties"')
    assert _check(required, '{"a":1}') == "the tool's own schema refers to itself without end"


@pytest.mark.parametrize(
    "schema",
    [
        "[]",
        "{",
        '{"type":"string"}',
        '{"properties":[]}',
        '{"properties":{"a":5}}',
        '{"properties":{"a":{"type":"text"}}}',
        '{"properties":{"a":{"type":[]}}}',
        '{"properties":{"a":{"enum":5}}}',
        '{"properties":{"a":{"anyOf":{}}}}',
        '{"required":"a"}',
        '{"required":[["a"]]}',
        '{"properties":{"a":{"$ref":"#/nowhere"}}}',
        '{"properties":{"a":{"$ref":"https://example.org"}}}',
        '{"properties":{"a":{"$ref":5}}}',
        '{"additionalProperties":null}',
        '{"properties":{"a":' + '{"items":' * 50 + "{}" + "}" * 52,
        '{"description":"%s"}' % ("x" * TOOL_SCHEMA_BYTES_MAX),
    ],
)
def test_malformed_schema_is_invalid_input(schema):
    """A tool that nobody can call rightly is refused when it is declared."""
    with pytest.raises(InvalidInput) as refused:
        compile_schema(schema.encode())
    assert refused.value.fields == {"field": "parameters"}


def test_null_stands_for_absence_where_null_is_not_admitted():
    """Only of optional properties; everything else stays."""
    assert _check(PERSON, '{"name":"A","age":null,"size":null,"role":null}') == Raw(b'{"name":"A","size":null}')
    assert _check('{"properties":{}}', "") == Raw(b"{}")


def test_unknown_keywords_do_not_refuse():
    """What we do not know is not checked."""
    assert _check('{"properties":{"a":{"pattern":"(","format":"date","items":[{}]}}}', '{"a":"x"}') == Raw(b'{"a":"x"}')


SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {},
            True,
            {"type": "string"},
            {"type": ["integer", "null"]},
            {"type": "number", "exclusiveMinimum": 1},
            {"enum": ["a", 1, None]},
            {"const": True},
            {"type": "boolean"},
            {"minLength": 2},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner),
        st.builds(lambda one, two: {"allOf": [one, two]}, inner, inner),
        st.builds(lambda one: {"type": "array", "items": one, "maxItems": 2}, inner),
        st.builds(
            lambda one, two: {"properties": {"a": one}, "required": ["a"], "additionalProperties": two}, inner, inner
        ),
    ),
    max_leaves=6,
)
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 2, 1.0, 1.5, "", "a", "abc"]),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=5,
)


@given(SCHEMAS, VALUES)
def test_check_agrees_with_jsonschema(schema, value):
    """On the keywords that we know, the reference implementation says the same."""
    outer = {"type": "object", "required": ["v"], "properties": {"v": schema}}
    says = _check(msgspec.json.encode(outer).decode(), msgspec.json.encode({"v": value}).decode())
    assert isinstance(says, Raw) == jsonschema.Draft202012Validator(outer).is_valid({"v": value})


async def find_person(
    world: object, /, name: str, age: int = 5, roles: list[Literal["user", "tool"]] | None = None, exact: bool = False
) -> str:
    """Find somebody.

    Among all people.

    Args:
    name: What they are called: by
        their friends.
    age: How old.
    roles: Which roles.
    exact: Whether to be exact.
    """
    return name


def test_signature_becomes_description_and_schema():
    """The context is not shown, defaults are optional, None is absence, descriptions come from the docstring."""
    text, schema = tool_schema(find_person)
    assert text == "Find somebody.\n\nAmong all people."
    assert msgspec.json.decode(schema) == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "What they are called: by their friends."},
            "age": {"type": "integer", "description": "How old."},
            "roles": {
                "type": "array",
                "items": {"type": "string", "enum": ["user", "tool"]},
                "description": "Which roles.",
            },
            "exact": {"type": "boolean", "description": "Whether to be exact."},
        },
        "required": ["name"],
    }
    assert type_schema(float | None) == {"type": "number"}


def test_signature_that_cannot_be_told_is_a_bug():
    """A parameter without a description, a description without a parameter, a type without a schema."""

    def silent(name: str) -> None:
        """Text."""

    def chatty() -> None:
        """Text.

        Args:
        name: Who.
        """

    for wrong in (silent, chatty):
        with pytest.raises(AssertionError):
            tool_schema(wrong)
    with pytest.raises(AssertionError):
        type_schema(dict)
