"""A simulated host: what runs on it can be crashed, paused and started again.

A host shares nothing with the rest of the world but seams: a lock or queue held by a crashed host is never
released. Whoever waits for work on a host goes through `call`, which ends with HostDown if the host crashes.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

from kelpie_sim.life import LIFE, Life, LifeState
from kelpie_sim.loop import SimLoop, SimTask

T = TypeVar("T")


class HostDown(Exception):
    """The host is not running, or crashed before it answered."""


class SimHost:
    """One machine, by name; its successive incarnations are numbered from 1."""

    def __init__(self, loop: SimLoop, name: str) -> None:
        assert name
        self.name = name
        self.lives = 0
        self._loop = loop
        self._life: Life | None = None
        self._calls = 0

    @property
    def life(self) -> Life | None:
        """The running or paused incarnation; None while the host is down."""
        return self._life

    @property
    def is_up(self) -> bool:
        """Started and not crashed; perhaps paused."""
        return self._life is not None

    @property
    def is_paused(self) -> bool:
        """Started, but standing still."""
        return self._life is not None and self._life.state is LifeState.PAUSED

    def start(self) -> Life:
        """Begin the next incarnation; nothing runs in it until `spawn`."""
        assert self._life is None, f"{self.name} runs already"
        self.lives += 1
        self._life = Life(self.name, self.lives)
        self._loop.trace.event("start", self.name, self.lives)
        return self._life

    def spawn(self, coro: Coroutine[Any, Any, Any], *, name: str) -> SimTask:
        """Run a task, and all tasks below it, on this host. An error that ends it fails the run."""
        task = self._create(coro, name)
        task.add_done_callback(self._note_failure, context=self._loop.world)
        return task

    async def call(self, coro: Coroutine[Any, Any, T], *, name: str = "call") -> T:
        """Run `coro` on this host and return its result. Raises HostDown, or what `coro` raises.

        A caller that is cancelled stops waiting; the work on the host goes on.
        """
        life = self._life
        if life is None:
            coro.close()
            raise HostDown(f"{self.name} is down")
        self._calls += 1
        number = self._calls
        outcome: asyncio.Future[T] = self._loop.create_future()
        task = self._create(coro, name)

        def settle(ended: asyncio.Future[T]) -> None:
            life.mourners.pop(number, None)
            if not outcome.done():
                _hand_over(ended, outcome)
            elif life.state is not LifeState.DEAD:
                self._note_failure(ended)

        def mourn() -> None:
            if not outcome.done():
                outcome.set_exception(HostDown(f"{self.name} crashed"))

        life.mourners[number] = mourn
        task.add_done_callback(settle, context=self._loop.world)
        return await outcome

    def crash(self) -> None:
        """As by a power cut: what runs here never runs another line."""
        assert self._life is not None, f"{self.name} is down already"
        self._loop.trace.event("crash", self.name, self.lives)
        life, self._life = self._life, None
        self._loop.bury(life)

    def pause(self) -> None:
        """Stand still: time passes, messages arrive, nothing runs."""
        assert self._life is not None, f"{self.name} is down"
        self._loop.trace.event("pause", self.name)
        self._loop.freeze(self._life)

    def resume(self) -> None:
        """Go on where it stood still; overdue timers fire at once."""
        assert self._life is not None, f"{self.name} is down"
        self._loop.trace.event("resume", self.name)
        self._loop.thaw(self._life)

    def _create(self, coro: Coroutine[Any, Any, Any], name: str) -> SimTask:
        assert self._life is not None, f"{self.name} is down"
        context = contextvars.Context()
        context.run(LIFE.set, self._life)
        return self._loop.create_task(coro, name=f"{self.name}/{name}", context=context)

    def _note_failure(self, task: asyncio.Future[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.note_error(f"{self.name}: a root task ended with {error!r}")


def _hand_over(ended: asyncio.Future[T], outcome: asyncio.Future[T]) -> None:
    if ended.cancelled():
        outcome.cancel()
    elif (error := ended.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(ended.result())
