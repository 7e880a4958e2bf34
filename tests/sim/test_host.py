"""A host can be crashed (nothing of it runs again), paused (nothing runs until it resumes) and started again."""

import asyncio

import pytest

from kelpie_sim.host import HostDown, SimHost
from kelpie_sim.loop import SimTask
from kelpie_sim.simulation import Simulation, run_simulation
from tests.sim.test_loop import outcome_of, results


def started(sim: Simulation, name: str = "node-1") -> SimHost:
    """A running host."""
    host = sim.host(name)
    host.start()
    return host


def test_crash_drops_tasks_timers_and_callbacks_without_finally() -> None:
    async def main(sim: Simulation) -> object:
        host, log = started(sim), []

        async def child(number: int) -> None:
            try:
                await asyncio.sleep(10)
            except BaseException:
                log.append(f"except {number}")
                raise
            finally:
                log.append(f"finally {number}")

        async def root() -> None:
            sim.loop.call_later(5, log.append, "timer")
            async with asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(child(number))

        host.spawn(root(), name="root")
        await asyncio.sleep(1)
        host.crash()
        await asyncio.sleep(100)
        return list(log), host.is_up, [task.get_name() for task in sim.loop.pending()]

    assert results(main) == [([], False, ["main"])] * 12


def test_everything_below_a_spawned_task_belongs_to_its_life() -> None:
    async def main(sim: Simulation) -> object:
        host = started(sim)

        async def deep() -> object:
            task = asyncio.current_task()
            assert isinstance(task, SimTask)
            return task.life

        async def root() -> object:
            async with asyncio.TaskGroup() as group:
                below = group.create_task(deep())
            return await asyncio.gather(asyncio.ensure_future(deep()), asyncio.wait_for(deep(), 1)), below.result()

        gathered, below = await host.call(root())  # type: ignore[misc]
        return [life is host.life for life in [*gathered, below]]

    assert outcome_of(main).result == [True, True, True]


def test_pause_parks_and_resume_runs_what_fell_due_in_its_order() -> None:
    """Overdue timers all fire before the tasks that they wake run: as in asyncio after SIGCONT."""

    async def main(sim: Simulation) -> object:
        host, log = started(sim), []

        async def tick() -> None:
            while True:
                await asyncio.sleep(1)
                log.append(sim.loop.virtual_ms)

        async def root() -> None:
            for at in (3.7, 3.2):
                sim.loop.call_later(at, log.append, f"due {at}")
            await tick()

        host.spawn(root(), name="root")
        await asyncio.sleep(2.5)
        host.pause()
        await asyncio.sleep(7.5)
        before = list(log)
        host.resume()
        await asyncio.sleep(1.5)
        host.crash()
        return before, log[len(before) :]

    assert outcome_of(main).result == ([1_000, 2_000], ["due 3.2", "due 3.7", 10_000, 11_000])


def test_a_crash_of_a_paused_host_drops_what_was_parked() -> None:
    async def main(sim: Simulation) -> object:
        host, log = started(sim), []

        async def root() -> None:
            await asyncio.sleep(1)
            log.append("ran")

        host.spawn(root(), name="root")
        host.pause()
        await asyncio.sleep(2)
        host.crash()
        host.start()
        await asyncio.sleep(2)
        return log, host.lives, host.is_paused

    assert outcome_of(main).result == ([], 2, False)


def test_call_returns_raises_or_ends_with_host_down() -> None:
    async def main(sim: Simulation) -> object:
        host = started(sim)

        async def answer() -> int:
            await asyncio.sleep(1)
            return 42

        async def fail() -> None:
            raise KeyError("asked for it")

        assert await host.call(answer()) == 42
        with pytest.raises(KeyError):
            await host.call(fail())
        asyncio.get_running_loop().call_later(0.5, host.crash)
        with pytest.raises(HostDown, match="crashed"):
            await host.call(answer())
        at_ms = sim.loop.virtual_ms
        with pytest.raises(HostDown, match="is down"):
            await host.call(answer())
        host.start()
        return at_ms, await host.call(answer())

    assert results(main) == [(1_500, 42)] * 12


def test_a_caller_that_leaves_does_not_stop_the_work() -> None:
    async def main(sim: Simulation) -> object:
        host, log = started(sim), []

        async def slow() -> None:
            await asyncio.sleep(10)
            log.append("done")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await host.call(slow())
        await asyncio.sleep(20)
        return log

    assert outcome_of(main).result == ["done"]


def test_an_error_that_ends_a_root_task_fails_the_run_unless_its_life_is_dead() -> None:
    async def fail_after(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        raise AssertionError("a promise of our own was broken")

    async def main(sim: Simulation) -> None:
        host = started(sim)
        host.spawn(fail_after(1), name="fails")
        host.spawn(fail_after(3), name="is spared")
        await asyncio.sleep(2)
        host.crash()
        await asyncio.sleep(2)

    outcome = run_simulation(main, 1)
    assert outcome.errors == ("node-1: a root task ended with AssertionError('a promise of our own was broken')",)


def test_entropy_differs_between_lives_and_the_clock_goes_on() -> None:
    async def main(sim: Simulation) -> object:
        host = started(sim)
        first = sim.world(host)
        one, at_ms = first.entropy.take_bytes(8), first.wall.now_ms()
        await asyncio.sleep(5)
        host.crash()
        host.start()
        second = sim.world(host)
        return one != second.entropy.take_bytes(8), second.wall.now_ms() - at_ms

    assert outcome_of(main).result == (True, 5_000)
