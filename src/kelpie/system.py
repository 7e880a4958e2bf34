"""The real parts behind the seams of `world.py`. Only `node.py` and the command line pick them."""

import os
import random
import time

from kelpie.world import World

ENTROPY_BYTES_AT_ONCE = 2_048  # one call of the system costs as much as twenty of the ids made from it


class SystemClock:
    """The operating system's calendar clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1_000


class SystemEntropy:
    """The operating system's random source, asked for many bytes at once; jitter needs no cryptographic strength."""

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def take_bytes(self, count: int) -> bytes:
        """`count` bytes from the operating system, each given out once."""
        assert count > 0
        if self._at + count > len(self._bytes):
            self._bytes, self._at = os.urandom(max(count, ENTROPY_BYTES_AT_ONCE)), 0
        self._at += count
        return self._bytes[self._at - count : self._at]

    def fraction(self) -> float:
        """Uniform in [0, 1)."""
        return random.random()


class NoMarks:
    """Production takes no branch for the sake of testing, and counts none."""

    def sometimes(self, name: str) -> bool:
        """Never."""
        return False

    def reached(self, name: str) -> None:
        """Nothing is counted."""


def system_world() -> World:
    """The seams of a real process."""
    return World(wall=SystemClock(), entropy=SystemEntropy(), marks=NoMarks())
