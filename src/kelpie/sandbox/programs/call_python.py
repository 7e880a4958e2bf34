"""Calls one function of a Python source: in a module of its own, with its arguments, and what it knows of its agent.

Input: `Call`'s fields. Result: {"ok": true, "value": text, "blocks": {label: value that it changed}}, or
{"ok": false, "error": "ValueError: what went wrong", "module": "a module that is not installed", or ""}.
"""

import __future__

import ast
import importlib
import inspect
import json
import linecache
import os
import sys
import traceback
import types
import typing
from typing import Any

from kelpie.sandbox.programs.ground import bound, bound_processes, read_input, write_result

MODULE = "tool"
FILE = "tool.py"
PLAIN = {"int": int, "float": float, "str": str, "bool": lambda value: str(value).lower() in ("true", "1", "yes")}


class Part(dict[str, Any]):
    """A JSON object whose members are also attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no '{name}' in it") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Memory(Part):
    """The blocks of an agent, as tools read and edit them."""

    def get_block(self, label: str) -> Part:
        """The block of that label; KeyError if there is none."""
        for block in self["blocks"]:
            if block["label"] == label:
                return block
        raise KeyError(f"Block field {label} does not exist (available sections = {self.list_block_labels()})")

    def get_blocks(self) -> list[Part]:
        """All blocks."""
        return self["blocks"]

    def list_block_labels(self) -> list[str]:
        """Their labels."""
        return [block["label"] for block in self["blocks"]]

    def update_block_value(self, label: str, value: str) -> None:
        """Give a block a new value."""
        if not isinstance(value, str):
            raise ValueError("Provided value must be a string")
        self.get_block(label)["value"] = value

    def set_block(self, block: Any) -> None:
        """Put this block in the place of the one of its label."""
        self.update_block_value(block["label"], block["value"])


def parts(value: Any) -> Any:
    """JSON with its objects as Parts."""
    if isinstance(value, dict):
        return Part({name: parts(inner) for name, inner in value.items()})
    return [parts(inner) for inner in value] if isinstance(value, list) else value


def load(given: dict[str, Any]) -> types.ModuleType:
    """The source as a module. Annotations are not evaluated: often their names were not sent along."""
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    module.__file__ = FILE
    module.__dict__.update({name: getattr(typing, name) for name in typing.__all__})
    for name in class_names(given["args_schema"]):
        module.__dict__[name] = type(name, (Part,), {})
    if given["preamble"]:
        exec(compile(given["preamble"], "<preamble>", "exec"), module.__dict__)
    code = given["code"]
    linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)
    flags = __future__.annotations.compiler_flag
    exec(compile(code, FILE, "exec", flags=flags, dont_inherit=True), module.__dict__)
    return module


def class_names(schema: dict[str, Any]) -> list[str]:
    """The names of the models that an arguments schema defines."""
    return [name for name in schema.get("$defs", {}) if name.isidentifier()]


def shaped(value: Any, schema: Any, module: types.ModuleType, definitions: dict[str, Any]) -> Any:
    """A value with the objects of the arguments schema as instances of the classes of their names."""
    if not isinstance(schema, dict):
        return value
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name:
        inner = shaped(value, definitions.get(name, {}), module, definitions)
        kind = module.__dict__.get(name)
        return kind(**inner) if isinstance(inner, dict) and isinstance(kind, type) else inner
    if isinstance(value, list):
        return [shaped(one, schema.get("items"), module, definitions) for one in value]
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        return Part({field: shaped(one, fields.get(field), module, definitions) for field, one in value.items()})
    return value


def fitted(value: Any, annotation: Any) -> Any:
    """A value as the parameter's annotation wants it, where that is a plain type or a model's name."""
    name = unquoted(annotation)
    if name in PLAIN and isinstance(value, str | int | float):
        return value if type(value).__name__ == name else PLAIN[name](value)
    return value


def arguments_of(function: Any, given: dict[str, Any], agent: Any, module: types.ModuleType) -> dict[str, Any]:
    """The arguments for the function."""
    assert callable(function), "what the source calls so is no function"
    parameters = inspect.signature(function).parameters
    arguments = dict(given["arguments"])
    assert "agent_state" not in arguments, "the model does not say who it is"
    schema = given["args_schema"]
    models = {node.name for node in ast.walk(ast.parse(given["code"])) if isinstance(node, ast.ClassDef)}
    for name, value in arguments.items():
        annotation = parameters[name].annotation if name in parameters else None
        if schema.get("properties", {}).get(name):
            arguments[name] = shaped(value, schema["properties"][name], module, schema.get("$defs", {}))
        elif any(model in unquoted(annotation) for model in models):
            arguments[name] = parts(value)
        else:
            arguments[name] = fitted(value, annotation)
    for name, parameter in parameters.items():
        absent = name not in arguments and parameter.default is inspect.Parameter.empty
        if name == "agent_state":
            arguments[name] = agent
        elif absent and may_be_none(unquoted(parameter.annotation)):
            arguments[name] = None
    return arguments


def unquoted(annotation: Any) -> str:
    """The text of an annotation, which is none if it is empty; those that are quoted in the source are still."""
    return annotation.strip("'\"") if isinstance(annotation, str) else ""


def may_be_none(annotation: str) -> bool:
    """Whether the annotation admits None."""
    return annotation.startswith(("Optional[", "typing.Optional[")) or annotation.replace(" ", "").endswith("|None")


def told(value: Any) -> str:
    """What a function returned, as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return str(json.loads(json.dumps(value, default=str)))
    return str(value)


def changed_blocks(agent: Any, before: dict[str, str]) -> dict[str, str]:
    """The blocks that the tool gave another value."""
    if agent is None:
        return {}
    now = {block["label"]: block["value"] for block in agent["memory"]["blocks"]}
    return {label: value for label, value in now.items() if before.get(label) != value and isinstance(value, str)}


def read_agent(agent: Any) -> Any:
    """What the tool may know of its agent."""
    if agent is None:
        return None
    seen = parts(agent)
    seen["memory"] = Memory(seen["memory"])
    return seen


def finish(directory: str, result: dict[str, Any]) -> None:
    """Say how it ended, and end, whatever threads the tool has left."""
    sys.stdout.flush()
    sys.stderr.flush()
    write_result(directory, result)
    os._exit(0)


def failed(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> dict[str, Any]:
    """The result of what was raised, whose traceback is printed from the tool's own first line on."""
    frames = traceback.extract_tb(trace)
    first = next((at for at, frame in enumerate(frames) if frame.filename == FILE), len(frames))
    print("Traceback (most recent call last):", file=sys.stderr)
    print("".join(traceback.format_list(frames[first:])), end="", file=sys.stderr)
    print("".join(traceback.format_exception_only(kind, error)).strip(), file=sys.stderr)
    module = error.name if isinstance(error, ModuleNotFoundError) else None
    text = f"{kind.__name__}: {error}" if str(error) else kind.__name__
    return {"ok": False, "error": text, "module": (module or "").partition(".")[0]}


def called(given: dict[str, Any]) -> dict[str, Any]:
    """The result of the call."""
    agent = read_agent(given["agent"])
    before = {} if agent is None else {block["label"]: block["value"] for block in agent["memory"]["blocks"]}
    module = load(given)
    function = module.__dict__.get(given["function"]) or last_function(module)
    if function is None:
        raise NameError(f"the source defines no function '{given['function']}'")
    value = awaited(function(**arguments_of(function, given, agent, module)))
    return {"ok": True, "value": told(value), "blocks": changed_blocks(agent, before)}


def last_function(module: types.ModuleType) -> Any:
    """The last public function of the source, for a tool that has another name than its function."""
    found = [one for one in module.__dict__.values() if inspect.isfunction(one) and one.__module__ == MODULE]
    public = [function for function in found if not function.__name__.startswith("_")]
    return public[-1] if public else None


def main() -> None:
    """Read, call, tell."""
    given = read_input()
    bound(**given["bounds"])
    bound_processes(given["processes_max"])
    directory = given["directory"]
    sys.excepthook = lambda kind, error, trace: finish(directory, failed(kind, error, trace))
    try:
        finish(directory, called(given))
    except SystemExit as ended:
        finish(directory, {"ok": False, "error": f"SystemExit: {ended.code}", "module": ""})


def awaited(value: Any) -> Any:
    """The value, or what comes of it; asyncio is slow to import, and hardly ever needed."""
    return importlib.import_module("asyncio").run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value


if __name__ == "__main__":
    main()
