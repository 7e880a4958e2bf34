"""The Python client of the generation before 1.0, unmodified, against a real server; the cases are in older_python/."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.system.server import KelpieServer, ModelServer
from tests.wire.installed import importing, installed

DIRECTORY = Path(__file__).with_name("older_python")
CASES = (DIRECTORY / "cases.py", DIRECTORY / "surface_cases.py")  # the second says what neither calls
TOOL_SERVER = [sys.executable, str(DIRECTORY.parents[1] / "unit" / "tools" / "tool_server.py"), "stdio"]
SECONDS_MAX = 180
PARAMETRIZED = 1  # a case that is two


def test_the_older_python_client_does_what_programs_of_its_time_do(server: KelpieServer, models: ModelServer) -> None:
    """Every case passes, and each is run: a process of its own, because both clients have one name."""
    command = [sys.executable, "-m", "pytest", "--noconftest", "-p", "no:xdist", *map(str, CASES)]
    env = importing(
        installed(DIRECTORY), BASE_URL=server.url, MODELS_URL=models.url, MCP_COMMAND=json.dumps(TOOL_SERVER)
    )
    env["PYTHONPATH"] += f"{os.pathsep}{DIRECTORY}"
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    cases = sum(len(re.findall("^def test_", file.read_text(), re.MULTILINE)) for file in CASES)
    assert f"{cases + PARAMETRIZED} passed" in done.stdout, done.stdout
