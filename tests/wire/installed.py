"""Clients that are not in the lock file of the tests: installed once into a directory of their own, by hash.

Those of Python would displace the newest client, or are programs; their directory is in the virtual environment. Those
of npm stand beside their package.json. Each is made anew when its list changes; one worker installs, the others wait.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

INSTALL_SECONDS_MAX = 300
CLIENTS = Path(sys.prefix) / "clients"


def installed(directory: Path) -> Path:
    """Where what `directory`/requirements.txt pins is importable."""
    wanted = directory / "requirements.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    place = CLIENTS / f"{directory.name}-{digest[:12]}"
    CLIENTS.mkdir(exist_ok=True)
    with (CLIENTS / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not place.exists():
            beside = place.with_suffix(".unfinished")
            shutil.rmtree(beside, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"]
            command += ["--target", str(beside), "-r", str(wanted)]
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS_MAX)
            beside.rename(place)
    return place


def node_with(directory: Path) -> str:
    """Node, once what `directory`/package-lock.json pins is installed."""
    program = shutil.which("node")
    assert program, "the TypeScript clients need Node 20 or newer: https://nodejs.org"
    digest = hashlib.sha256((directory / "package-lock.json").read_bytes()).hexdigest()
    stamp = directory / "node_modules" / ".installed"
    with (directory / "package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != digest:
            command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=directory, check=True, timeout=INSTALL_SECONDS_MAX)
            stamp.write_text(digest)
    return program


def importing(place: Path, **more: str) -> dict[str, str]:
    """The environment of a process that finds these packages before all others."""
    found = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(place), *([found] if found else [])]), **more}
