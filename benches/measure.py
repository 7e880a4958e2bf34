"""What the operating system knows about a process, and how numbers are summed up."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct


class Timing(Struct, frozen=True, kw_only=True):
    """One case: CPU of the server for each request, and how long a client waited. Milliseconds.

    `database_ms` is the CPU of the server's database, where that is another process.
    """

    cpu_ms: float
    database_ms: float = 0.0
    p50_ms: float
    p99_ms: float


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of a process so far, in nanosecond steps where the kernel tells them."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # Linux: the clock id of another process's CPU time
    except OSError:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid: int) -> float:
    """CPU time so far of a process and of its children, those that have ended included."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
    living = 0.0
    for child in [pid, *map(int, children)]:
        with suppress(FileNotFoundError, ProcessLookupError):  # it ends just now
            living += cpu_seconds(child)
    return living + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """The memory that the process keeps in RAM now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed."""
    assert values and 0 < percent <= 100
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def timing(cpu_s: float, count: int, waits_s: Sequence[float], *, database_s: float = 0.0) -> Timing:
    """The sum of one case: CPU of `count` requests, and waits of others like them."""
    return Timing(
        cpu_ms=cpu_s * 1_000 / count,
        database_ms=database_s * 1_000 / count,
        p50_ms=percentile(waits_s, 50) * 1_000,
        p99_ms=percentile(waits_s, 99) * 1_000,
    )
