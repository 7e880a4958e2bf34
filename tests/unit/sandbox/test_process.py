"""What foreign code may do, and that nothing of it is left: real processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import uvloop

from kelpie.errors import Busy, InvalidInput, LimitExceeded
from kelpie.limits import (
    SANDBOX_ENVIRONMENT_BYTES_MAX,
    SANDBOX_JOBS_MAX,
    SANDBOX_JOBS_WAITING_MAX,
    SANDBOX_PRINTED_BYTES_KEPT,
    SANDBOX_PRINTED_BYTES_MAX,
)
from kelpie.sandbox.sandbox import Ended

from .build import a_sandbox, call, is_alive, node, result_of, script, value_of


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    """On both loops: a server's is uvloop, whose transports are no subclasses of asyncio's."""
    return request.param


SLEEPER = """
import subprocess, sys, time, os
def f(path):
    children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) for _ in range(5)]
    with open(path, "w") as file:
        file.write(" ".join(str(pid) for pid in [os.getpid(), *[child.pid for child in children]]))
    time.sleep(SECONDS)
    return "done"
"""


async def pids_in(path: Path) -> list[int]:
    for _ in range(400):
        if path.exists() and len(path.read_text().split()) == 6:
            return [int(pid) for pid in path.read_text().split()]
        await asyncio.sleep(0.05)
    raise AssertionError("the job never began")


async def gone(pids: list[int]) -> None:
    for _ in range(200):
        if not any(is_alive(pid) for pid in pids):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"still alive: {[pid for pid in pids if is_alive(pid)]}")


@pytest.mark.parametrize("way", ["end", "deadline", "cancel"])
def test_nothing_that_a_job_started_outlives_it(run, tmp_path: Path, way: str) -> None:
    """Its children die with it: when it returns, at its deadline, when it is cancelled."""
    path = tmp_path / "pids"
    code = SLEEPER.replace("SECONDS", "0" if way == "end" else "600")

    async def play() -> None:
        job = call(code, {"path": str(path)}, deadline_ms=3_000 if way == "deadline" else 60_000)
        task = asyncio.ensure_future(a_sandbox(tmp_path).run(job))
        pids = await pids_in(path)
        if way == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            ended = await task
            assert (value_of(ended) == "done") if way == "end" else ended.died == "it did not end within 3 s"
        await gone(pids)

    run(play())


def test_a_job_dies_with_the_server(run, tmp_path: Path) -> None:
    """kill -9 of the server's process in the middle of a call: the tool and its children end by themselves."""
    path = tmp_path / "pids"
    code = SLEEPER.replace("SECONDS", "600")
    server = f"""
import asyncio
from pathlib import Path
from tests.unit.sandbox.build import a_sandbox, call
asyncio.run(a_sandbox(Path({str(tmp_path)!r})).run(call({code!r}, {{"path": {str(path)!r}}}, deadline_ms=60_000)))
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", server], env=environ)

    async def play() -> None:
        pids = await pids_in(path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        await gone(pids)

    try:
        run(play())
    finally:
        process.kill()


def test_floods_are_cut_and_ended(run, tmp_path: Path) -> None:
    """A little too much is clipped, visibly; what has no end is ended."""

    async def play() -> None:
        sandbox = a_sandbox(tmp_path)
        ended = await sandbox.run(call("def f():\n    print('x' * 150_000)\n"))
        note = f"\n[... clipped: {SANDBOX_PRINTED_BYTES_KEPT} of 150001 bytes are shown ...]"
        assert ended.stdout == "x" * SANDBOX_PRINTED_BYTES_KEPT + note and value_of(ended) == "None"
        code = "import sys\ndef f():\n    while True:\n        print('x' * 10_000, file=sys.stderr)\n"
        ended = await sandbox.run(call(code))
        assert ended.died == f"it printed more than {SANDBOX_PRINTED_BYTES_MAX} bytes" and ended.result is None
        assert len(ended.stderr) < SANDBOX_PRINTED_BYTES_KEPT + 200

    run(play())


def test_memory_files_and_processor_time_are_bounded(run, tmp_path: Path) -> None:
    """Each bound ends the job, or refuses it what it asks for, and the server goes on."""

    async def play() -> None:
        sandbox = a_sandbox(tmp_path)
        ended = await sandbox.run(call("def f():\n    return len(bytearray(3 * 2**30))\n"))
        assert result_of(ended) == {"ok": False, "error": "MemoryError", "module": ""}
        code = "def f():\n    with open('big', 'wb') as file:\n        file.truncate(10**9)\n"
        assert "File too large" in result_of(await sandbox.run(call(code)))["error"]
        code = "import os\ndef f():\n    return len([os.open('/', 0) for _ in range(1000)])\n"
        assert "Too many open files" in result_of(await sandbox.run(call(code)))["error"]
        spin = call("def f():\n    while True:\n        pass\n", deadline_ms=1_000)
        assert (await sandbox.run(spin)).died == "it did not end within 1 s"

    run(play())


def test_a_job_that_multiplies_is_ended_as_a_whole(run, tmp_path: Path) -> None:
    """Two generations of forks, bounded so that a broken sandbox does no harm here: all are gone afterwards."""
    path = tmp_path / "pids"
    code = """
import os, time
def f(path):
    for _ in range(4):
        os.fork()
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(600)
"""

    async def play() -> None:
        ended = await a_sandbox(tmp_path).run(call(code, {"path": str(path)}, deadline_ms=3_000))
        assert ended.died == "it did not end within 3 s"
        pids = [int(pid) for pid in path.read_text().split()]
        assert len(pids) == 16
        await gone(pids)

    run(play())


def test_the_environment_is_what_the_job_is_given(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the server's; a home of its own, which is empty and gone afterwards."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-server")

    async def play() -> None:
        code = "import json, os\ndef f():\n    return json.dumps([dict(os.environ), os.getcwd(), os.listdir()])\n"
        ended = await a_sandbox(tmp_path, KELPIE_SECRET="x").run(call(code, environment={"TOKEN": "t=\u00e9"}))
        environ, directory, files = msgspec.json.decode(value_of(ended))
        assert set(environ) == {"PATH", "HOME", "TMPDIR", "LANG", "TOKEN"} and environ["TOKEN"] == "t=\u00e9"
        assert directory == environ["HOME"] == environ["TMPDIR"] and files == []
        assert not Path(directory).exists()

    run(play())


@pytest.mark.parametrize(
    ("environment", "error"),
    [
        ({"A=B": "x"}, InvalidInput),
        ({"": "x"}, InvalidInput),
        ({"A": "x\0y"}, InvalidInput),
        ({"A": "x" * SANDBOX_ENVIRONMENT_BYTES_MAX}, LimitExceeded),
    ],
)
def test_variables_that_no_process_can_have_are_refused(run, tmp_path: Path, environment, error) -> None:
    """Before anything runs."""
    with pytest.raises(error):
        run(a_sandbox(tmp_path).run(call("def f():\n    pass\n", environment=environment)))


def test_too_many_jobs_are_refused_not_queued_for_ever(run, tmp_path: Path) -> None:
    """So many run, so many wait, the next one is told to come again."""

    async def play() -> None:
        sandbox = a_sandbox(tmp_path)
        sandbox._jobs = SANDBOX_JOBS_MAX + SANDBOX_JOBS_WAITING_MAX
        with pytest.raises(Busy):
            await sandbox.run(call("def f():\n    pass\n"))
        sandbox._jobs = 0
        assert value_of(await sandbox.run(call("def f():\n    pass\n"))) == "None"

    run(play())


def test_scripts_answer_with_their_last_value(run, tmp_path: Path) -> None:
    """As a shell would show it; an error is the result, and its traceback what was printed."""

    async def play() -> None:
        sandbox = a_sandbox(tmp_path)
        ended = await sandbox.run(script("import math\nprint('a')\nmath.floor(3.7)"))
        assert (value_of(ended), ended.stdout) == ("3", "a\n")
        assert value_of(await sandbox.run(script("x = 1"))) == ""
        assert value_of(await sandbox.run(script("raise SystemExit"))) == ""
        assert result_of(await sandbox.run(script("raise SystemExit(2)"))) == {"ok": False, "error": "SystemExit: 2"}
        ended = await sandbox.run(script("def g():\n    return 1 / 0\ng()"))
        assert result_of(ended) == {"ok": False, "error": "ZeroDivisionError: division by zero"}
        assert ended.stderr.splitlines()[1] == '  File "code.py", line 3, in <module>'

    run(play())


def test_node_calls_functions_and_runs_scripts(run, tmp_path: Path) -> None:
    """By the names of the parameters, by one object, awaited; TypeScript as far as this node reads it."""

    async def play() -> None:
        sandbox = a_sandbox(tmp_path)
        code = "export async function f(y, x = 5) { console.log('hi'); return {v: x - y}; }"
        ended = await sandbox.run(node(code, "f", {"x": 3, "y": 1}))
        assert (value_of(ended), ended.stdout) == ('{"v":2}', "hi\n")
        assert value_of(await sandbox.run(node("const f = ({x}) => x * 2;", "f", {"x": 3}, "typescript"))) == "6"
        ended = await sandbox.run(node("console.log(1 + 1)"))
        assert (value_of(ended), ended.stdout) == ("", "2\n")
        ended = await sandbox.run(node("throw new TypeError('no')"))
        assert result_of(ended) == {"ok": False, "error": "TypeError: no"}
        typed = "export function f(x: number): number { return x; }"
        result = result_of(await sandbox.run(node(typed, "f", {"x": 3}, "typescript")))
        assert result == {"ok": True, "value": "3"} or "TypeScript needs node 22.13" in result["error"]

    run(play())


def test_a_machine_without_node_says_so(run, tmp_path: Path) -> None:
    """The search path is the server's."""
    ended = run(a_sandbox(tmp_path, PATH=str(tmp_path)).run(node("1")))
    assert ended == Ended(result=None, died="this server has no node to run it with")


def test_a_call_is_quick(run, tmp_path: Path) -> None:
    """A process for each call costs far less than anybody would notice beside a model's reply."""

    async def play() -> None:
        sandbox = a_sandbox(tmp_path)
        job = call("def f():\n    return 1\n")
        await sandbox.run(job)
        begun = time.perf_counter()
        for _ in range(3):
            await sandbox.run(job)
        assert (time.perf_counter() - begun) / 3 < 2.0

    run(play())
