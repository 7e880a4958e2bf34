"""JSON schemas of tools: checking a model's arguments against one, and making one from a Python signature.

The check covers what tool schemas are made of: type, enum, const, properties, required, additionalProperties, items,
anyOf, oneOf (as anyOf), allOf, bounds of numbers and lengths, and $ref to a definition of the same schema. Other
keywords are ignored: they never refuse a call. Each schema is compiled once.
"""

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union

import msgspec
from msgspec import Raw

from kelpie.errors import InvalidInput
from kelpie.limits import (
    TOOL_ARGUMENTS_BYTES_MAX,
    TOOL_SCHEMA_BYTES_MAX,
    TOOL_SCHEMA_DEPTH_MAX,
    TOOL_SCHEMAS_COMPILED_MAX,
)
from kelpie.tools.tool import Tool

Json = Any  # a decoded JSON value
Schema = dict[str, Any]
Check = Callable[[Json, str], str | None]
"""Takes a value and where it stands; says what is wrong with it, or None."""

_TYPES: dict[str, Callable[[Json], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (isinstance(value, int) and not isinstance(value, bool)) or _is_whole(value),
}
_BOUNDS: dict[str, tuple[type | tuple[type, ...], Callable[[Json, Json], bool], str]] = {
    "minimum": ((int, float), lambda value, bound: value >= bound, "at least"),
    "maximum": ((int, float), lambda value, bound: value <= bound, "at most"),
    "exclusiveMinimum": ((int, float), lambda value, bound: value > bound, "more than"),
    "exclusiveMaximum": ((int, float), lambda value, bound: value < bound, "less than"),
    "minLength": (str, lambda value, bound: len(value) >= bound, "of a length of at least"),
    "maxLength": (str, lambda value, bound: len(value) <= bound, "of a length of at most"),
    "minItems": (list, lambda value, bound: len(value) >= bound, "of a length of at least"),
    "maxItems": (list, lambda value, bound: len(value) <= bound, "of a length of at most"),
}
_SCALARS: dict[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_ARGUMENT_LINE = re.compile(r"(\w+)(?: \([^)]*\))?: (.*)")


def check_arguments(tool: Tool, arguments_text: str) -> Raw | str:
    """The arguments as a JSON object that the tool's schema admits, or the reason why there is none, for the model.

    No text at all stands for no arguments. A null for an optional property that may not be null is taken as its
    absence, since models write it so; nothing else is changed.
    """
    raw = arguments_text.encode("utf-8", "replace") if arguments_text.strip() else b"{}"
    arguments = _read_arguments(raw)
    if isinstance(arguments, str):
        return arguments
    compiled = compile_schema(bytes(tool.parameters))
    nulls = [name for name, value in arguments.items() if value is None and name in compiled.null_means_absent]
    for name in nulls:
        del arguments[name]
    try:
        wrong = compiled.check(arguments, "")
    except RecursionError:
        return "the tool's own schema refers to itself without end"
    if wrong is not None:
        return wrong
    return Raw(msgspec.json.encode(arguments) if nulls else raw)


def _read_arguments(raw: bytes) -> Schema | str:
    if len(raw) > TOOL_ARGUMENTS_BYTES_MAX:
        return f"the arguments have {len(raw)} bytes and may have {TOOL_ARGUMENTS_BYTES_MAX}"
    try:
        arguments = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        return f"the arguments are not valid JSON: {error}"
    if not isinstance(arguments, dict):
        return f"the arguments must be a JSON object, not {_shown(arguments)}"
    return arguments


class CompiledSchema:
    """A schema ready to check with. `null_means_absent` names optional properties that admit no null."""

    __slots__ = ("check", "null_means_absent")

    def __init__(self, check: Check, null_means_absent: frozenset[str]) -> None:
        self.check = check
        self.null_means_absent = null_means_absent


@functools.lru_cache(maxsize=TOOL_SCHEMAS_COMPILED_MAX)
def compile_schema(schema_text: bytes) -> CompiledSchema:
    """The compiled schema of a tool's parameters. Raises InvalidInput when it is no schema of type object."""
    schema = _read_schema(schema_text)
    compiler = _Compiler(schema)
    check = compiler.compile({**schema, "type": "object"}, 0)
    properties: Schema = schema.get("properties", {})
    required = schema.get("required", [])
    optional = [name for name in properties if name not in required]
    try:
        absent = [name for name in optional if compiler.compile(properties[name], 1)(None, name) is not None]
    except RecursionError:
        raise InvalidInput("the schema refers to itself without end", field="parameters") from None
    return CompiledSchema(check, frozenset(absent))


def _read_schema(schema_text: bytes) -> Schema:
    if len(schema_text) > TOOL_SCHEMA_BYTES_MAX:
        raise InvalidInput(f"the schema has more than {TOOL_SCHEMA_BYTES_MAX} bytes", field="parameters")
    try:
        schema = msgspec.json.decode(schema_text, type=Schema)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInput(f"the parameters are not a JSON schema: {error}", field="parameters") from error
    if schema.get("type", "object") != "object":
        raise InvalidInput("the parameters of a tool are a schema of type object", field="parameters")
    return schema


class _Compiler:
    """Turns the parts of one schema into checks."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._references: dict[str, Check | None] = {}

    def compile(self, schema: Json, depth: int) -> Check:
        """The check for a schema at this depth."""
        if depth > TOOL_SCHEMA_DEPTH_MAX:
            raise InvalidInput(f"the schema is nested deeper than {TOOL_SCHEMA_DEPTH_MAX}", field="parameters")
        if isinstance(schema, bool):
            return _admit if schema else _refuse
        if not isinstance(schema, dict):
            raise InvalidInput(f"a schema is a JSON object, not {_shown(schema)}", field="parameters")
        checks = [
            *self._of_type(schema),
            *self._of_values(schema),
            *self._of_object(schema, depth),
            *self._of_array(schema, depth),
            *self._of_combinations(schema, depth),
            *_of_bounds(schema),
        ]
        return checks[0] if len(checks) == 1 else _all_of(checks)

    def _of_type(self, schema: Schema) -> list[Check]:
        if "type" not in schema:
            return []
        declared = schema["type"]
        names = declared if isinstance(declared, list) else [declared]
        if not names or any(not isinstance(name, str) or name not in _TYPES for name in names):
            raise InvalidInput(f"'type' cannot be {_shown(declared)}", field="parameters")
        tests = [_TYPES[name] for name in names]
        wanted = " or ".join(names)

        def check(value: Json, where: str) -> str | None:
            if any(test(value) for test in tests):
                return None
            return f"{_place(where)} must be of type {wanted}, not {_shown(value)}"

        return [check]

    def _of_values(self, schema: Schema) -> list[Check]:
        if "const" in schema:
            values = [schema["const"]]
        elif "enum" in schema:
            values = _list_of(schema, "enum")
        else:
            return []

        def check(value: Json, where: str) -> str | None:
            if any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values):
                return None
            return f"{_place(where)} must be one of {_shown(values)}, not {_shown(value)}"

        return [check]

    def _of_object(self, schema: Schema, depth: int) -> list[Check]:
        if not schema.keys() & {"properties", "required", "additionalProperties"}:
            return []
        properties = schema.get("properties", {})
        if not isinstance(properties, dict):
            raise InvalidInput("'properties' is a JSON object", field="parameters")
        inner = {name: self.compile(value, depth + 1) for name, value in properties.items()}
        required = _list_of(schema, "required") if "required" in schema else []
        if any(not isinstance(name, str) for name in required):
            raise InvalidInput("'required' is a list of names", field="parameters")
        other = self.compile(schema.get("additionalProperties", True), depth + 1)
        return [functools.partial(_check_object, inner, required, other)]

    def _of_array(self, schema: Schema, depth: int) -> list[Check]:
        if "items" not in schema or isinstance(schema["items"], list):  # lists are the tuples of older drafts
            return []
        inner = self.compile(schema["items"], depth + 1)

        def check(value: Json, where: str) -> str | None:
            if not isinstance(value, list):
                return None
            wrongs = (inner(part, f"{where}[{at}]") for at, part in enumerate(value))
            return next((wrong for wrong in wrongs if wrong is not None), None)

        return [check]

    def _of_combinations(self, schema: Schema, depth: int) -> list[Check]:
        checks: list[Check] = []
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                checks.append(_any_of([self.compile(part, depth + 1) for part in _list_of(schema, keyword)]))
        if "allOf" in schema:
            checks.append(_all_of([self.compile(part, depth + 1) for part in _list_of(schema, "allOf")]))
        if "$ref" in schema:
            checks.append(self._reference(schema["$ref"], depth))
        return checks

    def _reference(self, pointer: Json, depth: int) -> Check:
        """The check behind `#/$defs/name`, found when it is first used, so that a schema may contain itself."""
        found: Json = self._root
        for step in pointer.removeprefix("#").split("/")[1:] if isinstance(pointer, str) else ():
            found = found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        if not isinstance(pointer, str) or not pointer.startswith("#") or not isinstance(found, dict | bool):
            raise InvalidInput(f"'$ref' leads nowhere: {_shown(pointer)}", field="parameters")
        if pointer not in self._references:
            self._references[pointer] = None
            self._references[pointer] = self.compile(found, depth + 1)

        def check(value: Json, where: str) -> str | None:
            behind = self._references[pointer]
            assert behind is not None, "compiled before it is used"
            return behind(value, where)

        return check


def tool_schema(function: Callable[..., object]) -> tuple[str, Raw]:
    """The description and the JSON schema of a function's parameters, for declaring it as a tool.

    Positional-only parameters are the function's own context and not shown. Descriptions come from the docstring:
    text up to a line `Args:`, then one line `name: what it is` for each parameter. A parameter with a default is
    optional; `X | None` is shown as X, because its absence says the same.
    """
    text, told = _read_docstring(inspect.cleandoc(function.__doc__ or ""))
    hints = typing.get_type_hints(function)
    properties: Schema = {}
    required: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            continue
        assert name in told, f"{function.__name__}: parameter {name} is described"
        properties[name] = {**type_schema(hints[name]), "description": told.pop(name)}
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
    assert text and not told, f"{function.__name__}: described, and nothing that is not there: {sorted(told)}"
    schema = {"type": "object", "properties": properties, "required": required}
    return text, Raw(msgspec.json.encode(schema))


def type_schema(hint: object) -> Schema:
    """The schema of a type: str, int, float, bool, Literal of strings, a Struct, list of these, or one with None."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _struct_schema(hint)
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return {"type": "string", "enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": type_schema(arguments[0])}
    present = [argument for argument in arguments if argument is not types.NoneType]
    assert origin in (Union, types.UnionType) and len(present) == 1, f"no schema for {hint}"
    return type_schema(present[0])


def _struct_schema(kind: type[msgspec.Struct]) -> Schema:
    """An object; each field is `Annotated` with what the model is told of it."""
    properties: Schema = {}
    required: list[str] = []
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        inner, meta = typing.get_args(hint)
        assert isinstance(meta, msgspec.Meta) and meta.description, f"{kind.__name__}.{name} is described"
        properties[name] = {**type_schema(inner), "description": meta.description}
    for field in msgspec.structs.fields(kind):
        if field.required:
            required.append(field.name)
    assert properties, kind
    return {"type": "object", "properties": properties, "required": required}


def _read_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    text, _, lines = docstring.partition("\nArgs:\n")
    told: dict[str, str] = {}
    last = ""
    for line in lines.splitlines():
        match = _ARGUMENT_LINE.fullmatch(line.strip())
        if match and not line.startswith("        "):
            last = match[1]
            told[last] = match[2]
        elif line.strip():
            told[last] = f"{told[last]} {line.strip()}"
    return text.strip(), told


def _of_bounds(schema: Schema) -> list[Check]:
    checks: list[Check] = []
    for keyword, (kind, holds, words) in _BOUNDS.items():
        bound = schema.get(keyword)
        if isinstance(bound, int | float) and not isinstance(bound, bool):
            checks.append(functools.partial(_check_bound, kind, holds, words, bound))
    return checks


def _check_object(inner: dict[str, Check], required: list[str], other: Check, value: Json, where: str) -> str | None:
    if not isinstance(value, dict):
        return None
    for name in required:
        if name not in value:
            return f"{_place(where)} lacks the required '{name}'"
    for name, part in value.items():
        wrong = inner.get(name, other)(part, f"{where}.{name}" if where else name)
        if wrong is not None:
            return wrong
    return None


def _check_bound(
    kind: type | tuple[type, ...],
    holds: Callable[[Json, Json], bool],
    words: str,
    bound: float,
    value: Json,
    where: str,
) -> str | None:
    if not isinstance(value, kind) or isinstance(value, bool) or holds(value, bound):
        return None
    return f"{_place(where)} must be {words} {bound}"


def _all_of(checks: list[Check]) -> Check:
    def check(value: Json, where: str) -> str | None:
        wrongs = (one(value, where) for one in checks)
        return next((wrong for wrong in wrongs if wrong is not None), None)

    return check


def _any_of(checks: list[Check]) -> Check:
    def check(value: Json, where: str) -> str | None:
        wrongs = [one(value, where) for one in checks]
        return None if None in wrongs else " and ".join(wrong for wrong in wrongs if wrong is not None) or None

    return check


def _admit(_value: Json, _where: str) -> str | None:
    return None


def _refuse(_value: Json, where: str) -> str | None:
    return f"{_place(where)} is not a parameter here"


def _list_of(schema: Schema, keyword: str) -> list[Json]:
    values = schema[keyword]
    if not isinstance(values, list):
        raise InvalidInput(f"'{keyword}' is a list, not {_shown(values)}", field="parameters")
    return values


def _is_whole(value: Json) -> bool:
    return isinstance(value, float) and value.is_integer()


def _place(where: str) -> str:
    return f"'{where}'" if where else "the arguments object"


def _shown(value: Json) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"
