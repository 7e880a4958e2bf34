"""Looks for a regular expression in texts, line by line, in a process that is ended when the expression never ends.

Input: {"pattern", "texts": [[name, text], ...], "context_lines", "skip", "matches_max"}. Result: {"ok": true,
"matches": [[name, line number, [[number, line], ...]], ...], "total"} or {"ok": false, "error": sentence}.
"""

import os
import re
from typing import Any

from kelpie.sandbox.programs.ground import bound, read_input, write_result

LINE_CHARS_SHOWN = 500
TOTAL_MAX = 10_000


def grep(given: dict[str, Any]) -> dict[str, Any]:
    """The result."""
    try:
        pattern = re.compile(given["pattern"], re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        return {"ok": False, "error": f"the pattern is no regular expression: {error}"}
    matches: list[list[Any]] = []
    total = 0
    for name, text in given["texts"]:
        lines = text.splitlines()
        for at, line in enumerate(lines):
            if total >= TOTAL_MAX or not pattern.search(line):
                continue
            total += 1
            if given["skip"] < total <= given["skip"] + given["matches_max"]:
                start, end = max(0, at - given["context_lines"]), at + given["context_lines"] + 1
                around = [[start + number + 1, shown(one)] for number, one in enumerate(lines[start:end])]
                matches.append([name, at + 1, around])
    assert len(matches) <= given["matches_max"]
    assert len(matches) <= total <= TOTAL_MAX
    return {"ok": True, "matches": matches, "total": total}


def shown(line: str) -> str:
    """A line of bounded length, which says so."""
    return line if len(line) <= LINE_CHARS_SHOWN else f"{line[:LINE_CHARS_SHOWN]} [... {len(line)} characters]"


def main() -> None:
    """Read, look, tell."""
    given = read_input()
    bound(**given["bounds"])
    write_result(given["directory"], grep(given))
    os._exit(0)


if __name__ == "__main__":
    main()
