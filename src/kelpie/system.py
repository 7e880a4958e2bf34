"""The real parts behind the seams of `world.py`. Only `node.py` and the command line pick them."""

import os
import random
import time

from kelpie.world import World


class SystemClock:
    """The operating system's calendar clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1_000


class SystemEntropy:
    """The operating system's random source; jitter needs no cryptographic strength."""

    def take_bytes(self, count: int) -> bytes:
        """`count` bytes from the operating system."""
        assert count > 0
        return os.urandom(count)

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
