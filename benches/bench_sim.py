"""How fast simulated time passes: three hosts count in the store under every fault; prints, asserts nothing.

python benches/bench_sim.py [seeds]
"""

import asyncio
import sys
import time

from kelpie.errors import CommitUnknown, Unavailable
from kelpie.storage.store import ABSENT, Check, Put
from kelpie_sim.faults import full_plan
from kelpie_sim.host import SimHost
from kelpie_sim.simulation import Simulation, run_simulation

VIRTUAL_S = 120
HOSTS = 3
WORKERS = 4


async def work(sim: Simulation, host: SimHost, number: int) -> None:
    """Read, compare and set one row, for ever."""
    store = sim.server.open(host)
    key = b"row/%d" % number
    while True:
        try:
            async with asyncio.timeout(10):
                row = (await store.get([key]))[0]
                await store.commit([Check(key, ABSENT if row is None else row.version)], [Put(key, b"x" * 100)])
        except (Unavailable, CommitUnknown, TimeoutError):
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)


async def main(sim: Simulation) -> int:
    """Load under faults for VIRTUAL_S; returns the commits applied."""

    def boot(host: SimHost) -> None:
        host.start()
        for number in range(WORKERS):
            host.spawn(work(sim, host, number), name=f"work-{number}")

    for number in range(HOSTS):
        boot(sim.host(f"node-{number + 1}"))
    storm = sim.storm(boot)
    async with asyncio.TaskGroup() as group:
        group.create_task(storm.rage())
        await asyncio.sleep(VIRTUAL_S)
        sim.heal()
    return len(sim.server.history)


if __name__ == "__main__":
    steps = commits = 0
    began = time.process_time()
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for seed in range(seeds):
        outcome = run_simulation(main, seed, plan=full_plan(seed))
        outcome.demand()
        steps += outcome.steps
        commits += int(str(outcome.result))
    cpu_s = time.process_time() - began
    print(
        f"{seeds * VIRTUAL_S / cpu_s:.0f} simulated s/s, {steps / cpu_s:.0f} steps/s,"
        f" {cpu_s / steps * 1e6:.1f} us/step, {commits} commits, {cpu_s:.1f} CPU s"
    )
