"""Writes docs/reference from the code, so that it cannot say what is not so. `--check` writes nothing and compares.

    python docs/build.py            writes the pages
    python docs/build.py --check    exit status 1 and a list of names if a page on disk is not what it would write

tests/tidy/test_reference.py runs the same comparison, and asks by another way whether everything is named.
"""

import contextlib
import inspect
import io
import json
import os
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer.main

from kelpie import errors, limits
from kelpie.api.errors import STATUSES
from kelpie.api.letta.left_out import ABSENCES
from kelpie.api.letta.table import route_table
from kelpie.cli.app import app
from kelpie.cli.rooms import ROOMS, enter
from kelpie.config import SETTINGS
from kelpie.errors import Broken, KelpieError

DOCS = Path(__file__).resolve().parent
REFERENCE = DOCS / "reference"
FACTS = DOCS.parent / "tests/wire/facts"
HELP_COLUMNS = "100"
SECTION = re.compile(r"^# -- (?P<title>.+?) -*$")
LIMIT = re.compile(r"^(?P<name>[A-Z][A-Z0-9_]+) = .*?(?:  # (?P<note>.*))?$")
MADE = "This page is made by `make docs` from {source}; edit that.\n"
LETTA_TAGS = {
    "(letta-code only: cloud)": "known to the command line tool alone",
    "(not in OpenAPI)": "not in the document of the retired server",
    "(sdk only: cloud)": "of the hosted service, called by the SDK",
}
LETTA_INTRODUCTION = (
    "Every operation that the Letta server 0.16.8 (retired in August 2026), its SDK 1.12.1 or its command line tool",
    "knows, and how it is here: served, left out on purpose (501 and one sentence), or not there. What proves an",
    "operation is a test that calls it with the official Python client, or, where that has no method, by HTTP; in both",
    "cases the answer is held against the OpenAPI document of 0.16.8. Numbers lead to the notes at the end.",
    "",
)


def pages() -> dict[str, str]:
    """Every page by file name."""
    makers: dict[str, Callable[[], str]] = {
        "README.md": index_page,
        "api.md": api_page,
        "cli.md": cli_page,
        "errors.md": errors_page,
        "letta.md": letta_page,
        "limits.md": limits_page,
        "settings.md": settings_page,
    }
    return {name: make() for name, make in makers.items()}


def index_page() -> str:
    """What there is."""
    return "\n".join(
        [
            "# Reference",
            "",
            MADE.format(source="`docs/build.py`"),
            "- [settings](settings.md): what an operator decides, by variable and flag",
            "- [command line](cli.md): every command and its flags",
            "- [API](api.md): every route; a running server has `/docs` to read and `/openapi.json` for programs",
            "- [the Letta API](letta.md): every operation of the retired server and its SDK, and how it is served here",
            "- [errors](errors.md): every error code, its HTTP status and its exit status",
            "- [limits](limits.md): every bound, with its unit",
            "",
        ]
    )


def settings_page() -> str:
    """One row for each setting."""
    rows = [
        (
            code(setting.variable),
            code(setting.flag) if setting.flag else "",
            code(setting.default) if setting.default else "",
            setting.meaning + (f" One of: {', '.join(setting.choices)}." if setting.choices else ""),
        )
        for setting in SETTINGS
    ]
    return "\n".join(
        [
            "# Settings",
            "",
            MADE.format(source="`src/kelpie/config.py`"),
            "A flag wins over its variable, a variable over the default; an empty variable counts as unset. A variable",
            "`KELPIE_...` that nothing reads is reported by the server when it starts, and by `kelpie doctor`.",
            "",
            *table(("variable", "flag", "default", "meaning"), rows),
            "",
        ]
    )


def limits_page() -> str:
    """One table for each part of limits.py, and the relations that it asserts."""
    lines = ["# Limits", "", MADE.format(source="`src/kelpie/limits.py`")]
    lines += [
        "Every bound of the system. Full is an answer: what is over a bound is refused by name, never cut in silence."
    ]
    source = inspect.getsource(limits)
    rows: list[tuple[str, ...]] = []
    for line in source.splitlines():
        if found := SECTION.match(line):
            lines += [*limit_table(rows), "", f"## {found['title'][:1].upper()}{found['title'][1:]}"]
            rows = []
        elif found := LIMIT.match(line):
            rows.append((code(found["name"]), f"{getattr(limits, found['name']):,}", found["note"] or ""))
    lines += [*limit_table(rows), "", "## Relations", "", "Asserted when the module is imported:", ""]
    lines += [f"- `{line.removeprefix('assert ')}`" for line in source.splitlines() if line.startswith("assert ")]
    return "\n".join([*lines, ""])


def limit_table(rows: list[tuple[str, ...]]) -> list[str]:
    """The table of one part, if it has any."""
    return ["", *table(("limit", "value", "note"), rows)] if rows else []


def errors_page() -> str:
    """The tree as it stands in errors.py, then every code."""
    tree = textwrap.dedent((inspect.getdoc(errors) or "").split("\n\n")[1])
    rows = []
    for kind in every_error():
        status = STATUSES.get(kind.code)
        exits = str(kind.exit_status) if issubclass(kind, Broken) else ""
        rows.append((code(kind.code), kind.__name__, str(status or ""), exits, first_line(kind)))
    return "\n".join(
        [
            "# Errors",
            "",
            MADE.format(source="`src/kelpie/errors.py` and `src/kelpie/api/errors.py`"),
            "An HTTP error has a JSON body with a sentence, `detail`, and its stable code in the header",
            "`x-kelpie-error`. An error in the middle of a stream is an event, because its status has been sent.",
            "",
            "```",
            tree,
            "```",
            "",
            *table(("code", "class", "HTTP status", "exit status", "meaning"), rows),
            "",
            "Other exit statuses of `kelpie`: 0 done; 1 the command ran and what it found is not good; 2 a flag, a",
            "variable or an argument is wrong; 69 something is not there now (a server, the disk); 130 Ctrl-C.",
            "",
        ]
    )


def every_error(kind: type[KelpieError] = KelpieError) -> Iterator[type[KelpieError]]:
    """All classes of the tree that stand in errors.py or the API's errors.py, each family behind its head."""
    if kind.__module__ in ("kelpie.errors", "kelpie.api.errors") and kind is not KelpieError:
        yield kind
    for below in kind.__subclasses__():
        yield from every_error(below)


def api_page() -> str:
    """One row for each route, by tag."""
    lines = ["# API", "", MADE.format(source="the route table in `src/kelpie/api`")]
    lines += ["Paths are served with and without their last slash. Shapes are in the server's `/openapi.json`.", ""]
    routes = route_table().routes
    for tag in sorted({route.tag for route in routes}):
        rows = [(code(route.method), code(route.path), route.summary) for route in routes if route.tag == tag]
        lines += [f"## {tag}", "", *table(("method", "path", "what it does"), rows), ""]
    return "\n".join(lines)


def letta_page() -> str:
    """One row for each operation that the retired server, its SDK or its command line tool knows."""
    endpoints = json.loads((FACTS / "endpoints.json").read_text())
    notes = tomllib.loads((DOCS / "differences.toml").read_text())["note"]
    lines = [
        "# The Letta API",
        "",
        MADE.format(source="the route table and `docs/differences.toml`"),
        *LETTA_INTRODUCTION,
    ]
    rows = endpoint_rows(endpoints, notes)
    for tag in sorted({one["tag"] for one in endpoints}, key=lambda tag: (tag.startswith("("), tag)):
        lines += [f"## {LETTA_TAGS.get(tag, tag)}", ""]
        here = [row for one, row in zip(endpoints, rows, strict=True) if one["tag"] == tag]
        lines += [*table(("operation", "SDK 1.12.1", "here", "proved by", "notes"), here), ""]
    lines += ["## Notes", ""]
    for at, note in enumerate(notes, 1):
        lines += [f'<a id="{at}"></a>{at}. **{note["title"]}.** {note["text"]}', ""]
    return "\n".join(lines)


def endpoint_rows(endpoints: list[dict[str, str]], notes: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The row of each operation."""
    proofs = json.loads((FACTS / "tested.json").read_text())
    absent = {f"{one.method} {bare(one.path)}": one.reason for one in ABSENCES}
    served = [(route.method, bare(route.path)) for route in route_table().routes]
    rows = []
    for one in endpoints:
        name = f"{one['method']} {one['path']}"
        sdk = code(one["sdk"]) if one["sdk"] else ""
        marks = [f"[{at}](#{at})" for at, note in enumerate(notes, 1) if name in note["operations"]]
        rows.append((code(name), sdk, state_of(one, served, absent), proof_of(proofs.get(name)), " ".join(marks)))
    return rows


def state_of(endpoint: dict[str, str], served: list[tuple[str, str]], absent: dict[str, str]) -> str:
    """Served, left out with its reason, or not there. A last parameter of any method stands for all that is below."""
    method, path = endpoint["method"], bare(endpoint["path"])
    if method == "ANY":
        below = path.removesuffix("{}")
        reasons = {reason for name, reason in absent.items() if name.partition(" ")[2].startswith(below)}
        there = any(one.startswith(below) for _, one in served)
        return f"501. {reasons.pop()}" if reasons else "served" if there else "not there"
    if reason := absent.get(f"{method} {path}"):
        return f"501. {reason}"
    return "served" if (method, path) in served else "not there"


def proof_of(listed: dict[str, str] | None) -> str:
    """The test that stands for an operation."""
    if listed is None:
        return ""
    path, _, name = listed["test"].partition("::")
    by = "the client" if listed["by"] == "client" else "HTTP"
    return f"{by}: [{name.partition('[')[0]}](../../{path})"


def bare(path: str) -> str:
    """A path without the names of its parameters and its last slash."""
    return re.sub(r"{[^}]*}", "{}", path).rstrip("/")


def cli_page() -> str:
    """The help of every command, as it is printed."""
    lines = ["# Command line", "", MADE.format(source="`src/kelpie/cli` and `src/kelpie_sim/cli.py`")]
    commands = typer.main.get_command(app)
    for words in [[], *([name] for name in commands.commands)]:
        lines += [f"## {' '.join(['kelpie', *words])}", "", "```", help_of(words), "```", ""]
    return "\n".join(lines)


def help_of(words: list[str]) -> str:
    """What `kelpie WORDS --help` prints in a terminal of HELP_COLUMNS."""
    printed = io.StringIO()
    os.environ["COLUMNS"] = HELP_COLUMNS
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        if words and words[0] in ROOMS:
            enter(words[0], ["--help"])
        else:
            app(args=[*words, "--help"], prog_name="kelpie", terminal_width=int(HELP_COLUMNS))
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table; bars in cells are escaped."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in [head, *rows]]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:]]


def code(text: str) -> str:
    """As code."""
    return f"`{text}`"


def first_line(kind: type) -> str:
    """The first paragraph of its docstring, on one line."""
    return " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())


def stale() -> list[str]:
    """Names of pages that are not on disk as they would be written, and of files that nobody writes."""
    made = pages()
    there = {path.name: path.read_text() for path in REFERENCE.glob("*.md")}
    return sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))


def main() -> int:
    """Write, or with --check compare; the exit status."""
    if sys.argv[1:] == ["--check"]:
        found = stale()
        print("\n".join(["stale, run `make docs`:", *found]) if found else "docs/reference is fresh")
        return 1 if found else 0
    REFERENCE.mkdir(exist_ok=True)
    made = pages()
    for path in REFERENCE.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (REFERENCE / name).write_text(text)
    print(f"docs/reference: {len(made)} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
