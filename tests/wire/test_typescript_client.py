"""The official TypeScript client, from npm as it is, against a real server; the cases are in typescript/."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.system.server import KelpieServer

PACKAGE = Path(__file__).with_name("typescript")
INSTALL_SECONDS_MAX = 180
TEST_SECONDS_MAX = 120


@pytest.fixture(scope="session")
def node() -> str:
    """Node with the package's pinned dependencies installed; installed anew only when the lock file changed."""
    program = shutil.which("node")
    assert program, "the TypeScript client needs Node 20 or newer: https://nodejs.org"
    digest = hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()
    stamp = PACKAGE / "node_modules" / ".installed"
    with (PACKAGE / "package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # one worker installs, the others wait for it
        if not stamp.exists() or stamp.read_text() != digest:
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund"], cwd=PACKAGE, check=True, timeout=INSTALL_SECONDS_MAX
            )
            stamp.write_text(digest)
    return program


def test_the_typescript_client_does_what_a_newcomer_does(node: str, server: KelpieServer) -> None:
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", "client.test.js"],
        cwd=PACKAGE,
        env={**os.environ, "BASE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=TEST_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "ℹ pass 22" in done.stdout and "ℹ skipped 0" in done.stdout, done.stdout[-2000:]
