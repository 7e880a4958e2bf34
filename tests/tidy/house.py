"""The source files of the house, read once, and the rooms that a rule lists by name."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct, convert

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("src", "tests", "benches", "examples", "docs")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


class Source(Struct, frozen=True):
    """One Python file: its path from the root of the repository, its text, its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """Dotted name: `src/kelpie/storage/__init__.py` is `kelpie.storage`."""
        return self.path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def shipped(self) -> bool:
        """Whether it is part of what users install."""
        return self.path.startswith("src/")

    @property
    def house(self) -> bool:
        """Whether it stands on a floor, i.e. is not the simulator, a test or a tool."""
        return self.path.startswith("src/kelpie/")


class Allowed(Struct, frozen=True, forbid_unknown_fields=True):
    """`allowed.toml`: what each rule lists. A path that ends in `/` means everything below it."""

    names: tuple[str, ...]  # files whose subject is a forbidden word
    seams: dict[str, tuple[str, ...]]  # file -> what it may touch
    broad_except: tuple[str, ...]
    loose_dict: tuple[str, ...]
    product_name: tuple[str, ...]


def read_allowed() -> Allowed:
    """The list as it stands."""
    return convert(tomllib.loads((ROOT / "tests/tidy/allowed.toml").read_text()), Allowed)


def read_house() -> list[Source]:
    """Every Python file of the repository, by path."""
    paths = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))
    return [plant(str(path.relative_to(ROOT)), path.read_text()) for path in paths if "node_modules" not in path.parts]


def plant(path: str, text: str) -> Source:
    """A source that need not exist."""
    return Source(path, text, ast.parse(text, path))


def listed(path: str, entries: tuple[str, ...]) -> bool:
    """Whether a list of paths names this one."""
    return any(path == entry or (entry.endswith("/") and path.startswith(entry)) for entry in entries)


def functions(tree: ast.AST) -> Iterator[FUNCTION]:
    """Every function, methods and nested ones included."""
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTION))


def dotted(node: ast.AST) -> str:
    """`a.b.c` for a chain of names, else an empty text."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr) if head := dotted(value):
            return f"{head}.{attr}"
        case _:
            return ""
