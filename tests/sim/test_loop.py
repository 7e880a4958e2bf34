"""The simulated loop keeps asyncio's promises, in virtual time, in every drawn order; and refuses the rest."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from kelpie_sim.loop import FIFO, StepOrder
from kelpie_sim.simulation import Outcome, Simulation, run_simulation
from kelpie_sim.trace import Trace, divergence

ALWAYS_LATE = StepOrder(late_percent=100, late_slots=8)
SEEDS = range(12)

Main = Callable[[Simulation], Coroutine[Any, Any, object]]


def outcome_of(main: Main, seed: int = 1, **options: Any) -> Outcome:
    """The outcome of a run that must pass."""
    outcome = run_simulation(main, seed, **options)
    outcome.demand()
    return outcome


def results(main: Main) -> list[object]:
    """What `main` returns under each of SEEDS."""
    return [outcome_of(main, seed).result for seed in SEEDS]


def test_time_jumps_and_timers_fire_in_order_of_time_then_of_setting() -> None:
    async def main(sim: Simulation) -> object:
        fired: list[str] = []
        for name, delay_s in (("late", 3600.0), ("b", 1.0), ("a", 0.5), ("c", 1.0), ("now", 0.0)):
            sim.loop.call_later(delay_s, fired.append, name)
        await asyncio.sleep(3600)
        return fired

    outcome = outcome_of(main, virtual_ms_max=4_000_000)
    assert (outcome.result, outcome.virtual_ms) == (["now", "a", "b", "c", "late"], 3_600_000)


def test_plain_callbacks_run_first_in_first_out_in_every_order() -> None:
    async def main(sim: Simulation) -> object:
        ran: list[int] = []
        for number in range(50):
            sim.loop.call_soon(ran.append, number)
        await asyncio.sleep(1)
        return ran

    assert results(main) == [list(range(50))] * len(SEEDS)


def test_steps_of_different_tasks_are_reordered_by_seed_but_not_under_fifo() -> None:
    async def main(sim: Simulation) -> object:
        started: list[int] = []

        async def child(number: int) -> None:
            started.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(child(number))
        return tuple(started)

    assert outcome_of(main, order=FIFO).result == (0, 1, 2, 3, 4)
    orders = {outcome_of(main, seed, order=ALWAYS_LATE).result for seed in SEEDS}
    assert len(orders) > 5 and all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)  # type: ignore[arg-type]


def test_group_hears_of_a_failed_child_before_whoever_awaits_it() -> None:
    """A promise of asyncio's FIFO order: the parent is cancelled, it does not see the child's error and go on."""

    async def main(sim: Simulation) -> object:
        seen: list[str] = []

        async def fail() -> None:
            raise ValueError("child")

        try:
            async with asyncio.TaskGroup() as group:
                child = group.create_task(fail())
                try:
                    await child
                except ValueError:
                    seen.append("went on")
                except asyncio.CancelledError:
                    seen.append("cancelled")
                    raise
        except* ValueError:
            seen.append("group")
        return seen

    assert results(main) == [["cancelled", "group"]] * len(SEEDS)


def test_group_cancels_siblings_in_the_order_of_their_numbers() -> None:
    """Under FIFO, children end in the order in which they are cancelled; a set of addresses would not do so."""

    async def main(sim: Simulation) -> object:
        ended: list[int] = []

        async def wait(number: int) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ended.append(number)

        async def fail() -> None:
            await asyncio.sleep(1)
            raise ValueError("one fails")

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                for number in range(40):
                    group.create_task(wait(number))
        return ended

    ended = outcome_of(main, order=FIFO).result
    assert isinstance(ended, list) and sorted(ended) == list(range(40))
    assert outcome_of(main, order=FIFO).result == ended


def test_timeout_ends_a_wait_on_time_and_spares_one_that_ends_before() -> None:
    async def main(sim: Simulation) -> object:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await sim.loop.create_future()
        at_ms = sim.loop.virtual_ms
        async with asyncio.timeout(5):
            await asyncio.sleep(4)
        assert await asyncio.wait_for(asyncio.sleep(1, "done"), 2) == "done"
        return at_ms, sim.loop.virtual_ms

    assert results(main) == [(5_000, 10_000)] * len(SEEDS)


def test_queue_event_condition_and_semaphore_work_unmodified() -> None:
    async def main(sim: Simulation) -> object:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        opened, condition, gate = asyncio.Event(), asyncio.Condition(), asyncio.Semaphore(3)
        taken: list[int] = []
        inside = most_inside = 0

        async def produce() -> None:
            await opened.wait()
            for number in range(20):
                await queue.put(number)

        async def consume() -> None:
            nonlocal inside, most_inside
            while len(taken) < 20:
                number = await queue.get()
                async with gate:
                    inside += 1
                    most_inside = max(most_inside, inside)
                    await asyncio.sleep(0.01)
                    inside -= 1
                async with condition:
                    taken.append(number)
                    condition.notify_all()

        async with asyncio.TaskGroup() as group:
            consumers = [group.create_task(consume()) for _ in range(5)]
            group.create_task(produce())
            opened.set()
            async with condition:
                await condition.wait_for(lambda: len(taken) == 20)
            for consumer in consumers:
                consumer.cancel()
        return sorted(taken), most_inside

    assert results(main) == [(list(range(20)), 3)] * len(SEEDS)


def test_gather_wait_shield_and_async_generators_work_unmodified() -> None:
    async def main(sim: Simulation) -> object:
        closed: list[str] = []

        async def count() -> AsyncIterator[int]:
            try:
                for number in range(10):
                    yield number
                    await asyncio.sleep(1)
            finally:
                closed.append("closed")

        async for number in count():
            if number == 3:
                break
        await asyncio.sleep(1)
        sums = await asyncio.gather(*(asyncio.sleep(3 - at, at) for at in range(3)))
        done, pending = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(at)) for at in (1, 9)], timeout=5)
        await asyncio.shield(asyncio.sleep(1))
        return closed, sums, len(done), len(pending)

    assert results(main) == [(["closed"], [0, 1, 2], 1, 1)] * len(SEEDS)


def test_cancelled_timers_do_not_pile_up() -> None:
    async def main(sim: Simulation) -> object:
        most = 0
        for _ in range(2_000):
            async with asyncio.timeout(3_000):
                await asyncio.sleep(0.001)
            most = max(most, len(sim.loop._timers))
        return most < 600

    assert outcome_of(main).result is True


def test_deadlock_is_an_error_that_names_who_waits_and_where() -> None:
    async def main(sim: Simulation) -> None:
        async def wait_for_ever() -> None:
            await sim.loop.create_future()

        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_ever(), name="stuck")

    outcome = run_simulation(main, 1)
    assert len(outcome.errors) == 1
    assert "Deadlock" in outcome.errors[0] and "stuck at test_loop.py:" in outcome.errors[0]
    assert "wait_for_ever" in outcome.errors[0]


def test_steps_and_virtual_time_are_bounded() -> None:
    async def spin(sim: Simulation) -> None:
        while True:
            await asyncio.sleep(0)

    async def idle(sim: Simulation) -> None:
        while True:
            await asyncio.sleep(10)

    assert "more than 500 steps" in run_simulation(spin, 1, steps_max=500).errors[0]
    outcome = run_simulation(idle, 1, virtual_ms_max=60_000)
    assert "the virtual time is over" in outcome.errors[0] and outcome.virtual_ms >= 60_000


def test_a_run_stops_at_its_last_allowed_error() -> None:
    async def main(sim: Simulation) -> None:
        while True:
            sim.loop.note_error(f"at {sim.loop.virtual_ms}")
            await asyncio.sleep(1)

    outcome = run_simulation(main, 1, errors_max=2)
    assert outcome.errors[:2] == ("at 0", "at 1000")
    assert "stopped at 2 errors" in outcome.errors[2] and len(outcome.errors) == 3


def test_an_exception_that_nobody_sees_fails_the_run() -> None:
    async def main(sim: Simulation) -> str:
        async def fail() -> None:
            raise ValueError("unseen")

        asyncio.ensure_future(fail())
        sim.loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)
        return "ended well"

    outcome = run_simulation(main, 1)
    assert outcome.result == "ended well"
    assert [("unseen" in error, "ZeroDivisionError" in error) for error in sorted(outcome.errors)] == [
        (False, True),
        (True, False),
    ]


def test_main_that_raises_fails_the_run_and_demand_tells_the_seed() -> None:
    async def main(sim: Simulation) -> None:
        raise ValueError("check failed")

    outcome = run_simulation(main, 77)
    with pytest.raises(AssertionError, match=r"(?s)seed 77.*check failed"):
        outcome.demand()


@pytest.mark.parametrize(
    "escape",
    [
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: loop.create_connection(asyncio.Protocol, "localhost", 80),
        lambda loop: loop.create_server(asyncio.Protocol, "localhost", 0),
        lambda loop: loop.getaddrinfo("localhost", 80),
        lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
        lambda loop: loop.add_signal_handler(15, print),
        lambda loop: loop.add_reader(0, print),
    ],
)
def test_the_real_world_is_out_of_reach(escape: Callable[[Any], object]) -> None:
    async def main(sim: Simulation) -> None:
        escape(sim.loop)

    assert "SimulationEscape" in run_simulation(main, 1).errors[0]


def test_a_thread_cannot_reach_in() -> None:
    async def main(sim: Simulation) -> object:
        caught: list[str] = []

        def reach() -> None:
            try:
                sim.loop.call_soon_threadsafe(print)
            except RuntimeError as error:
                caught.append(type(error).__name__)

        thread = threading.Thread(target=reach)
        thread.start()
        thread.join()
        return caught

    assert outcome_of(main).result == ["RuntimeError"]


def test_tasks_left_over_are_named_and_their_last_words_ignored() -> None:
    async def main(sim: Simulation) -> None:
        async def linger() -> None:
            try:
                await asyncio.sleep(1_000)
            finally:
                raise ValueError("last words")

        sim.loop.create_task(linger(), name="lingers")
        await asyncio.sleep(1)

    outcome = outcome_of(main)
    assert [left.split(" at ")[0] for left in outcome.left] == ["lingers"]


def test_divergence_names_the_first_line_that_differs() -> None:
    async def main(sim: Simulation) -> None:
        sim.trace.event("draw", sim.stream("x").randrange(10**9))

    traces = [Trace(lines_kept=100) for _ in range(3)]
    for trace, seed in zip(traces, (1, 1, 2), strict=True):
        outcome_of(main, seed, trace=trace, order=FIFO)
    assert divergence(traces[0], traces[1]) is None
    assert "draw" in (divergence(traces[0], traces[2]) or "")
