"""Runs a piece of Python as a script. Result: {"ok": true, "value": the last expression's value, or ""}.

A script that fails: {"ok": false, "error": "ValueError: what went wrong"}. Input: bounds, directory, code.
"""

import ast
import os
import sys
import traceback
import types
from typing import Any

from kelpie.sandbox.programs.ground import bound, bound_processes, read_input, write_result


def run(code: str) -> str:
    """Run it; the value of the expression that it ends with, as a shell would show it."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    tree = ast.parse(code)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    exec(compile(tree, "code.py", "exec"), module.__dict__)
    if not isinstance(last, ast.Expr):
        return ""
    value = eval(compile(ast.Expression(last.value), "code.py", "eval"), module.__dict__)
    return "" if value is None else repr(value)


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
    sys.excepthook = lambda kind, error, trace: finish(directory, failed(kind, error, trace))
    try:
        finish(directory, {"ok": True, "value": run(given["code"])})
    except SystemExit as ended:
        if ended.code in (None, 0):
            finish(directory, {"ok": True, "value": ""})
        finish(directory, {"ok": False, "error": f"SystemExit: {ended.code}"})


if __name__ == "__main__":
    main()
