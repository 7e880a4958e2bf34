"""What a Python source says of its function: name, description, JSON schema of its parameters. Nothing of it is run.

The function is the one named, else the last at the top level, else the last method of a class. Descriptions come from
its docstring in the styles of Google, NumPy and Sphinx; types from annotations, classes of the same source included.
Result: {"ok": true, "name", "description", "parameters"} or {"ok": false, "error": sentence}.
"""

import ast
import os
import re
from typing import Any

from kelpie.sandbox.programs.ground import bound, read_input, write_result

Function = ast.FunctionDef | ast.AsyncFunctionDef
SCALARS = {"int": "integer", "str": "string", "bool": "boolean", "float": "number"}
LISTS = ("list", "List", "Sequence", "Iterable")
DICTS = ("dict", "Dict", "Mapping")
NOT_SHOWN = ("self", "cls", "agent_state")
SECTIONS = (
    "args arguments parameters params returns return raises yields examples example note notes warning see".split()
)
ARGUMENT_SECTIONS = ("args", "arguments", "parameters", "params")
GOOGLE = re.compile(r"(\*{0,2}\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
SPHINX = re.compile(r":param(?:\s+[\w\[\], .|]+?)?\s+(\w+):\s*(.*)")
TYPE_ONLY = re.compile(r"\w+ : [\w\[\], .|]+")  # in NumPy's style the description comes in the next line
DEPTH_MAX = 16


class Wrong(ValueError):
    """There is no schema, for this reason."""


def derive(code: str, name: str | None, args_schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema; of the parameters as `args_schema` has them, if it is given. Raises Wrong."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Wrong(f"Failed to parse source code: {error}") from None
    function = chosen(tree, name)
    assert name in (None, function.name)
    docstring = ast.get_docstring(function)
    if not docstring:
        raise Wrong(f"Function {function.name} missing docstring")
    description, told = read_docstring(docstring)
    types = Types({node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)})
    parameters = of_schema(args_schema) if args_schema else of_parameters(function, told, types)
    assert parameters["required"] is not None
    return {"ok": True, "name": function.name, "description": description, "parameters": parameters}


def of_parameters(function: Function, told: dict[str, str], types: "Types") -> dict[str, Any]:
    """The schema of what the model fills in."""
    properties: dict[str, Any] = {}
    required: list[str] = []
    for argument, default in parameters_of(function):
        place = f"Parameter '{argument.arg}' in function '{function.name}'"
        if argument.annotation is None:
            raise Wrong(f"{place} lacks a type annotation")
        if not told.get(argument.arg):
            raise Wrong(f"{place} lacks a description in the docstring")
        annotation = parsed(argument.annotation)
        schema = types.schema(annotation, 0)
        properties[argument.arg] = {**schema, "description": told[argument.arg]}
        if default is None and not is_optional(annotation):
            required.append(argument.arg)
    return {"type": "object", "properties": properties, "required": required}


def of_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The author's own schema, without references: those who read it may not follow them."""
    definitions = schema.get("$defs", {})
    properties = {name: inlined(one, definitions, 0) for name, one in schema.get("properties", {}).items()}
    return {"type": "object", "properties": properties, "required": schema.get("required", [])}


def inlined(schema: Any, definitions: dict[str, Any], depth: int) -> Any:
    """The schema with what it refers to in place, and null left out of unions: an absent argument says the same."""
    if depth > DEPTH_MAX:
        raise Wrong("the arguments schema is nested too deeply, or contains itself")
    if not isinstance(schema, dict):
        return schema
    assert isinstance(definitions, dict)
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        found = definitions.get(name, {})
        schema = {**{key: one for key, one in found.items() if key != "description"}, **schema}
    shown: dict[str, Any] = {}
    for key, one in schema.items():
        if key == "properties" and isinstance(one, dict):
            shown[key] = {field: inlined(inner, definitions, depth + 1) for field, inner in one.items()}
        elif key in ("items", "additionalProperties"):
            shown[key] = inlined(one, definitions, depth + 1)
        elif key in ("anyOf", "oneOf", "allOf") and isinstance(one, list):
            present = [inlined(inner, definitions, depth + 1) for inner in one if inner != {"type": "null"}]
            shown.update(present[0] if len(present) == 1 and isinstance(present[0], dict) else {key: present})
        elif key not in ("$ref", "$defs", "title", "default"):
            shown[key] = one
    assert "$ref" not in shown
    return shown


def chosen(tree: ast.Module, name: str | None) -> Function:
    """The function that is the tool."""
    functions = [node for node in tree.body if isinstance(node, Function)]
    if not functions:
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        functions = [node for one in classes for node in one.body if isinstance(node, Function)]
    if name is not None:
        named = [function for function in functions if function.name == name]
        if not named:
            raise Wrong(f"No function '{name}' found in source code")
        return named[-1]
    if not functions:
        raise Wrong("No functions found in source code")
    public = [function for function in functions if not function.name.startswith("_")]
    return (public or functions)[-1]


def parameters_of(function: Function) -> list[tuple[ast.arg, ast.expr | None]]:
    """The parameters that the model fills in, each with its default."""
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [(argument, default) for argument, default in pairs if argument.arg not in NOT_SHOWN]


def parsed(annotation: ast.expr) -> ast.expr:
    """The annotation, also where it is written as a string."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            return ast.parse(annotation.value, mode="eval").body
        except SyntaxError:
            raise Wrong(f"'{annotation.value}' is no type annotation") from None
    return annotation


def is_optional(annotation: ast.expr) -> bool:
    """Whether None is among what it admits."""
    return last_name(annotation) == "Optional" or any(is_none(one) for one in alternatives(annotation))


def is_none(annotation: ast.expr) -> bool:
    """Whether it is None itself."""
    return isinstance(annotation, ast.Constant) and annotation.value is None


def alternatives(annotation: ast.expr) -> list[ast.expr]:
    """The members of a union; of anything else, itself."""
    annotation = parsed(annotation)
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return [*alternatives(annotation.left), *alternatives(annotation.right)]
    if last_name(annotation) == "Union" and isinstance(annotation, ast.Subscript):
        return [one for inner in inside(annotation) for one in alternatives(inner)]
    return [annotation]


def last_name(annotation: ast.expr) -> str:
    """`List` of `typing.List[int]`."""
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    if isinstance(annotation, ast.Attribute):
        return annotation.attr
    return annotation.id if isinstance(annotation, ast.Name) else ""


def inside(annotation: ast.Subscript) -> list[ast.expr]:
    """What stands between the brackets."""
    inner = annotation.slice
    return list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]


class Types:
    """Schemas of annotations; `classes` are those of the source."""

    def __init__(self, classes: dict[str, ast.ClassDef]) -> None:
        self._classes = classes

    def schema(self, annotation: ast.expr, depth: int) -> dict[str, Any]:
        """The schema of a type. Raises Wrong where JSON has none."""
        if depth > DEPTH_MAX:
            raise Wrong("the types of its parameters are nested too deeply, or contain themselves")
        annotation = parsed(annotation)
        present = [one for one in alternatives(annotation) if not is_none(one)]
        if len(present) != 1:
            if not present:
                raise Wrong("Python type None has no corresponding JSON schema type")
            return {"anyOf": [self.schema(one, depth + 1) for one in present]}
        return self._single(present[0], depth)

    def _single(self, annotation: ast.expr, depth: int) -> dict[str, Any]:
        """The schema of a type that is no union."""
        name = last_name(annotation)
        inner = inside(annotation) if isinstance(annotation, ast.Subscript) else []
        if name in ("Optional", "Annotated") and inner:
            return self.schema(inner[0], depth + 1)
        if name in SCALARS and not inner:
            return {"type": SCALARS[name]}
        if name in LISTS:
            return {"type": "array", "items": self.schema(inner[0], depth + 1) if inner else {"type": "string"}}
        if name in DICTS:
            return self._mapping(inner, depth)
        if name == "Literal":
            return _literal(inner)
        if name in self._classes and not inner:
            return self._object(self._classes[name], depth)
        raise Wrong(f"Python type {ast.unparse(annotation)} has no corresponding JSON schema type")

    def _mapping(self, inner: list[ast.expr], depth: int) -> dict[str, Any]:
        if len(inner) != 2 or last_name(parsed(inner[1])) in ("Any", "object"):
            return {"type": "object"}
        return {"type": "object", "additionalProperties": self.schema(inner[1], depth + 1)}

    def _object(self, defined: ast.ClassDef, depth: int) -> dict[str, Any]:
        """A class with annotated fields: a model, a dataclass, a TypedDict."""
        properties: dict[str, Any] = {}
        required: list[str] = []
        for field in defined.body:
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            told, has_default = _field(field.value)
            schema = self.schema(field.annotation, depth + 1)
            properties[field.target.id] = {**schema, "description": told} if told else schema
            if not has_default:
                required.append(field.target.id)
        if not properties:
            raise Wrong(f"Python type {defined.name} has no corresponding JSON schema type")
        return {"type": "object", "properties": properties, "required": required}


def _literal(inner: list[ast.expr]) -> dict[str, Any]:
    values = [one.value for one in inner if isinstance(one, ast.Constant)]
    kinds = {type(value).__name__ for value in values}
    if len(values) != len(inner) or len(kinds) != 1 or not kinds <= SCALARS.keys():
        raise Wrong("a Literal holds texts, or numbers, of one type")
    return {"type": SCALARS[kinds.pop()], "enum": values}


def _field(value: ast.expr | None) -> tuple[str, bool]:
    """The description in `Field(...)`, and whether the field has a default."""
    if not isinstance(value, ast.Call):
        return "", value is not None
    named = {keyword.arg: keyword.value for keyword in value.keywords}
    told = named.get("description")
    text = told.value if isinstance(told, ast.Constant) and isinstance(told.value, str) else ""
    first = value.args[0] if value.args else named.get("default")
    is_open = isinstance(first, ast.Constant) and first.value is Ellipsis
    has_default = (first is not None and not is_open) or "default_factory" in named
    return text, has_default


def read_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """What the docstring says of the function, and of each parameter."""
    told: dict[str, str] = {}
    text: list[str] = []
    section, indent, last, underlined = "", -1, "", False
    lines = docstring.splitlines()
    assert lines, "it is not empty"
    for at, line in enumerate(lines):
        bare = line.strip()
        below = lines[at + 1].strip() if at + 1 < len(lines) else ""
        if found := SPHINX.match(bare):
            section, last = "sphinx", found[1]
            told[last] = found[2]
        elif bare.startswith(":") and bare.rstrip(":").count(":") >= 1:
            section, last = "sphinx", ""
        elif is_heading(bare, below):
            section, indent, last = bare.rstrip(":").split()[0].lower(), -1, ""
            underlined = not bare.endswith(":")
        elif set(bare) == {"-"}:
            continue
        elif section in ARGUMENT_SECTIONS:
            indent, last = _argument(line, indent, last, told)
            if underlined and TYPE_ONLY.fullmatch(bare):
                told[last] = ""
        elif section == "sphinx":
            if last and bare:
                told[last] = f"{told[last]} {bare}".strip()
        elif not section:
            text.append(line)
    assert all(told), "each has a name"
    return "\n".join(text).strip(), told


def is_heading(bare: str, below: str) -> bool:
    """`Args:`, or `Parameters` over a line of dashes."""
    word = bare.rstrip(":").lower()
    underlined = bool(below) and set(below) == {"-"}
    return (word in SECTIONS and bare.endswith(":")) or (underlined and bool(word) and word.split()[0] in SECTIONS)


def _argument(line: str, indent: int, last: str, told: dict[str, str]) -> tuple[int, str]:
    """One line of a section of arguments: a new one, or more about the last."""
    bare = line.strip()
    if not bare:
        return indent, last
    depth = len(line) - len(line.lstrip())
    if indent < 0 or depth <= indent:
        indent = depth
        if found := GOOGLE.fullmatch(bare):
            last = found[1].lstrip("*")
            told[last] = found[2]
        else:
            last = bare.split(",")[0].split()[0]
            told.setdefault(last, "")
    elif last:
        told[last] = f"{told[last]} {bare}".strip()
    return indent, last


def main() -> None:
    """Read, derive, tell."""
    given = read_input()
    bound(**given["bounds"])
    try:
        result = derive(given["code"], given["function"], given["args_schema"])
    except Wrong as wrong:
        result = {"ok": False, "error": str(wrong)}
    write_result(given["directory"], result)
    os._exit(0)


if __name__ == "__main__":
    main()
