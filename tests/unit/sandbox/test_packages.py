"""Packages for tools, by pip from a directory: made once, for each set of them, whole or not at all."""

import asyncio
import zipfile
from pathlib import Path

import pytest

from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.limits import PACKAGES_PER_TOOL_MAX
from kelpie.sandbox import packages

from .build import a_sandbox, call, result_of, value_of

CODE = "import tern\ndef f():\n    return tern.CALL\n"


def put_wheel(directory: Path, version: str) -> None:
    """A wheel of a package `tern`, as pip installs it."""
    directory.mkdir(exist_ok=True)
    told = f"tern-{version}.dist-info"
    with zipfile.ZipFile(directory / f"tern-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tern.py", f"CALL = 'kik {version}'\n")
        wheel.writestr(f"{told}/METADATA", f"Metadata-Version: 2.1\nName: tern\nVersion: {version}\n")
        wheel.writestr(f"{told}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{told}/RECORD", "")


def environ(directory: Path) -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(directory)}


def test_a_tool_gets_the_packages_that_it_names(run, tmp_path: Path) -> None:
    """Another version is another environment; the second call makes none; forgotten ones are made again."""

    async def play() -> None:
        wheels = tmp_path / "wheels"
        put_wheel(wheels, "1.0")
        put_wheel(wheels, "2.0")
        sandbox = a_sandbox(tmp_path / "data", **environ(wheels))
        assert result_of(await sandbox.run(call(CODE)))["module"] == "tern"
        first, second = await asyncio.gather(*(sandbox.run(call(CODE, packages=("tern==1.0",))) for _ in range(2)))
        assert value_of(first) == value_of(second) == "kik 1.0"
        (one,) = (tmp_path / "data" / "packages").iterdir()
        made = (one / packages.WHOLE).stat().st_mtime_ns
        assert value_of(await sandbox.run(call(CODE, packages=("tern==1.0",)))) == "kik 1.0"
        assert (one / packages.WHOLE).stat().st_mtime_ns == made
        assert value_of(await sandbox.run(call(CODE, packages=("tern",)))) == "kik 2.0"
        await sandbox.forget_packages()
        assert value_of(await sandbox.run(call(CODE, packages=("tern==1.0",)))) == "kik 1.0"

    run(play())


def test_what_pip_cannot_provide_is_said_in_its_words_and_tried_again(run, tmp_path: Path) -> None:
    """No half of an environment is left; once the package is there, the next call has it."""

    async def play() -> None:
        wheels = tmp_path / "wheels"
        wheels.mkdir()
        sandbox = a_sandbox(tmp_path / "data", **environ(wheels))
        with pytest.raises(InvalidInput, match="(?s)pip cannot provide tern==1.0: .*No matching distribution"):
            await sandbox.run(call(CODE, packages=("tern==1.0",)))
        assert list((tmp_path / "data" / "packages").iterdir()) == []
        put_wheel(wheels, "1.0")
        assert value_of(await sandbox.run(call(CODE, packages=("tern==1.0",)))) == "kik 1.0"

    run(play())


def test_a_crash_while_packages_are_made_leaves_nothing_that_passes_for_them(run, tmp_path: Path) -> None:
    """An environment without its mark is made anew."""

    async def play() -> None:
        wheels = tmp_path / "wheels"
        put_wheel(wheels, "1.0")
        room = packages.Packages(tmp_path / "packages", {"PATH": "/usr/bin:/bin", **environ(wheels)})
        python = await room.provide(["tern==1.0"])
        place = python.parent.parent
        (place / packages.WHOLE).unlink()
        (place / "litter").touch()
        assert await room.provide(["tern==1.0"]) == python
        assert not (place / "litter").exists() and (place / packages.WHOLE).exists()

    run(play())


def test_pip_has_a_deadline(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that never answers does not hold up the tool for ever."""
    monkeypatch.setattr(packages, "SANDBOX_PACKAGES_MS_MAX", 50)
    room = packages.Packages(tmp_path, {"PATH": "/usr/bin:/bin"})
    with pytest.raises(InvalidInput, match="did not provide tern within"):
        run(room.provide(["tern"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["--index-url=http://x", "a b", "x\n-r file", "-e.", "", "../x", "git+https://x/y"])
def test_what_is_no_name_of_a_package_is_refused(run, tmp_path: Path, name: str) -> None:
    """It could be a flag of pip."""
    with pytest.raises(InvalidInput, match="names no package"):
        run(packages.Packages(tmp_path, {}).provide([name]))


def test_too_many_packages_are_refused(run, tmp_path: Path) -> None:
    """By number."""
    with pytest.raises(LimitExceeded):
        run(packages.Packages(tmp_path, {}).provide([f"p{at}" for at in range(PACKAGES_PER_TOOL_MAX + 1)]))


def test_pip_inherits_its_own_settings_and_no_secrets() -> None:
    """Its variables, proxies and certificates."""
    given = {"PATH": "p", "PIP_INDEX_URL": "i", "https_proxy": "h", "NO_PROXY": "n", "OPENAI_API_KEY": "k"}
    kept = packages.Packages(Path("x"), given)._environ
    assert kept == {"PATH": "p", "PIP_INDEX_URL": "i", "https_proxy": "h", "NO_PROXY": "n"}
