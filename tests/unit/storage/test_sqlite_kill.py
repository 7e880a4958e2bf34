"""Goal: what was acknowledged is there after kill -9. Method: a child writes and acknowledges through a pipe, and
is killed at an arbitrary moment, twelve times over; its successor finds the directory free and goes on.

This shows that commits are whole and in the file, not that the disk was waited for: only a power cut shows that.
"""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from kelpie.errors import Conflict, StoreOwned
from kelpie.limits import SCAN_ROWS_MAX
from kelpie.storage.sqlite import open_sqlite
from kelpie.storage.store import ABSENT, Check, Put
from kelpie.system import system_world

KILLS = 12
WRITERS = 6
PAD = b"x" * 3_000


async def write_until_killed(data_dir: Path, opening: int, pipe: int) -> None:
    """Each commit counts one up and leaves two marks; each acknowledgement is one line in the pipe."""
    store = await open_sqlite(data_dir, system_world())

    async def write(writer: int) -> None:
        for number in range(1_000_000):
            (row,) = await store.get([b"count"])
            seen, count = (ABSENT, 0) if row is None else (row.version, int(row.value))
            name = b"%d-%d-%d" % (opening, writer, number)
            writes = [Put(b"left " + name, PAD), Put(b"count", b"%d" % (count + 1)), Put(b"right " + name, PAD)]
            try:
                version = await store.commit([Check(b"count", seen)], writes)
            except Conflict:
                continue
            os.write(pipe, b"%s %d\n" % (name, version))

    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write(writer))


def write_and_be_killed(data_dir: Path, opening: int) -> list[tuple[bytes, int]]:
    """The names and versions that a child acknowledged before it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            asyncio.run(write_until_killed(data_dir, opening, writing))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as lines:
        acknowledged = [lines.readline() for _ in range(3 + opening * 5 % 17)]
        if opening == 0:
            with pytest.raises(StoreOwned, match=f"pid {child}$"):
                asyncio.run(open_sqlite(data_dir, system_world()))
        os.kill(child, signal.SIGKILL)
        acknowledged += lines.readlines()
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the child wrote until it was killed"
    pairs = [line.split() for line in acknowledged if line.endswith(b"\n")]
    return [(name, int(version)) for name, version in pairs]


async def read_all(data_dir: Path, space: bytes) -> dict[bytes, int]:
    """The names of all marks in `space`, with their versions; and of the count, under its value."""
    store = await open_sqlite(data_dir, system_world())
    marks: dict[bytes, int] = {}
    start = space + b" "
    while rows := await store.scan(start, space + b"!", limit=SCAN_ROWS_MAX):
        marks.update((row.key.partition(b" ")[2], row.version) for row in rows)
        start = rows[-1].key + b"\x00"
    (count,) = await store.get([b"count"])
    assert count is not None and int(count.value) == len(marks), "each commit counted one"
    await store.close()
    return marks


def test_every_acknowledged_commit_survives_kill_9(tmp_path: Path) -> None:
    acknowledged: dict[bytes, int] = {}
    last_version = ABSENT
    for opening in range(KILLS):
        fresh = write_and_be_killed(tmp_path, opening)
        assert len(fresh) >= 3, "something was acknowledged in each life"
        assert min(version for _, version in fresh) > last_version, "versions grow across deaths"
        last_version = max(version for _, version in fresh)
        acknowledged.update(fresh)
        if opening % 4 == 3:
            left, right = (asyncio.run(read_all(tmp_path, space)) for space in (b"left", b"right"))
            assert left == right, "each commit is whole"
            assert acknowledged.items() <= left.items()
            assert len(left) <= len(acknowledged) + WRITERS * (opening + 1), "the rest was under way"
