"""Packages for tools: each set of requirements gets an environment of its own, made by pip when it is first needed.

An environment is marked when it is whole, so a crash leaves nothing that passes for one. Of several jobs that need the
same one, the first makes it and the others wait; what failed is tried again by the next.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.limits import PACKAGE_SETS_MAX, PACKAGES_PER_TOOL_MAX, SANDBOX_PACKAGES_MS_MAX

REQUIREMENT = re.compile(r"[A-Za-z0-9][\w.-]*(\[[\w.,-]+\])?((==|>=|<=|~=|!=|<|>)[\w.*+!,<>=~-]+)?", re.ASCII)
WHOLE = "whole"  # a file of this name stands in an environment that pip has finished
PIP_WORDS_MAX = 600  # characters of what pip said last, in an error
INHERITED = ("PATH", "HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
INHERITED_PREFIXES = ("PIP_",)
INHERITED_ENDINGS = ("_proxy",)


class Packages:
    """The environments below a directory."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._directory = directory
        self._environ = {name: value for name, value in environ.items() if _is_inherited(name)}
        self._making: dict[str, asyncio.Lock] = {}

    async def provide(self, requirements: Sequence[str]) -> Path:
        """The interpreter of an environment with these packages. Raises InvalidInput: pip could not provide them."""
        wanted = sorted(set(requirements))
        check_requirements(wanted)
        name = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:32]
        place = self._directory / name
        lock = self._making.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                if not (place / WHOLE).exists():
                    await self._make(place, wanted)
                    (place / WHOLE).touch()
        finally:
            if not lock.locked():
                self._making.pop(name, None)
        assert wanted
        assert (place / WHOLE).exists()
        return place / "bin" / "python"

    async def forget(self) -> None:
        """Remove all environments."""
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    async def _make(self, place: Path, wanted: Sequence[str]) -> None:
        assert wanted
        assert place.parent == self._directory
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._check_room()
        try:
            async with asyncio.timeout(SANDBOX_PACKAGES_MS_MAX / 1_000):
                await self._do(wanted, sys.executable, "-I", "-m", "venv", str(place))
                pip = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet")
                await self._do(wanted, str(place / "bin" / "python"), "-I", *pip, *wanted)
        except TimeoutError:
            await self._give_up(place)
            raise InvalidInput(
                f"pip did not provide {', '.join(wanted)} within {SANDBOX_PACKAGES_MS_MAX // 1_000} s",
                field="pip_requirements",
            ) from None
        except BaseException:
            await self._give_up(place)
            raise

    def _check_room(self) -> None:
        made = len(os.listdir(self._directory))
        if made >= PACKAGE_SETS_MAX:
            raise LimitExceeded(
                f"there are {made} environments for packages already; recreate the sandbox's environment to clear them",
                limit="PACKAGE_SETS_MAX",
                maximum=PACKAGE_SETS_MAX,
            )

    async def _give_up(self, place: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)

    async def _do(self, wanted: Sequence[str], *command: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environ,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.pid > 1
        said = b""
        try:
            while chunk := await process.stdout.read(PIP_WORDS_MAX):
                said = (said + chunk)[-PIP_WORDS_MAX * 4 :]
            await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode != 0:
            words = said.decode(errors="replace").strip()[-PIP_WORDS_MAX:]
            raise InvalidInput(f"pip cannot provide {', '.join(wanted)}: {words}", field="pip_requirements")


def check_requirements(wanted: Sequence[str]) -> None:
    """Each is a package by name, with or without a version, and no flag of pip; and they are not too many."""
    if len(wanted) > PACKAGES_PER_TOOL_MAX:
        raise LimitExceeded(
            f"pip_requirements: {len(wanted)} packages are over the limit of {PACKAGES_PER_TOOL_MAX}",
            limit="PACKAGES_PER_TOOL_MAX",
            maximum=PACKAGES_PER_TOOL_MAX,
        )
    for one in wanted:
        if not REQUIREMENT.fullmatch(one):
            raise InvalidInput(f"pip_requirements: '{one[:80]}' names no package", field="pip_requirements")


def _is_inherited(name: str) -> bool:
    return name in INHERITED or name.startswith(INHERITED_PREFIXES) or name.lower().endswith(INHERITED_ENDINGS)
