"""One incarnation of a simulated host, and the tag by which the loop knows whose callback it runs.

Every task and callback inherits the tag through its context, as threads of a process share a process id.
A paused life's callbacks wait; a dead life's callbacks are dropped, so that nothing of it runs again: no
`finally`, no `except`, as after a power cut.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum


class LifeState(Enum):
    """What may happen to callbacks of a life."""

    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


class Life:
    """Incarnation `number` (from 1) of the host `host`."""

    __slots__ = ("host", "mourners", "number", "parked", "state")

    def __init__(self, host: str, number: int) -> None:
        assert host and number >= 1
        self.host = host
        self.number = number
        self.state = LifeState.RUNNING
        self.parked: list[tuple[asyncio.Handle, int]] = []
        self.mourners: dict[int, Callable[[], None]] = {}

    def __repr__(self) -> str:
        return f"{self.host}#{self.number}"


LIFE: ContextVar[Life | None] = ContextVar("life", default=None)
"""The life that the running callback belongs to; None: the world itself (faults, store, checkers)."""
