"""What is overdue is cancelled and told so; what another cancels stays cancelled; no timer is left behind."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kelpie.api.deadlines import LOOKS_PER_SPAN, Deadlines

Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_what_is_overdue_ends_with_a_timeout_and_what_is_not_goes_on(run: Run) -> None:
    async def late(deadlines: Deadlines) -> str:
        try:
            with deadlines.watch():
                await asyncio.Event().wait()
        except TimeoutError:
            return "too late"
        return "in time"

    async def early(deadlines: Deadlines) -> str:
        with deadlines.watch():
            await asyncio.sleep(0)
        return "in time"

    async def scenario() -> list[str]:
        deadlines = Deadlines(20)
        return await asyncio.gather(late(deadlines), early(deadlines), late(deadlines))

    assert run(scenario()) == ["too late", "in time", "too late"]


def test_a_task_that_another_cancels_is_cancelled(run: Run) -> None:
    async def scenario() -> tuple[bool, int]:
        deadlines = Deadlines(10_000)

        async def wait() -> None:
            with deadlines.watch():
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled(), len(deadlines._watched)

    assert run(scenario()) == (True, 0)


def test_a_task_that_is_cancelled_and_overdue_at_once_is_cancelled(run: Run) -> None:
    async def scenario() -> bool:
        deadlines = Deadlines(10)

        async def wait() -> None:
            with deadlines.watch():
                await asyncio.Event().wait()

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        next(iter(deadlines._watched)).expire()
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run(scenario())


def test_an_error_within_is_not_changed(run: Run) -> None:
    async def scenario() -> None:
        with Deadlines(10_000).watch():
            await asyncio.sleep(0)
            raise ValueError

    with pytest.raises(ValueError):
        run(scenario())


def test_the_timer_stops_when_nothing_is_watched(run: Run) -> None:
    async def scenario() -> list[bool]:
        deadlines = Deadlines(32)
        assert deadlines._timer is None
        with deadlines.watch():
            during = deadlines._timer is not None
        await asyncio.sleep(3 * 0.032 / LOOKS_PER_SPAN)
        return [during, deadlines._timer is None]

    assert run(scenario()) == [True, True]
