"""The seams: where what cannot be computed enters. Real parts in `system.py`, simulated in `kelpie_sim`.

Task order, sleeping and timeouts are not here: their seam is the event loop itself, which the simulator
replaces. Storage, models and tools have seams of their own, declared by the rooms that use them.
"""

from typing import Protocol

from msgspec import Struct


class WallClock(Protocol):
    """Calendar time. It may drift and jump; deadlines use the event loop's clock instead."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00Z."""
        ...

    def now_us(self) -> int:
        """Microseconds since 1970-01-01T00:00Z."""
        ...


class Entropy(Protocol):
    """Randomness, for ids and jitter."""

    def take_bytes(self, count: int) -> bytes:
        """`count` random bytes."""
        ...

    def fraction(self) -> float:
        """Uniform in [0, 1)."""
        ...


class Marks(Protocol):
    """Rare branches leave a mark here, and the simulator may force them."""

    def sometimes(self, name: str) -> bool:
        """Always False in production; in simulation, drawn by seed: take the rare branch `name`."""
        ...

    def reached(self, name: str) -> None:
        """Count that the rare branch `name` was taken."""
        ...


class World(Struct, frozen=True, kw_only=True):
    """All seams that every floor may need, handed down through constructors."""

    wall: WallClock
    entropy: Entropy
    marks: Marks
