"""What a commit, a get and a scan cost on this machine: `python benches/bench_store.py`.

A commit has 2 checks and 8 small puts (4 new keys, 4 existing ones), as one step of an agent's turn has. CPU
is of the whole process: the event loop, the writer thread, and the kernel's part of waiting for the disk.
"""

import argparse
import asyncio
import random
import tempfile
import time
from pathlib import Path

from kelpie.storage import keys
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.sqlite import SqliteStore, open_sqlite
from kelpie.storage.store import Check, Put, Store
from kelpie.system import system_world

VALUE = b'{"form":1,"text":"%s"}' % (b"x" * 280)
HOT_ROWS = 400


async def fill(store: Store, rows: int) -> dict[bytes, int]:
    """Write `rows` agents; the hot ones with their versions."""
    versions: dict[bytes, int] = {}
    for start in range(0, rows, 500):
        written = [keys.key("agent", index) for index in range(start, min(start + 500, rows))]
        version = await store.commit([], [Put(key, VALUE) for key in written])
        versions.update(dict.fromkeys(written, version))
    return dict(random.Random(1).sample(sorted(versions.items()), HOT_ROWS))


async def write(store: Store, hot: list[tuple[bytes, int]], writer: int, commits: int) -> None:
    """`commits` commits one after the other, over the writer's own share of the hot rows."""
    versions = dict(hot)
    mine = list(versions)
    for number in range(commits):
        touched = [mine[(number * 4 + at) % len(mine)] for at in range(4)]
        checks = [Check(key, versions[key]) for key in touched[:2]]
        puts = [Put(key, VALUE) for key in touched]
        puts += [Put(keys.key("message", writer, number * 4 + at), VALUE) for at in range(4)]
        version = await store.commit(checks, puts)
        versions.update(dict.fromkeys(touched, version))


async def busy(until: asyncio.Event) -> None:
    """Keeps the loop busy with slices of half a millisecond."""
    while not until.is_set():
        end = time.perf_counter() + 0.0005
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


async def bench_commits(
    store: Store, inner: Store, hot: dict[bytes, int], writers: int, total: int, loaded: bool
) -> None:
    """Prints one line."""
    rows = list(hot.items())
    share = len(rows) // writers
    before = inner.statistics() if isinstance(inner, SqliteStore) else None
    cpu, wall, done = time.process_time(), time.perf_counter(), asyncio.Event()
    async with asyncio.TaskGroup() as load:
        if loaded:
            load.create_task(busy(done))
        async with asyncio.TaskGroup() as group:
            for writer in range(writers):
                mine = rows[writer * share : (writer + 1) * share]
                group.create_task(write(store, mine, writer, total // writers))
        done.set()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    per_sync = ""
    if before is not None and isinstance(inner, SqliteStore):
        after = inner.statistics()
        ratio = (after.commits - before.commits) / max(1, after.transactions - before.transactions)
        per_sync = f"{ratio:6.1f} per fsync"
    name = f"commit, {writers} writers" + (", busy loop" if loaded else "")
    times = f"{cpu / total * 1e6:8.0f} us CPU {wall / total * 1e6:8.0f} us wall {total / wall:8.0f}/s"
    print(f"  {name:28} {times} {per_sync}")
    fresh = await asyncio.gather(*[store.get([key]) for key in hot])
    hot.update({row.key: row.version for (row,) in fresh if row is not None})


async def bench_reads(store: Store, hot: dict[bytes, int], loops: int) -> None:
    """Prints a line for each kind of read."""
    some = list(hot)
    start, end = keys.below("agent")
    kinds = {
        "get 1": (lambda at: store.get([some[at % len(some)]]), loops),
        "get 8": (lambda at: store.get([some[(at + step) % len(some)] for step in range(8)]), loops // 4),
        "get 256": (lambda _: store.get(some[:256]), loops // 50),
        "scan 20": (lambda _: store.scan(start, end, limit=20), loops // 4),
        "scan 200 reverse": (lambda _: store.scan(start, end, limit=200, reverse=True), loops // 50),
        "scan 1000 (thread)": (lambda _: store.scan(start, end, limit=1_000), loops // 50),
    }
    for name, (read, count) in kinds.items():
        cpu, wall = time.process_time(), time.perf_counter()
        for at in range(count):
            await read(at)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"  {name:28} {cpu / count * 1e6:8.1f} us CPU {wall / count * 1e6:8.1f} us wall")


async def bench(name: str, inner: Store, rows: int, commits: int) -> None:
    """All lines of one store."""
    print(name)
    store = CheckedStore(inner)
    hot = await fill(store, rows)
    for writers, loaded in ((1, False), (32, False), (1, True), (32, True)):
        await bench_commits(store, inner, hot, writers, commits, loaded)
    await bench_reads(store, hot, commits * 4)
    await store.close()


async def main() -> None:
    """Both stores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--commits", type=int, default=1_536)
    options = parser.parse_args()
    world = system_world()
    await bench("memory", MemoryStore(world), options.rows, options.commits)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        await bench("sqlite", await open_sqlite(Path(directory) / "data", world), options.rows, options.commits)


if __name__ == "__main__":
    asyncio.run(main())
