"""A small workload: hosts that count in one row of the store by compare-and-set, and what must hold after.

Each increment carries an id that is written in the same commit, so an unknown outcome is settled by reading.
`careless`, `doubling` and `blind` are planted bugs that the checks must catch.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from kelpie.errors import CommitUnknown, Conflict, Unavailable
from kelpie.storage.store import ABSENT, Check, Put, Store
from kelpie_sim.host import SimHost
from kelpie_sim.simulation import Simulation

COUNTER = b"counter"
INCREMENTS_PER_HOST = 15

Increment = Callable[[Store, bytes], Coroutine[Any, Any, bool]]


async def careful(store: Store, key: bytes) -> bool:
    """One increment under the id `key`; True once it is known to be applied, False if it is known not to be."""
    row, done = await store.get([COUNTER, key])
    if done is not None:
        return True
    count = 0 if row is None else int(row.value)
    checks = [Check(COUNTER, ABSENT if row is None else row.version), Check(key, ABSENT)]
    try:
        await store.commit(checks, [Put(COUNTER, b"%d" % (count + 1)), Put(key, b"")])
    except Conflict:
        return False
    return True


async def careless(store: Store, key: bytes) -> bool:
    """The planted bug: a Conflict is taken for success."""
    row = (await store.get([COUNTER]))[0]
    try:
        await store.commit(
            [Check(COUNTER, ABSENT if row is None else row.version)],
            [Put(COUNTER, b"%d" % ((0 if row is None else int(row.value)) + 1)), Put(key, b"")],
        )
    except Conflict:
        pass
    return True


async def doubling(store: Store, key: bytes) -> bool:
    """The planted bug: after an unknown outcome it does not look whether the increment is there already."""
    row = (await store.get([COUNTER]))[0]
    try:
        await store.commit(
            [Check(COUNTER, ABSENT if row is None else row.version)],
            [Put(COUNTER, b"%d" % ((0 if row is None else int(row.value)) + 1)), Put(key, b"")],
        )
    except Conflict:
        return False
    return True


async def blind(store: Store, key: bytes) -> bool:
    """The planted bug: it does not check that the count is still what it read."""
    row, done = await store.get([COUNTER, key])
    if done is None:
        count = 0 if row is None else int(row.value)
        await store.commit([Check(key, ABSENT)], [Put(COUNTER, b"%d" % (count + 1)), Put(key, b"")])
    return True


async def count_on(sim: Simulation, host: SimHost, acknowledged: dict[bytes, None], increment: Increment) -> None:
    """What runs on a host: increments until all of its own are acknowledged; starts over after a crash."""
    store = sim.server.open(host)
    world = sim.world(host)
    for at in range(INCREMENTS_PER_HOST):
        key = b"done/%s/%d" % (host.name.encode(), at)
        while key not in acknowledged:
            try:
                if await increment(store, key):
                    acknowledged[key] = None
            except (Unavailable, CommitUnknown):
                world.marks.reached("increment again")
            await asyncio.sleep(0.2 + world.entropy.fraction())


def counting(increment: Increment = careful, *, hosts: int = 3) -> Callable[[Simulation], Coroutine[Any, Any, int]]:
    """A `main`: load under the plan's faults, then heal, then every increment must be there exactly once."""

    async def main(sim: Simulation) -> int:
        acknowledged: dict[bytes, None] = {}

        def boot(host: SimHost) -> None:
            host.start()
            host.spawn(count_on(sim, host, acknowledged, increment), name="count")

        for number in range(hosts):
            boot(sim.host(f"node-{number + 1}"))
        storm = sim.storm(boot)
        async with asyncio.TaskGroup() as group:
            group.create_task(storm.rage(), name="storm")
            await asyncio.sleep(60)
            sim.heal()
            async with asyncio.timeout(120):
                while len(acknowledged) < hosts * INCREMENTS_PER_HOST:
                    await asyncio.sleep(1)
        check(sim, acknowledged)
        return len(sim.server.history)

    return main


def check(sim: Simulation, acknowledged: dict[bytes, None]) -> None:
    """No acknowledged increment is lost, none is counted twice, and the count in each commit goes up by one."""
    counts = [int(write.value) for applied in sim.server.history for write in applied.writes
              if isinstance(write, Put) and write.key == COUNTER]  # fmt: skip
    assert counts == list(range(1, len(counts) + 1)), "each commit counts one more"
    stored = {row.key for row in sim.server.peek(b"done/", b"done0")}
    lost = [key for key in acknowledged if key not in stored]
    assert not lost, f"acknowledged and lost: {lost}"
    assert counts[-1] == len(stored), "each id is counted once"
