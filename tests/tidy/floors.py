"""Rule 1: imports go down the floors; no cycle; no import inside a function."""

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence

from tests.tidy.house import Source, functions

FLOORS = {
    "limits": 0, "errors": 0, "ids": 0, "world": 0, "codec": 0,
    "storage": 1,
    "cluster": 2, "access": 2,
    "actor": 3,
    "llm": 4, "sandbox": 4, "memory": 4, "tools": 4,
    "agent": 5,
    "api": 6,
    "config": 7, "node": 7, "system": 7, "otel": 7, "cli": 7, "importing": 7,
}  # fmt: skip
SIDEWAYS = {("memory", "kelpie.llm.messages"), ("tools", "kelpie.llm.messages"), ("tools", "kelpie.sandbox")}
FLOOR_0_FROM_OUTSIDE = "msgspec"


def check_floors(sources: Sequence[Source]) -> list[str]:
    """Imports of a room above, of a sibling, of the simulator, or of a package that floor 0 may not know."""
    known = {source.module for source in sources if source.shipped}
    found = []
    for source in sources:
        if not source.house or source.module == "kelpie":
            continue
        room = source.module.split(".")[1]
        if room not in FLOORS:
            found.append(f"{source.path}: '{room}' is on no floor; give it one in tests/tidy/floors.py")
            continue
        for line, target in imports(source, known):
            if sentence := judge(room, target):
                found.append(f"{source.path}:{line}: {sentence}")
    return found


def judge(room: str, target: str) -> str:
    """What is wrong with a module of `room` importing `target`; empty if nothing is."""
    top, *rest = target.split(".")
    if top == "kelpie_sim":
        return "the house does not know its simulator"
    if top != "kelpie":
        outside = top != FLOOR_0_FROM_OUTSIDE and top not in sys.stdlib_module_names
        return f"floor 0 knows the standard library and msgspec, not {top}" if FLOORS[room] == 0 and outside else ""
    if not rest or rest[0] == room or FLOORS[room] == 7:
        return ""
    above = FLOORS.get(rest[0], 99)
    if above < FLOORS[room]:
        return ""
    if above > FLOORS[room]:
        return f"{room} (floor {FLOORS[room]}) imports {target} (floor {above}): imports go down"
    if FLOORS[room] == 0 or any(room == a and f"{target}.".startswith(f"{b}.") for a, b in SIDEWAYS):
        return ""
    return f"{room} imports its sibling {target}"


def check_cycles(sources: Sequence[Source]) -> list[str]:
    """Modules that import each other, however long the way round."""
    known = {source.module for source in sources if source.shipped}
    graph = {
        source.module: sorted({target for _, target in imports(source, known) if target in known} - {source.module})
        for source in sources
        if source.shipped
    }
    found = {tuple(sorted(cycle)) for start in sorted(graph) if (cycle := way_back(graph, start))}
    return [f"import cycle: {' -> '.join(cycle)}" for cycle in sorted(found)]


def way_back(graph: Mapping[str, Sequence[str]], start: str) -> list[str]:
    """A way from `start` to itself, or nothing."""
    came_from: dict[str, str] = {}
    frontier = [start]
    while frontier:
        module = frontier.pop()
        for target in graph.get(module, ()):
            if target in came_from:
                continue
            came_from[target] = module
            if target == start:
                return trace(came_from, start)
            frontier.append(target)
    return []


def trace(came_from: Mapping[str, str], start: str) -> list[str]:
    """The modules of the way that led back to `start`."""
    way = [start]
    while (before := came_from[way[-1]]) != start:
        way.append(before)
    return way[::-1]


def check_imports_on_top(sources: Sequence[Source]) -> list[str]:
    """Imports inside a function."""
    return [
        f"{source.path}:{node.lineno}: an import inside {function.name}()"
        for source in sources
        for function in functions(source.tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def imports(source: Source, known: set[str]) -> Iterator[tuple[int, str]]:
    """(line, module) of every import; `from package import module` names the module if it is a known one."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{source.path}:{node.lineno}: relative imports are not used here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in known else node.module
