"""The linter, the formatter and the type checker have nothing to say about the house."""

import shutil
import subprocess
import sys

from tests.tidy.house import ROOT

SECONDS_MAX = 240


def test_the_linter_is_content() -> None:
    """ruff, with the rules of pyproject.toml."""
    says_nothing([sys.executable, "-m", "ruff", "check", "--quiet", "--no-cache", "."])


def test_the_formatter_would_change_nothing() -> None:
    """ruff format: layout is not argued about."""
    says_nothing([sys.executable, "-m", "ruff", "format", "--quiet", "--no-cache", "--diff", "."])


def test_the_types_hold() -> None:
    """pyright over src, as pinned in tests/tidy/package-lock.json; needs node, as `make tidy` and `make test` say."""
    pyright = ROOT / "tests/tidy/node_modules/pyright/index.js"
    node = shutil.which("node")
    assert node, "node is not installed; the type checker needs it"
    assert pyright.exists(), "run `make tidy` once: the type checker is not installed"
    says_nothing([node, str(pyright), "--pythonpath", sys.executable])


def says_nothing(command: list[str]) -> None:
    """Runs it at the root of the repository; its words are the failure's words."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, f"\n{done.stdout}{done.stderr}"
