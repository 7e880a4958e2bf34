"""Goal: under FIFO the loop is asyncio to the letter; under any order it runs only what asyncio's promises allow.

Method: random programs of tasks, queues, events, locks, callbacks and cancellations, logged, run on both loops.
"""

import asyncio
import random

import pytest

from kelpie_sim.loop import FIFO, StepOrder
from kelpie_sim.simulation import Simulation
from tests.sim.test_loop import outcome_of

TASKS = 12
DEEDS = 15


class Program:
    """One random program; the same seed does the same deeds on any loop that takes turns alike."""

    def __init__(self, seed: int) -> None:
        self.log: list[str] = []
        self._rngs = [random.Random(seed * 1_000 + number) for number in range(TASKS)]
        self._queue: asyncio.Queue[int] = asyncio.Queue(maxsize=3)
        self._lock = asyncio.Lock()
        self._event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> list[str]:
        """Do all deeds; the log."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._live(number)) for number in range(TASKS)]
        for number, task in enumerate(self._tasks):
            task.add_done_callback(lambda _, number=number: self.log.append(f"{number} ended"))
        while not all(task.done() for task in self._tasks):
            self._event.set()
            self._event.clear()
            if self._queue.full():
                self.log.append(f"swept {self._queue.get_nowait()}")
            elif self._queue.empty():
                self._queue.put_nowait(-1)
            await asyncio.sleep(0)
        return self.log

    async def _live(self, number: int) -> None:
        for deed in range(DEEDS):
            try:
                await self._do(number, deed)
            except asyncio.CancelledError:
                self.log.append(f"{number} cancelled at {deed}")

    async def _do(self, number: int, deed: int) -> None:
        rng, loop, log = self._rngs[number], asyncio.get_running_loop(), self.log
        name = f"{number}.{deed}"
        match rng.randrange(8):
            case 0:
                await self._queue.put(number)
                log.append(f"{name} put")
            case 1:
                log.append(f"{name} got {await self._queue.get()}")
            case 2:
                await self._event.wait()
                log.append(f"{name} saw the event")
            case 3:
                async with self._lock:
                    log.append(f"{name} locked")
                    await asyncio.sleep(0)
                    log.append(f"{name} unlocked")
            case 4:
                loop.call_soon(log.append, f"{name} first callback")
                loop.call_soon(log.append, f"{name} second callback")
            case 5:
                answers = await asyncio.gather(*(self._answer(name, at) for at in range(3)))
                log.append(f"{name} gathered {answers}")
            case 6:
                other = rng.randrange(TASKS)
                if other != number:
                    self._tasks[other].cancel()
                    log.append(f"{name} cancels {other}")
            case _:
                await asyncio.sleep(0)

    async def _answer(self, name: str, at: int) -> int:
        self.log.append(f"{name} answers {at}")
        await asyncio.sleep(0)
        return at


def simulated(seed: int, order: StepOrder) -> list[str]:
    """The log of the program on the simulated loop."""

    async def main(sim: Simulation) -> list[str]:
        return await Program(seed).run()

    log = outcome_of(main, seed, order=order).result
    assert isinstance(log, list)
    return log


@pytest.mark.parametrize("seed", range(12))
def test_fifo_is_the_order_of_asyncio(seed: int) -> None:
    async def main() -> list[str]:
        return await Program(seed).run()

    log = asyncio.run(main())
    assert simulated(seed, FIFO) == log and len(log) > TASKS


@pytest.mark.parametrize("seed", range(12))
def test_other_orders_differ_and_keep_callbacks_in_their_order(seed: int) -> None:
    log = simulated(seed, StepOrder(late_percent=100, late_slots=8))
    assert log != simulated(seed, FIFO)
    for line in log:
        if line.endswith("first callback"):
            assert log.index(line) < log.index(line.replace("first", "second"))
    assert sorted(line for line in log if line.endswith("ended")) == sorted(f"{at} ended" for at in range(TASKS))
