"""Real processes for black-box proofs: Kelpie servers and scripted model servers, each on a free port.

Nothing of `kelpie` is imported here: what is proved is what a user can see. A process that a test leaves
behind is killed when its context ends, and once more when the interpreter does.
"""

import atexit
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
MODELS = (
    *("gpt-4o-mini", "claude-haiku-4-5", "fault-400", "fault-529", "fault-hang-up", "fault-page", "fault-stream-error"),
    *(f"slow-{delay_ms}" for delay_ms in (30, 50, 60, 250, 400, 800, 1200, 1500, 2000, 3000, 20_000)),
    "drip-40",
)  # what the scripted model server lists beside its own names
READY_SECONDS_MAX = 30.0  # generous: the machine may be shared; benches measure how long it really takes
STOP_SECONDS_MAX = 30.0
ANSWER_SECONDS_MAX = 60.0
PORT_FIRST, PORT_LAST = 12_000, 31_000  # below the ephemeral range: no outgoing connection takes the port
START_ATTEMPTS_MAX = 5

_running: set["Program"] = set()


class Program:
    """One child process that answers HTTP on 127.0.0.1, with its output in a file."""

    def __init__(self, name: str, argv: list[str], env: Mapping[str, str], log: Path, ready_path: str) -> None:
        self.argv = argv
        self.log_path = log
        self.port = free_port()
        self.ready_path = ready_path
        self.directory = ROOT  # where it runs
        self.file_bytes_max: int | None = None  # RLIMIT_FSIZE of the child, where a test wants a full disk
        self._name = name
        self._env = {**_plain_environment(), **env}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address to talk to, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the running child."""
        assert self._process is not None, f"{self._name} was not started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, or None while it runs."""
        assert self._process is not None, f"{self._name} was not started"
        return self._process.poll()

    def log(self) -> str:
        """Everything the child has printed, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def spawn(self) -> None:
        """Start the child and do not wait for it."""
        assert self._process is None or self._process.poll() is not None, f"{self._name} runs already"
        with self.log_path.open("ab") as output:
            argv = [part.replace("{port}", str(self.port)) for part in self.argv]
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env, cwd=self.directory
            )
        if self.file_bytes_max is not None:
            self.limit_file_bytes(self.file_bytes_max)
        _running.add(self)

    def start(self) -> None:
        """Start the child and wait until it answers; a port that was taken in between is replaced once or twice."""
        for _ in range(START_ATTEMPTS_MAX):
            self.spawn()
            if self.wait_ready():
                return
            if "address already in use" not in self.log().lower():
                break
            self.port = free_port()
        raise AssertionError(f"{self._name} ended with {self.returncode} before it was ready:\n{self.log()[-4000:]}")

    def wait_ready(self) -> bool:
        """Poll until the child answers 200; False when it ended instead."""
        ends = time.monotonic() + READY_SECONDS_MAX
        with httpx2.Client(base_url=self.url, timeout=5) as client:
            while time.monotonic() < ends:
                if self.returncode is not None:
                    return False
                try:
                    if client.get(self.ready_path).status_code == 200:
                        return True
                except httpx2.TransportError:
                    pass
                time.sleep(0.02)
        raise AssertionError(f"{self._name} was not ready after {READY_SECONDS_MAX} s:\n{self.log()[-4000:]}")

    def limit_file_bytes(self, count: int) -> None:
        """From now on no file of the child may grow beyond `count` bytes."""
        hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (count, hard))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = STOP_SECONDS_MAX) -> int:
        """Wait for the end; the exit status."""
        assert self._process is not None
        status = self._process.wait(seconds)
        _running.discard(self)
        return status

    def kill(self) -> None:
        """SIGKILL, and reap: no handler runs, nothing is flushed."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        if self._process is not None:
            self._process.wait(STOP_SECONDS_MAX)
        _running.discard(self)

    def stop(self) -> int:
        """SIGTERM and wait; the exit status. Killed when it does not obey."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self._name} did not end {STOP_SECONDS_MAX} s after SIGTERM") from None


class ModelServer(Program):
    """The scripted model server: both providers' wires on one port."""

    def __init__(self, directory: Path) -> None:
        argv = [sys.executable, "-m", "kelpie_sim.model_server", "--port", "{port}"]
        argv += [word for model in MODELS for word in ("--model", model)]
        super().__init__("model server", argv, {}, directory / "model_server.log", "/v1/models")

    def environment(self) -> dict[str, str]:
        """What a Kelpie server needs to find it."""
        return {
            "OPENAI_API_KEY": "sk-scripted",
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "ANTHROPIC_API_KEY": "sk-ant-scripted",
            "ANTHROPIC_BASE_URL": self.url,
        }

    def requests(self, containing: str = "") -> list[dict[str, Any]]:
        """The bodies of the latest 200 model calls, oldest first, whose text contains `containing`."""
        answer = httpx2.get(f"{self.url}/_requests", timeout=10).raise_for_status().json()
        return [entry["body"] for entry in answer["requests"] if containing in str(entry["body"])]

    def reset(self) -> None:
        """Forget all calls."""
        httpx2.post(f"{self.url}/_reset", timeout=10).raise_for_status()


class KelpieServer(Program):
    """`kelpie serve` on a data directory."""

    def __init__(self, data_dir: Path, log: Path, models: ModelServer | None = None, **env: str) -> None:
        argv = [str(BIN / "kelpie"), "serve", "--host", "127.0.0.1", "--port", "{port}", "--data-dir", str(data_dir)]
        self.data_dir = data_dir
        super().__init__("kelpie", argv, {**(models.environment() if models else {}), **env}, log, "/v1/health/")

    def client(self, **options: Any) -> httpx2.Client:
        """A blocking HTTP client of this server."""
        return httpx2.Client(base_url=self.url, timeout=ANSWER_SECONDS_MAX, follow_redirects=True, **options)

    def async_client(self, **options: Any) -> httpx2.AsyncClient:
        """An asynchronous HTTP client of this server; not bounded in connections."""
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=200)
        return httpx2.AsyncClient(
            base_url=self.url, timeout=ANSWER_SECONDS_MAX, follow_redirects=True, limits=limits, **options
        )


@contextmanager
def running_model_server(directory: Path) -> Iterator[ModelServer]:
    """A scripted model server that lives as long as the context."""
    models = ModelServer(directory)
    try:
        models.start()
        yield models
    finally:
        models.kill()


@contextmanager
def running_kelpie(directory: Path, models: ModelServer | None = None, **env: str) -> Iterator[KelpieServer]:
    """A Kelpie server with its data in `directory`/data, killed when the context ends."""
    server = KelpieServer(directory / "data", directory / "kelpie.log", models, **env)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """A port on which nobody listens now."""
    for _ in range(100):
        port = random.SystemRandom().randint(PORT_FIRST, PORT_LAST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port was found")


def _plain_environment() -> dict[str, str]:
    """The environment without anything that configures Kelpie or a provider."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "SYSTEMROOT")
    return {"PYTHONUNBUFFERED": "1", "NO_PROXY": "127.0.0.1"} | {
        name: os.environ[name] for name in kept if name in os.environ
    }


@atexit.register
def _kill_the_rest() -> None:
    for program in list(_running):
        program.kill()
