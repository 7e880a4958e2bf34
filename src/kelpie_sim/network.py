"""Simulated links between hosts: delay, loss, duplication, and cuts in one direction or both.

A message travels in the world, not on a host: once sent it goes on although its sender has crashed, and it
waits at the door of a host that is paused. Links to the store are connections: they do not lose or double
single messages (store.py has faults of its own), but they can be cut.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from kelpie_sim.draw import Stream
from kelpie_sim.faults import FaultKind, Faults
from kelpie_sim.limits import LINK_DELAY_US_MAX, LINK_DELAY_US_MIN
from kelpie_sim.loop import SimLoop

T = TypeVar("T")

STORE_HOST = "store"
"""The name under which the store is reached."""


class LinkBroken(Exception):
    """A connection ended: cut, or its other end crashed."""


class Network:
    """All links of a simulation."""

    def __init__(self, loop: SimLoop, rng: Stream, faults: Faults) -> None:
        self._loop = loop
        self._rng = rng
        self._faults = faults
        self._cuts: dict[tuple[str, str], None] = {}

    def cut(self, source: str, target: str) -> None:
        """Nothing sent or under way from `source` to `target` arrives, until `mend`. One direction."""
        assert source != target
        self._cuts[source, target] = None
        self._loop.trace.event("cut", source, target)

    def mend(self, source: str, target: str) -> None:
        """Undo `cut`, if there is one."""
        if (source, target) in self._cuts:
            del self._cuts[source, target]
            self._loop.trace.event("mend", source, target)

    def mend_all(self) -> None:
        """Undo every cut."""
        for source, target in list(self._cuts):
            self.mend(source, target)

    def is_cut(self, source: str, target: str) -> bool:
        """Whether the direction is cut."""
        return (source, target) in self._cuts

    def send(self, source: str, target: str, deliver: Callable[[], object]) -> None:
        """Call `deliver`, as the world, when the message arrives: once; or never; or, by a fault, twice."""
        lossy = STORE_HOST not in (source, target)
        copies = 2 if lossy and self._faults.strike(FaultKind.MESSAGE_TWICE) else 1
        for _ in range(copies):
            if not (lossy and self._faults.strike(FaultKind.MESSAGE_LOST)) and not self.is_cut(source, target):
                delay_s = self.delay_s(source, target)
                self._loop.call_later(delay_s, self._arrive, source, target, deliver, context=self._loop.world)

    async def pass_through(self, source: str, target: str) -> None:
        """Return when a message sent now arrives. It may never: wait with a timeout."""
        arrived = self._loop.create_future()
        self.send(source, target, lambda: arrived.done() or arrived.set_result(None))
        await arrived

    def delay_s(self, source: str, target: str) -> float:
        """How long the next message is under way; drawn."""
        delay_s = self._rng.uniform(LINK_DELAY_US_MIN, LINK_DELAY_US_MAX) / 1_000_000
        if STORE_HOST not in (source, target):
            delay_s += self._faults.delay_s(FaultKind.MESSAGE_SLOW)
        return delay_s

    def _arrive(self, source: str, target: str, deliver: Callable[[], object]) -> None:
        if not self.is_cut(source, target):
            deliver()


class Pipe(Generic[T]):
    """One direction of a connection: items arrive in order, each once, until the connection breaks.

    An item that meets a cut breaks the pipe. `break_off` is for whoever knows that an end has crashed.
    """

    def __init__(self, loop: SimLoop, network: Network, source: str, target: str) -> None:
        assert source != target
        self._loop = loop
        self._network = network
        self._source = source
        self._target = target
        self._last_arrival_s = loop.time()
        self._arrived: deque[T] = deque()
        self._broken = False
        self._reader: asyncio.Future[None] | None = None

    def send(self, item: T) -> None:
        """Send one item; into a broken pipe it vanishes, as into a socket whose reset is under way."""
        arrival_s = self._loop.time() + self._network.delay_s(self._source, self._target)
        self._last_arrival_s = max(self._last_arrival_s, arrival_s)
        self._loop.call_at(self._last_arrival_s, self._arrive, item, context=self._loop.world)

    async def receive(self) -> T:
        """The next item; what had arrived before a break is still given out. Raises LinkBroken."""
        assert self._reader is None, "one reader at a time"
        while not self._arrived:
            if self._broken:
                raise LinkBroken(f"from {self._source} to {self._target}")
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._arrived.popleft()

    def break_off(self) -> None:
        """End the connection now."""
        self._broken = True
        self._wake()

    def _arrive(self, item: T) -> None:
        if self._network.is_cut(self._source, self._target):
            self.break_off()
        elif not self._broken:
            self._arrived.append(item)
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
