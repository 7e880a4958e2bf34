"""Rule 3: what cannot be repeated (time, chance, threads, programs, sockets) is touched only in listed rooms."""

import ast
from collections.abc import Iterator, Sequence

from tests.tidy.house import Allowed, Source, dotted

MODULES = frozenset(
    "time random secrets uuid socket subprocess threading multiprocessing concurrent selectors signal".split()
)
CALLS = frozenset({
    "os.urandom", "os.getrandom", "os.fork", "os.system", "os.popen",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "asyncio.create_task", "asyncio.ensure_future", "asyncio.gather", "asyncio.to_thread",
    "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell", "asyncio.open_connection",
    "asyncio.start_server",
})  # fmt: skip
METHODS = frozenset({"run_in_executor", "create_connection", "create_server"})


def check_seams(sources: Sequence[Source], allowed: Allowed) -> list[str]:
    """Uses of them in what is shipped, where the room's entry does not name them."""
    return [
        f"{source.path}:{line}: {used} is for the real parts of seams (tests/tidy/allowed.toml)"
        for source in sources
        if source.shipped
        for line, used in touched(source.tree)
        if used not in allowed.seams.get(source.path, ())
    ]


def check_seams_shrink(sources: Sequence[Source], allowed: Allowed) -> list[str]:
    """Entries that nothing needs any more: the list may only get shorter."""
    found = []
    by_path = {source.path: source for source in sources}
    for path, entries in allowed.seams.items():
        used = {name for _, name in touched(by_path[path].tree)} if path in by_path else set()
        found += [f"allowed.toml: {path} does not use {entry}" for entry in entries if entry not in used]
    return found


def touched(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, name) for each import of such a module and each use of such a call."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from ((node.lineno, top) for a in aliases if (top := a.name.split(".")[0]) in MODULES)
            case ast.ImportFrom(module=str(module)):
                yield from ((node.lineno, name) for name in from_import(module, node.names))
            case ast.Attribute(attr=attr) if attr in METHODS:
                yield node.lineno, attr
            case ast.Attribute() if (name := ".".join(dotted(node).split(".")[-2:])) in CALLS:
                yield node.lineno, name


def from_import(module: str, aliases: Sequence[ast.alias]) -> Iterator[str]:
    """What `from module import aliases` brings in that is ours to list."""
    top = module.split(".")[0]
    if top in MODULES:
        yield top
    yield from (name for alias in aliases if (name := f"{top}.{alias.name}") in CALLS)
