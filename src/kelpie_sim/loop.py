"""A virtual-time asyncio event loop: seeded, single-threaded, the same in every process.

Time. The clock stands still while anything is ready, and then jumps to the next timer. Timers that fall
due at the same instant fire in the order in which they were set.

Order. asyncio promises that ready callbacks run first in, first out, and its own library leans on that (a
TaskGroup hears of its child's end before whoever awaits the child). What no real program may lean on is
how soon a *task* gets its next turn. So plain callbacks keep their place in the queue, always; the step of
a task either keeps its place or, by the seed, takes one up to LATE_SLOTS_MAX places later. A step is never
early: it runs after all that was queued before it. Each run draws how often and how late, from "never",
which is exactly asyncio's order, to "always".

Hosts. A callback belongs to the life (see life.py) in its context. `freeze` parks the callbacks of a life
until `thaw`; `bury` drops them for good, its tasks never run another line, and their coroutines are closed
only after the verdict.

Identity. Tasks and futures are numbered and hash by their number, since asyncio keeps some in sets, whose
order would otherwise be that of memory addresses. The garbage collector runs at fixed steps only.
"""

import asyncio
import contextvars
import gc
import heapq
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from msgspec import Struct

from kelpie_sim.draw import Stream
from kelpie_sim.life import LIFE, Life, LifeState
from kelpie_sim.limits import (
    DEADLOCK_TASKS_SHOWN,
    ERRORS_MAX,
    LATE_SLOTS_MAX,
    LOOP_START_S,
    STEPS_MAX,
    STEPS_PER_COLLECTION,
    TASKS_CREATED_PER_PRUNE,
    TIMERS_CANCELLED_MAX,
    VIRTUAL_MS_MAX,
)
from kelpie_sim.sealed import SealedLoop, SimulationEscape
from kelpie_sim.trace import Trace


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set, yet the run is not over. Names the tasks that wait."""


class BoundPassed(RuntimeError):
    """The run took more steps, virtual time or errors than it may. Names the tasks that are left."""


class StepOrder(Struct, frozen=True, kw_only=True):
    """How the steps of tasks are delayed: `late_percent` of them, by 1 to `late_slots` places."""

    late_percent: int
    late_slots: int


FIFO = StepOrder(late_percent=0, late_slots=1)
"""asyncio's own order."""


def draw_order(rng: Stream) -> StepOrder:
    """A seed's order of steps; one in eight is FIFO."""
    late_percent = rng.choice((0, 5, 20, 20, 50, 50, 100, 100))
    return StepOrder(late_percent=late_percent, late_slots=rng.choice((2, 8, LATE_SLOTS_MAX)))


class SimFuture(asyncio.Future[Any]):
    """A future that hashes by its number."""

    def __init__(self, *, loop: "SimLoop", number: int) -> None:
        self.number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number


class SimTask(asyncio.Task[Any]):
    """A task that hashes and sorts by its number, and knows the life it belongs to."""

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        loop: "SimLoop",
        name: object,
        context: contextvars.Context,
        number: int,
    ) -> None:
        self.number = number
        self.life = context.get(LIFE)
        super().__init__(coro, loop=loop, name=str(name or f"task-{number}"), context=context)

    def __hash__(self) -> int:
        return self.number

    def __lt__(self, other: "SimTask") -> bool:
        return self.number < other.number


class SimLoop(SealedLoop):
    """The loop. `rng` decides the order of steps, within `order`; everything that runs goes into `trace`."""

    def __init__(
        self,
        rng: Stream,
        trace: Trace,
        *,
        order: StepOrder,
        steps_max: int = STEPS_MAX,
        virtual_ms_max: int = VIRTUAL_MS_MAX,
        errors_max: int = ERRORS_MAX,
    ) -> None:
        assert 0 <= order.late_percent <= 100 and 1 <= order.late_slots <= LATE_SLOTS_MAX
        assert steps_max > 0 and virtual_ms_max > 0 and errors_max > 0
        super().__init__()
        super().set_debug(False)
        self.trace = trace
        self.steps = 0
        self.errors: list[str] = []
        self.world = contextvars.Context()
        self._rng = rng
        self._order = order
        self._steps_max = steps_max
        self._errors_max = errors_max
        self._now = LOOP_START_S
        self._end = LOOP_START_S + virtual_ms_max / 1_000
        self._numbers = 0
        self._turns = 0
        self._queue: list[tuple[int, int, asyncio.Handle, Life | None, int]] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Life | None]] = []
        self._timers_cancelled = 0
        self._tasks: dict[int, SimTask] = {}
        self._judged = False

    def time(self) -> float:
        """Virtual seconds; they pass only between steps."""
        return self._now

    @property
    def virtual_ms(self) -> int:
        """Virtual milliseconds since the start."""
        return round((self._now - LOOP_START_S) * 1_000)

    def set_debug(self, enabled: bool) -> None:
        """Debug mode measures real time and keeps stacks: it stays off."""

    def create_future(self) -> SimFuture:
        """A numbered future."""
        self._numbers += 1
        return SimFuture(loop=self, number=self._numbers)

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> Any:
        """A numbered task, of the life in its context; the name does not depend on other loops."""
        if self._judged:
            raise RuntimeError("the simulation is over")
        self._numbers += 1
        number = self._numbers
        task = SimTask(coro, loop=self, name=name, context=context or contextvars.copy_context(), number=number)
        self._tasks[number] = task
        if number % TASKS_CREATED_PER_PRUNE == 0:
            self._tasks = {number: task for number, task in self._tasks.items() if not task.done()}
        return task

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Queue a callback at its place; the step of a task perhaps later. See the module's text."""
        if self._judged:
            raise RuntimeError("the simulation is over")
        handle = asyncio.Handle(callback, args, self, context)
        life = LIFE.get() if context is None else context.get(LIFE)
        owner = getattr(callback, "__self__", None)
        if type(owner) is SimTask:
            self._push(handle, life, owner.number, self._late_slots())
        else:
            self._push(handle, life, 0, 0)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As call_soon; from another thread a RuntimeError."""
        self._check_thread()  # type: ignore[attr-defined]
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback `delay` virtual seconds from now."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Queue a callback at the virtual time `when`; at once, if that has passed."""
        if self._judged:
            raise RuntimeError("the simulation is over")
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        handle._scheduled = True  # type: ignore[attr-defined]
        self._turns += 1
        life = LIFE.get() if context is None else context.get(LIFE)
        heapq.heappush(self._timers, (when, self._turns, handle, life))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Whatever nobody caught fails the run; what a dead life or the undertaker says does not."""
        task = context.get("task") or context.get("future")
        if self._judged or (isinstance(task, SimTask) and _is_dead(task.life)):
            return
        where = f" in {task.get_name()}" if isinstance(task, SimTask) else ""
        error = context.get("exception")
        lines = traceback.format_exception(error) if isinstance(error, BaseException) else [repr(error)]
        self.note_error(f"{context.get('message', 'unhandled')}{where}: " + "".join(lines).rstrip())

    def note_error(self, text: str) -> None:
        """Fail the run, with this reason; it goes on until `errors_max` are known."""
        assert text
        self.trace.event("error")
        self.errors.append(text)

    # -- lives ---------------------------------------------------------------------------------------------

    def freeze(self, life: Life) -> None:
        """From now on callbacks of `life` wait."""
        assert life.state is LifeState.RUNNING, life
        life.state = LifeState.PAUSED

    def thaw(self, life: Life) -> None:
        """Callbacks of `life` run again; those that waited, in the order in which they fell due."""
        assert life.state is LifeState.PAUSED, life
        life.state = LifeState.RUNNING
        for handle, number in life.parked:
            self._push(handle, life, number, 0)
        life.parked.clear()

    def bury(self, life: Life) -> None:
        """No line of `life` runs again. Its tasks stay pending for ever; `mourners` are told at once."""
        assert life.state is not LifeState.DEAD, life
        life.state = LifeState.DEAD
        life.parked.clear()
        self._keep_timers(lambda _, owner: owner is not life)
        mourners = list(life.mourners.values())
        life.mourners.clear()
        for tell in mourners:
            tell()

    def pending(self) -> list[SimTask]:
        """The tasks that may still run, by number; those of dead lives are not among them."""
        return [task for task in self._tasks.values() if not task.done() and not _is_dead(task.life)]

    def finish(self) -> None:
        """After the run: what was lost unseen becomes an error, then everything is closed in silence."""
        assert not self.is_running() and not self._judged
        tasks = [task for task in self._tasks.values() if not task.done()]
        self._tasks.clear()
        gc.collect()
        self._judged = True
        self.close()
        self._queue.clear()
        self._timers.clear()
        for task in tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro = task.get_coro()
            assert coro is not None
            with suppress(BaseException):  # what dead code says while it is closed proves nothing
                coro.close()

    # -- the engine ----------------------------------------------------------------------------------------

    def _late_slots(self) -> int:
        order = self._order
        if order.late_percent and self._rng.random() * 100 < order.late_percent:
            return int(self._rng.random() * order.late_slots) + 1
        return 0

    def _push(self, handle: asyncio.Handle, life: Life | None, number: int, late: int) -> None:
        self._turns += 1
        heapq.heappush(self._queue, (self._turns + late, self._turns, handle, life, number))

    def _run_once(self) -> None:
        while not self._queue:
            self._advance()
        _, turn, handle, life, number = heapq.heappop(self._queue)
        if handle.cancelled():
            return
        if life is not None and life.state is not LifeState.RUNNING:
            if life.state is LifeState.PAUSED:
                life.parked.append((handle, number))
            return
        if len(self.errors) >= self._errors_max:
            raise BoundPassed(f"stopped at {len(self.errors)} errors")
        self.steps += 1
        if self.steps > self._steps_max:
            raise BoundPassed(f"more than {self._steps_max} steps; {self._who_waits()}")
        if self.steps % STEPS_PER_COLLECTION == 0:
            gc.collect()
        self.trace.step(self.steps, number, turn, self._now)
        if self.trace.keeps_lines:
            task = self._tasks.get(number)
            self.trace.note_step(self.steps, self._now, "" if task is None else task.get_name())
        handle._run()

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            self._pop_timer()
        if not timers:
            raise Deadlock(f"nothing is ready and no timer is set; {self._who_waits()}")
        self._now = max(self._now, timers[0][0])
        if self._now > self._end:
            raise BoundPassed(f"the virtual time is over; {self._who_waits()}")
        while timers and timers[0][0] <= self._now:
            handle, life = self._pop_timer()
            if not handle.cancelled():
                self._push(handle, life, 0, 0)

    def _pop_timer(self) -> tuple[asyncio.TimerHandle, Life | None]:
        _, _, handle, life = heapq.heappop(self._timers)
        handle._scheduled = False  # type: ignore[attr-defined]
        self._timers_cancelled -= handle.cancelled()
        return handle, life

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._timers_cancelled += 1
        if self._timers_cancelled > TIMERS_CANCELLED_MAX and self._timers_cancelled * 2 > len(self._timers):
            self._keep_timers(lambda timer, _: timer is not handle)

    def _keep_timers(self, wanted: Callable[[asyncio.TimerHandle, Life | None], bool]) -> None:
        self._timers = [timer for timer in self._timers if not timer[2].cancelled() and wanted(timer[2], timer[3])]
        heapq.heapify(self._timers)
        self._timers_cancelled = 0

    def _who_waits(self) -> str:
        tasks = self.pending()
        shown = "; ".join(describe(task) for task in tasks[:DEADLOCK_TASKS_SHOWN])
        more = len(tasks) - DEADLOCK_TASKS_SHOWN
        return f"{len(tasks)} tasks wait: {shown}" + (f"; and {more} more" if more > 0 else "")

    def _process_events(self, event_list: object) -> None:
        raise SimulationEscape("a simulated loop has no I/O events")

    def _write_to_self(self) -> None:
        raise SimulationEscape("a simulated loop has no other threads")


def describe(task: SimTask) -> str:
    """The task's name, its life, and the innermost line at which it waits."""
    life = "" if task.life is None else f" of {task.life!r} ({task.life.state.value})"
    coro: Any = task.get_coro()
    line = "not started"
    while (frame := getattr(coro, "cr_frame", None)) is not None:
        line = f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {frame.f_code.co_name}"
        coro = coro.cr_await
    return f"{task.get_name()}{life} at {line}"


def _is_dead(life: Life | None) -> bool:
    return life is not None and life.state is LifeState.DEAD
