"""What every Python program of the sandbox stands on. It is put in front of the program's own text.

Input: eight bytes of length, then so much JSON. The pipe stays open as long as the server lives and waits; when it is
closed, the process ends, and all that it started. What may be used is bounded before any foreign code is read.
"""

import json
import os
import resource
import signal
import sys
import threading
from typing import Any

RESULT_FILE = "result.json"
FILES_KEPT = 8  # for the result, when the tool has all others open


def bound(memory_bytes_max: int, cpu_seconds_max: int, file_bytes_max: int, open_files_max: int) -> None:
    """Bound this process and those that it starts."""
    for kind, most in (
        (resource.RLIMIT_AS, memory_bytes_max),
        (resource.RLIMIT_CPU, cpu_seconds_max),
        (resource.RLIMIT_FSIZE, file_bytes_max),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files_max, open_files_max + FILES_KEPT))


def bound_processes(more_max: int) -> None:
    """So many processes and threads beside those that the machine runs now. The superuser cannot be bounded so."""
    try:
        with open("/proc/loadavg", encoding="ascii") as file:
            running = int(file.read().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return  # another system than Linux
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = running + more_max if hard == resource.RLIM_INFINITY else min(running + more_max, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def read_input() -> Any:
    """What this process is to do; from then on it ends when the server does."""
    pipe = os.dup(0)
    length = int.from_bytes(_read(pipe, 8), "big")
    given = json.loads(_read(pipe, length))
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    threading.Thread(target=_end_with_server, args=(pipe,), daemon=True).start()
    return given


def write_result(directory: str, result: object) -> None:
    """The last deed: the result, whole or not at all."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    path = os.path.join(directory, RESULT_FILE)
    with open(path + ".new", "w", encoding="utf-8") as file:
        json.dump(result, file)
    os.rename(path + ".new", path)


def _read(pipe: int, length: int) -> bytes:
    parts = []
    while length > 0:
        part = os.read(pipe, length)
        if not part:
            sys.exit("the server is gone")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _end_with_server(pipe: int) -> None:
    os.read(pipe, 1)
    os.killpg(0, signal.SIGKILL)
