"""Randomness of a simulation: one independent stream for each named purpose.

A stream is named by a path, e.g. (seed, "entropy", "node-1", 2). Another draw, or another stream, shifts
no other stream; so a changed subsystem disturbs the rest of a replayed run as little as possible.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

Part = str | int
Stream = random.Random


def stream(seed: int, *path: Part) -> Stream:
    """The generator of the stream `path` under `seed`; the same in every process."""
    assert path, "a stream has a name"
    text = "/".join([str(seed), *[f"{type(part).__name__}:{part}" for part in path]])
    return random.Random(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()))


def between_log(rng: Stream, low: float, high: float) -> float:
    """Log-uniform in [low, high]: small values are as likely as large ones."""
    assert 0 < low <= high
    return low * (high / low) ** rng.random()


@contextmanager
def global_generator(seed: int) -> Iterator[None]:
    """Seed Python's global generator within, for libraries that draw from it; restore it after."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
