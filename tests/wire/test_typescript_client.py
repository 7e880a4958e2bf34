"""The official clients for TypeScript, from npm as they are, against a real server.

The cases of the client are in typescript/, those of the Vercel AI SDK with the official provider in vercel/.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.server import KelpieServer
from tests.wire.installed import node_with

HERE = Path(__file__).parent
TOOL_SERVER = [sys.executable, str(HERE.parent / "unit" / "tools" / "tool_server.py"), "stdio"]
TEST_SECONDS_MAX = 120


@pytest.mark.parametrize(
    ("directory", "file", "cases"),
    [("typescript", "client.test.js", 22), ("typescript", "surface.test.js", 18), ("vercel", "provider.test.js", 7)],
)
def test_the_client_does_what_a_newcomer_does(server: KelpieServer, directory: str, file: str, cases: int) -> None:
    node = node_with(HERE / directory)
    tool_server = {"MCP_COMMAND": json.dumps(TOOL_SERVER), "MCP_TOOL": "repeat", "MCP_ARGS": '{"text":"a","times":2}'}
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", file],
        cwd=HERE / directory,
        env={**os.environ, **tool_server, "BASE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert f"ℹ pass {cases}\n" in done.stdout and "ℹ skipped 0" in done.stdout, done.stdout[-2000:]
