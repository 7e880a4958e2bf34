"""Rules 5, 6 and 7: sizes, asserts, docstrings, broad handlers, loose dicts, and nothing left for later."""

import ast
import re
from collections.abc import Iterator, Sequence

from tests.tidy.floors import FLOORS
from tests.tidy.house import FUNCTION, Allowed, Source, dotted, functions, listed

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
ASSERTS_ABOVE_LINES = 15
ASSERTS_MIN = 2
ASSERTS_FLOOR_MAX = 5
LATER = re.compile(
    r"\b(TODO|FIXME|XXX)\b|NotImplementedError|pragma: no cover|mark\.(skip|xfail)|pytest\.(skip|xfail)\("
)
JSON_DICT = re.compile(r"\b[dD]ict\[str, Any\]")


def check_sizes(sources: Sequence[Source]) -> list[str]:
    """Files and functions over the wall."""
    found = []
    for source in sources:
        lines = source.text.count("\n")
        if lines > FILE_LINES_MAX:
            found.append(f"{source.path}: {lines} lines, at most {FILE_LINES_MAX}")
        for function in functions(source.tree):
            if length(function) > FUNCTION_LINES_MAX:
                found.append(f"{place(source, function)}: {length(function)} lines, at most {FUNCTION_LINES_MAX}")
    return found


def check_asserts(sources: Sequence[Source]) -> list[str]:
    """Functions over 15 lines of code on floors 0 to 5 with fewer than two asserts.

    Docstring and signature do not count as code; `assert_never` is an assert.
    """
    return [
        f"{place(source, function)}: {lines} lines of code and {asserts} asserts, at least {ASSERTS_MIN}"
        for source in sources
        if source.house and FLOORS.get(source.module.partition(".")[2].split(".")[0], 9) <= ASSERTS_FLOOR_MAX
        for function in functions(source.tree)
        if (lines := code_lines(function)) > ASSERTS_ABOVE_LINES and (asserts := count_asserts(function)) < ASSERTS_MIN
    ]


def check_docstrings(sources: Sequence[Source]) -> list[str]:
    """Modules, and public classes and functions of what is shipped, that do not say what they are."""
    found = []
    for source in sources:
        if not ast.get_docstring(source.tree):
            found.append(f"{source.path}: a module says what it is in a docstring")
        if source.shipped:
            found += [
                f"{place(source, node)}: public, and without a docstring"
                for node in public(source.tree)
                if not ast.get_docstring(node)
            ]
    return found


def check_handlers(sources: Sequence[Source], allowed: Allowed) -> list[str]:
    """`except:`, `except Exception`, `except BaseException` outside the rooms that end something by them."""
    return [
        f"{source.path}:{node.lineno}: a broad except"
        for source in sources
        if source.house and not listed(source.path, allowed.broad_except)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    ]


def check_loose_dicts(sources: Sequence[Source], allowed: Allowed) -> list[str]:
    """`dict[str, Any]` where a struct belongs."""
    return [
        f"{source.path}:{number}: dict[str, Any]; a struct says what is in it"
        for source in sources
        if source.house and not listed(source.path, allowed.loose_dict)
        for number, line in enumerate(source.text.splitlines(), 1)
        if JSON_DICT.search(line)
    ]


def check_nothing_left(sources: Sequence[Source]) -> list[str]:
    """Marks of work put off, and tests that do not run."""
    return [
        f"{source.path}:{number}: {found.group()}: debt is not taken"
        for source in sources
        if not source.path.startswith("tests/tidy/")
        for number, line in enumerate(source.text.splitlines(), 1)
        if (found := LATER.search(line))
    ]


def public(tree: ast.Module) -> Iterator[FUNCTION | ast.ClassDef]:
    """Public classes and functions of the module, and public methods of public classes."""
    for node in tree.body:
        if isinstance(node, FUNCTION | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (m for m in node.body if isinstance(m, FUNCTION) and not m.name.startswith("_"))


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether it catches what nobody thought of; one that ends by raising it again has only cleaned up."""
    if isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None:
        return False
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or dotted(kind).split(".")[-1] in ("Exception", "BaseException") for kind in kinds)


def count_asserts(function: FUNCTION) -> int:
    """`assert` and `assert_never`."""
    return sum(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and dotted(node.func) == "assert_never")
        for node in ast.walk(function)
    )


def code_lines(function: FUNCTION) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def length(function: FUNCTION) -> int:
    """All its lines, signature and docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def place(source: Source, node: FUNCTION | ast.ClassDef) -> str:
    """Where a reader finds it."""
    return f"{source.path}:{node.lineno} {node.name}"
