"""Runs a piece of Python as a script. Result: {"ok": true, "value": the last expression's value, or ""}.

A script that fails: {"ok": false, "error": "ValueError: what went wrong"}. Input: bounds, directory, code, and the
tools that it may call as functions, with `preamble` and `caller`: see `lent`.
"""

import __future__

import ast
import functools
import importlib
import inspect
import os
import sys
import traceback
import types
import typing
from typing import Any

from kelpie.sandbox.programs.ground import bound, bound_processes, read_input, write_result


def run(code: str, tools: dict[str, Any]) -> str:
    """Run it; the value of the expression that it ends with, as a shell would show it."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    module.__dict__.update(tools)
    tree = ast.parse(code)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    exec(compile(tree, "code.py", "exec"), module.__dict__)
    if not isinstance(last, ast.Expr):
        return ""
    value = eval(compile(ast.Expression(last.value), "code.py", "eval"), module.__dict__)
    return "" if value is None else repr(value)


def lent(tool: dict[str, Any], preamble: str, caller: str) -> Any:
    """A tool as a function: of its own source, behind the preamble; or, without one, what the caller's `call` does."""
    name = tool["name"]
    load = functools.cache(lambda: loaded(name, tool["code"], preamble))

    def call(*values: Any, **arguments: Any) -> Any:
        if tool["why_not"]:
            raise PermissionError(f"{name} cannot be called by code: {tool['why_not']}")
        if tool["code"]:
            return awaited(load()(*values, **arguments))
        if len(values) > len(tool["order"]):
            raise TypeError(f"{name} takes {len(tool['order'])} arguments and was given {len(values)}")
        named = dict(zip(tool["order"], values, strict=False))
        return module_of("caller", caller).call(name, {**named, **arguments})

    call.__name__ = name
    return call


def loaded(name: str, code: str, preamble: str) -> Any:
    """The function of that name in a source. Annotations are not evaluated: often their names were not sent along."""
    module = module_of(name, preamble)
    module.__dict__.update({word: getattr(typing, word) for word in typing.__all__})
    flags = __future__.annotations.compiler_flag
    exec(compile(code, f"{name}.py", "exec", flags=flags, dont_inherit=True), module.__dict__)
    return module.__dict__[name]


def module_of(name: str, code: str) -> Any:
    """A module with that code."""
    module = types.ModuleType(name)
    exec(compile(code, f"{name}.py", "exec", dont_inherit=True), module.__dict__)
    return module


def awaited(value: Any) -> Any:
    """The value, or what comes of it; asyncio is slow to import, and hardly ever needed."""
    return importlib.import_module("asyncio").run(_awaited(value)) if inspect.isawaitable(value) else value


async def _awaited(value: Any) -> Any:
    return await value


def failed(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> dict[str, Any]:
    """The result of what was raised; its traceback is printed."""
    own = [frame for frame in traceback.extract_tb(trace) if frame.filename != "<string>"]
    print("".join(["Traceback (most recent call last):\n", *traceback.format_list(own)]), end="", file=sys.stderr)
    print("".join(traceback.format_exception_only(kind, error)), end="", file=sys.stderr)
    return {"ok": False, "error": f"{kind.__name__}: {error}"}


def finish(directory: str, result: dict[str, Any]) -> None:
    """Tell, and end, whatever threads the script has left."""
    sys.stdout.flush()
    sys.stderr.flush()
    write_result(directory, result)
    os._exit(0)


def main() -> None:
    """Read, run, tell."""
    given: dict[str, Any] = read_input()
    bound(**given["bounds"])
    bound_processes(given["processes_max"])
    directory = given["directory"]
    tools = {tool["name"]: lent(tool, given["preamble"], given["caller"]) for tool in given["tools"]}
    sys.excepthook = lambda kind, error, trace: finish(directory, failed(kind, error, trace))
    try:
        finish(directory, {"ok": True, "value": run(given["code"], tools)})
    except SystemExit as ended:
        if ended.code in (None, 0):
            finish(directory, {"ok": True, "value": ""})
        finish(directory, {"ok": False, "error": f"SystemExit: {ended.code}"})


if __name__ == "__main__":
    main()
