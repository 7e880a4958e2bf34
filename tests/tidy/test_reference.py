"""The reference is what the code would write now, and names everything that a reader may look up."""

import json
import re
import runpy
import tomllib

import pytest

from kelpie import errors, limits
from kelpie.api.letta.left_out import ABSENCES
from kelpie.api.letta.table import route_table
from kelpie.cli.app import app as people
from kelpie.cli.serve import flag_parser
from kelpie.config import SETTINGS
from kelpie.errors import KelpieError
from tests.tidy.house import ROOT

REFERENCE = ROOT / "docs/reference"


def test_the_pages_are_fresh() -> None:
    """`make docs` would change nothing."""
    build = runpy.run_path(str(ROOT / "docs/build.py"))
    assert build["stale"]() == [], "run `make docs`"


def test_the_tree_at_the_top_of_errors_is_whole() -> None:
    """Every class of errors.py stands in its docstring, and nothing else does."""
    tree = (errors.__doc__ or "").split("\n\n")[1]
    drawn = {word for word in tree.split() if word[:1].isupper()}
    there = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert drawn == there


def every_code(kind: type[KelpieError]) -> set[str]:
    """The codes of errors.py from `kind` down."""
    below = {code for child in kind.__subclasses__() for code in every_code(child)}
    return below | ({kind.code} if kind.__module__ == errors.__name__ else set())


def endpoints() -> list[dict[str, str]]:
    """Every operation that the retired server, its SDK or its command line tool knows."""
    return json.loads((ROOT / "tests/wire/facts/endpoints.json").read_text())


NAMED = {
    "limits.md": lambda: {name for name, value in vars(limits).items() if name.isupper() and isinstance(value, int)},
    "errors.md": lambda: every_code(errors.Refused) | every_code(errors.Unavailable) | every_code(errors.Broken),
    "settings.md": lambda: {text for each in SETTINGS for text in (each.variable, each.flag) if text},
    "cli.md": lambda: {
        *(flag for action in flag_parser()._actions for flag in action.option_strings),
        *(f"kelpie {command.name or command.callback.__name__}" for command in people.registered_commands),
    },
    "letta.md": lambda: {f"| `{one['method']} {one['path']}` |" for one in endpoints()},
    "api.md": lambda: {f"`{route.method}` | `{route.path}`" for route in route_table().routes},
}


@pytest.mark.parametrize("page", NAMED)
def test_everything_is_named(page: str) -> None:
    """Every limit, error code, setting, flag, command and route, asked of the code and not of the page's maker."""
    text = (REFERENCE / page).read_text()
    names = NAMED[page]()
    assert len(names) >= 5, "the question finds nothing"
    assert sorted(name for name in names if name not in text) == []


def test_every_difference_names_operations_that_there_are() -> None:
    """A note beside no operation would be read by nobody."""
    notes = tomllib.loads((ROOT / "docs/differences.toml").read_text())["note"]
    names = {f"{one['method']} {one['path']}" for one in endpoints()}
    assert notes and all(note["operations"] for note in notes)
    assert sorted({name for note in notes for name in note["operations"]} - names) == []


def test_what_is_left_out_is_known_to_somebody() -> None:
    """Nobody asks for an operation that the retired server, its SDK and its command line tool do not know."""
    names = {re.sub("{[^}]*}", "{}", f"{one['method']} {one['path']}").rstrip("/") for one in endpoints()}
    absent = {re.sub("{[^}]*}", "{}", f"{one.method} {one.path}").rstrip("/") for one in ABSENCES}
    below = tuple(name.partition(" ")[2].removesuffix("{}") for name in names if name.startswith("ANY "))
    unknown = [name for name in absent - names if not name.partition(" ")[2].startswith(below)]
    assert absent and unknown == []


def test_links_in_the_documents_lead_somewhere() -> None:
    """Every relative link of every Markdown file outside the tests."""
    pages = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")]
    pages += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in links(page.read_text())
        if not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def links(text: str) -> list[str]:
    """The targets of `[words](target)` that are files."""
    targets = [piece.partition(")")[0] for piece in text.split("](")[1:]]
    return [target for target in targets if target and "://" not in target and not target.startswith("#")]
