"""A real server process: how it begins, and how signals end it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

SECONDS_MAX = 30


@contextmanager
def serving(data_dir: Path, **environ: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """`kelpie serve` on a free port, which its banner tells; killed when the context ends."""
    command = [sys.executable, "-m", "kelpie.cli.main", "serve", "--port", "0", "--data-dir", str(data_dir)]
    plain = {"PATH": os.environ["PATH"], **environ}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=plain)
    assert process.stdout is not None
    try:
        found = re.fullmatch(r"Kelpie \S+ listens on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
        assert found, process.communicate()
        with httpx2.Client(base_url=found[1], timeout=SECONDS_MAX, trust_env=False) as http:
            yield process, http
    finally:
        process.kill()
        process.communicate()


def test_sigterm_ends_an_idle_server_well(tmp_path: Path) -> None:
    """It answers once the banner is out; status 0, the data directory given up, no word of anything wrong."""
    with serving(tmp_path) as (process, http):
        answer = http.get("/v1/health/")
        assert (answer.status_code, answer.headers["server"].startswith("kelpie/")) == (200, True)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=SECONDS_MAX)
    assert (process.returncode, said.count("\n"), "stopping" in said) == (0, 1, True)
    with serving(tmp_path) as (_, http):
        assert http.get("/v1/health/").status_code == 200


def test_a_second_signal_ends_a_busy_server_at_once(tmp_path: Path) -> None:
    """A turn waits for a model that never answers: the first SIGINT drains, the second does not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with serving(tmp_path, OPENAI_BASE_URL=url) as (process, http):
            agent = http.post("/v1/agents/", json={"model": "openai/silent"}).raise_for_status().json()["id"]
            body = {"messages": [{"role": "user", "content": "Hello"}]}
            http.post(f"/v1/agents/{agent}/messages/async", json=body).raise_for_status()
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None and "stopping" in process.stderr.readline()
            assert http.post(f"/v1/agents/{agent}/messages", json=body).status_code == 503
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS_MAX) == 128 + signal.SIGINT
            assert "stopped at once" in process.stderr.read()
