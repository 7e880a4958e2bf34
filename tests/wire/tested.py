"""Writes facts/tested.json anew: `python -m tests.wire.tested [PYTEST ARGUMENTS]` (default: all of tests/wire, -n 2).

Runs the tests and notes which operation each got a success from. An operation keeps its test as long as that test still
calls it; else it gets the one that calls the fewest others, one with the official client before one by HTTP. Operations
of tests that did not run keep what they had.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.wire.seen import CLIENT, NOTED, TABLE, table
from tests.wire.surface import operations

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Run, write; pytest's exit status."""
    with tempfile.TemporaryDirectory() as directory:
        noted = Path(directory) / "noted.jsonl"
        noted.touch()
        command = [sys.executable, "-m", "pytest", "-q", *(arguments or ["-n", "2", "tests/wire"])]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, NOTED: str(noted)}, check=False)
        rows = [json.loads(line) for line in noted.read_text().splitlines()]
    old = table() if TABLE.exists() else {}
    new = dict(sorted({**old, **choose(rows, old)}.items()))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in new.items())
    TABLE.write_text(f"{{\n{lines}\n}}\n")
    print("not proved yet:", *sorted(operations().keys() - new.keys()), sep="\n  ")
    print(f"{len(new)} operations proved, {len(new.keys() - old.keys())} of them new")
    return done.returncode


def choose(rows: list[list[str]], old: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """One test for each operation that was seen."""
    chosen: dict[str, dict[str, str]] = {}
    calls = Counter(test for _, test, _ in rows)
    for name, test, by in sorted(rows, key=lambda row: (row[2] != CLIENT, calls[row[1]], row[1])):
        one = {"test": test, "by": by}
        if name not in chosen or one == old.get(name):
            chosen[name] = one
    return chosen


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
