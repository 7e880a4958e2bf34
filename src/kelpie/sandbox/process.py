"""The sandbox of processes: each job in one of its own, with a directory of its own, without the server's environment.

A job's processes are one group. It is killed as a whole when the job's program has ended, when the job is cancelled,
when its deadline passes or when it prints without end; when the server dies, the program ends itself. Memory, processor
time, open files, file sizes and the number of processes are bounded by the system (`programs/ground.py`). This keeps
the server alive and its secrets to itself; it does not hide files of other people on the machine: whoever may write
tools may read what the server's user may read.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import Busy, InvalidInput, LimitExceeded
from kelpie.limits import (
    SANDBOX_ENVIRONMENT_BYTES_MAX,
    SANDBOX_FILE_BYTES_MAX,
    SANDBOX_FILES_OPEN_MAX,
    SANDBOX_JOBS_MAX,
    SANDBOX_JOBS_WAITING_MAX,
    SANDBOX_MEMORY_BYTES_MAX,
    SANDBOX_PRINTED_BYTES_KEPT,
    SANDBOX_PRINTED_BYTES_MAX,
    SANDBOX_PROCESSES_MAX,
    SANDBOX_RESULT_BYTES_MAX,
)
from kelpie.sandbox.packages import Packages
from kelpie.sandbox.sandbox import Ended, Job

PROGRAMS = Path(__file__).parent / "programs"
RESULT_FILE = "result.json"
OWN_IMPORT = "from kelpie."  # in a program's text: what stands in front of it when it runs
PYTHON_FLAGS = ("-I", "-B", "-X", "utf8")
END_SECONDS_MAX = 5  # for the pipes of a killed group to close


class _Bounds(Struct, frozen=True, kw_only=True):
    memory_bytes_max: int
    cpu_seconds_max: int
    file_bytes_max: int = SANDBOX_FILE_BYTES_MAX
    open_files_max: int = SANDBOX_FILES_OPEN_MAX


class _Order(Struct, frozen=True, kw_only=True):
    """What a program reads besides its input."""

    bounds: _Bounds
    processes_max: int = SANDBOX_PROCESSES_MAX
    directory: str


class ProcessSandbox:
    """Runs jobs as processes of this machine. `environ` is where programs are looked for, and pip's settings are."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self._path = environ.get("PATH", os.defpath)
        self._packages = Packages(directory / "packages", environ)
        self._places = asyncio.Semaphore(SANDBOX_JOBS_MAX)
        self._jobs = 0
        self._texts: dict[str, str] = {}

    async def run(self, job: Job) -> Ended:
        """Run it, when fewer than SANDBOX_JOBS_MAX run. Raises Busy, InvalidInput, ServerUnreachable (packages)."""
        _check(job)
        if self._jobs >= SANDBOX_JOBS_MAX + SANDBOX_JOBS_WAITING_MAX:
            raise Busy(f"{self._jobs} tools run or wait already", limit="SANDBOX_JOBS_WAITING_MAX")
        self._jobs += 1
        try:
            async with self._places:
                return await self._run(job)
        finally:
            self._jobs -= 1

    async def forget_packages(self) -> None:
        """Throw away what pip has provided."""
        await self._packages.forget()

    async def _run(self, job: Job) -> Ended:
        python = await self._packages.provide(job.packages) if job.packages else Path(sys.executable)
        home = await asyncio.to_thread(tempfile.mkdtemp, prefix="kelpie-tool-")
        work = Path(home) / "work"
        work.mkdir()
        try:
            follower = await self._start(job, python, home, work)
            if follower is None:
                return Ended(result=None, died="this server has no node to run it with")
            return await self._follow(job, follower, home)
        finally:
            await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)

    async def _start(self, job: Job, python: Path, home: str, work: Path) -> "_Follower | None":
        """The program's process, already told what to do."""
        command = self._command(job, python)
        if command is None:
            return None
        order = _Order(bounds=_bounds(job), directory=home)
        fields = {**msgspec.structs.asdict(order), **msgspec.json.decode(job.input, type=dict[str, Raw])}
        told = msgspec.json.encode(fields)
        transport, follower = await asyncio.get_running_loop().subprocess_exec(
            _Follower, *command, cwd=work, env=self._environment(job, str(work), python), start_new_session=True
        )
        pipe = cast(asyncio.WriteTransport, transport.get_pipe_transport(0))
        assert follower.pid > 1
        assert follower.pid == transport.get_pid()
        pipe.write(len(told).to_bytes(8, "big") + told)
        return follower

    async def _follow(self, job: Job, follower: "_Follower", home: str) -> Ended:
        """Wait until it ends or has to."""
        assert job.deadline_ms > 0
        died = ""
        try:
            async with asyncio.timeout(job.deadline_ms / 1_000):
                await follower.ended.wait()
        except TimeoutError:
            died = f"it did not end within {job.deadline_ms // 1_000} s"
        finally:
            await follower.end()
        if follower.out.flooded or follower.err.flooded:
            died = f"it printed more than {SANDBOX_PRINTED_BYTES_MAX} bytes"
        result = None if died else _read_result(Path(home) / RESULT_FILE)
        if result is None and not died:
            died = _death(follower.status)
        elif result is not None and len(result) > SANDBOX_RESULT_BYTES_MAX:
            result, died = None, f"its result has more than {SANDBOX_RESULT_BYTES_MAX} bytes"
        assert (result is None) == bool(died)
        return Ended(result=result, stdout=follower.out.text, stderr=follower.err.text, died=died)

    def _command(self, job: Job, python: Path) -> Sequence[str] | None:
        if job.program != "run_node":
            return (str(python), *PYTHON_FLAGS, "-c", self._text(job.program))
        node = shutil.which("node", path=self._path)
        if node is None:
            return None
        seconds = _bounds(job).cpu_seconds_max
        heap = f"--max-old-space-size={SANDBOX_MEMORY_BYTES_MAX // 2**21}"
        bounded = f'ulimit -c 0; ulimit -t {seconds}; exec "$0" "$@"'
        return ("/bin/sh", "-c", bounded, node, heap, "--no-warnings", str(PROGRAMS / "run_node.mjs"))

    def _text(self, program: str) -> str:
        """A Python program with what it stands on in front of it."""
        if program not in self._texts:
            ground, text = ((PROGRAMS / f"{name}.py").read_text() for name in ("ground", program))
            lines = [line for line in text.splitlines() if not line.startswith(OWN_IMPORT)]
            future = [line for line in lines if line.startswith("import __future__")]
            self._texts[program] = "\n".join([*future, ground, *lines])
        return self._texts[program]

    def _environment(self, job: Job, work: str, python: Path) -> dict[str, str]:
        """A home, a search path, and what the job is given; nothing of the server's own."""
        path = f"{python.parent}{os.pathsep}{self._path}"
        return {"PATH": path, "HOME": work, "TMPDIR": work, "LANG": "C.UTF-8", **job.environment}


class _Printed:
    """What a program prints: the beginning is kept, the rest counted."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._total = 0

    @property
    def text(self) -> str:
        """What was kept; a note if that is not all."""
        text = self._kept.decode(errors="replace")
        if self._total > len(self._kept):
            text += f"\n[... clipped: {len(self._kept)} of {self._total} bytes are shown ...]"
        return text

    @property
    def flooded(self) -> bool:
        """Whether it is more than anybody would read."""
        return self._total > SANDBOX_PRINTED_BYTES_MAX

    def take(self, data: bytes) -> None:
        """Some more."""
        self._total += len(data)
        self._kept += data[: SANDBOX_PRINTED_BYTES_KEPT - len(self._kept)]


class _Follower(asyncio.SubprocessProtocol):
    """One process and its group. What the program left running when it ended is of no use to anybody: it is killed."""

    def __init__(self) -> None:
        self.out, self.err = _Printed(), _Printed()
        self.ended = asyncio.Event()  # the program has ended, and its pipes are closed
        self.pid = 0
        self._transport: asyncio.SubprocessTransport | None = None

    @property
    def status(self) -> int | None:
        """How the program ended, if it has."""
        return None if self._transport is None else self._transport.get_returncode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process runs."""
        self._transport = cast(asyncio.SubprocessTransport, transport)  # uvloop's is no subclass
        self.pid = self._transport.get_pid()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """It has printed something."""
        printed = self.out if fd == 1 else self.err
        printed.take(data)
        if printed.flooded:
            _kill(self.pid)

    def process_exited(self) -> None:
        """The program has ended. Whoever has left its group may hold a pipe open, but not for ever."""
        _kill(self.pid)
        assert self._transport is not None
        asyncio.get_running_loop().call_later(END_SECONDS_MAX, self._transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """That was all."""
        self.ended.set()

    async def end(self) -> None:
        """Kill what is left; it is gone when this returns."""
        assert self._transport is not None
        if not self.ended.is_set():
            _kill(self.pid)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS_MAX):
                    await self.ended.wait()
        self._transport.close()


def _check(job: Job) -> None:
    """The system takes this environment."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in job.environment.items())
    if size > SANDBOX_ENVIRONMENT_BYTES_MAX:
        raise LimitExceeded(
            f"the tool's variables have {size} bytes, over the limit of {SANDBOX_ENVIRONMENT_BYTES_MAX}",
            limit="SANDBOX_ENVIRONMENT_BYTES_MAX",
            maximum=SANDBOX_ENVIRONMENT_BYTES_MAX,
        )
    for name, value in job.environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise InvalidInput(f"'{name[:80]}' is no name of a variable, or its value no text", field="key")


def _bounds(job: Job) -> _Bounds:
    return _Bounds(memory_bytes_max=SANDBOX_MEMORY_BYTES_MAX, cpu_seconds_max=job.deadline_ms // 1_000 + 2)


def _kill(pid: int) -> None:
    """End the whole group of the process, which is never our own."""
    assert pid > 1, "0 is the group of this server"
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _read_result(path: Path) -> bytes | None:
    """What the program wrote, or a little more than may be."""
    try:
        with path.open("rb") as file:
            return file.read(SANDBOX_RESULT_BYTES_MAX + 1)
    except OSError:
        return None


def _death(status: int | None) -> str:
    """Why there is no result."""
    if status is None:
        return "it could not be ended"
    if status >= 0:
        return f"it ended its process with status {status} before it returned"
    if -status in (signal.SIGKILL, signal.SIGXCPU):
        return "it was killed: it used more processor time or memory than it may"
    return f"it was ended by signal {-status}"
