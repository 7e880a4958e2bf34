"""Deadlines that many short things share: one timer looks after all of them, instead of one timer for each.

A timer of the event loop costs more than a small request, and almost none of them ever fires. What is overdue is ended
at the next look, so it may have up to a LOOKS_PER_SPAN-th of the span more than it was given.
"""

import asyncio
from types import TracebackType

LOOKS_PER_SPAN = 32


class Deadlines:
    """Everything that is watched here may take `span_ms`."""

    def __init__(self, span_ms: int) -> None:
        assert span_ms > 0
        self._span_s = span_ms / 1_000
        self._watched: dict[Watched, None] = {}  # in the order in which they are due
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> "Watched":
        """For `with`, around awaits: TimeoutError is raised when they take too long."""
        return Watched(self)

    def add(self, watched: "Watched") -> None:
        """One more has begun."""
        loop = asyncio.get_running_loop()
        watched.due_s = loop.time() + self._span_s
        self._watched[watched] = None
        if self._timer is None:
            self._timer = loop.call_later(self._span_s / LOOKS_PER_SPAN, self._look)

    def remove(self, watched: "Watched") -> None:
        """It has ended, in time or not."""
        self._watched.pop(watched, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        while self._watched:
            watched = next(iter(self._watched))
            if watched.due_s > now_s:
                break
            self.remove(watched)
            watched.expire()
        self._timer = loop.call_later(self._span_s / LOOKS_PER_SPAN, self._look) if self._watched else None


class Watched:
    """What a task does within its `with`. It is cancelled when it is overdue; the `with` makes TimeoutError of that."""

    __slots__ = ("_cancelling", "_deadlines", "_overdue", "_task", "due_s")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._overdue = False
        self.due_s = 0.0

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._deadlines.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.remove(self)
        if self._overdue and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error  # nobody else has cancelled the task

    def expire(self) -> None:
        """Too late: what the task waits for is given up."""
        self._overdue = True
        self._task.cancel()
