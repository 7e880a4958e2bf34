"""The trace of a run, as a digest: two runs are the same run if and only if their digests are equal.

Every step of the loop goes in (its number, the task, its place in the queue, the virtual time), and every
event that a seam wants seen. Lines are kept only on request; checkpoints always are, so that two traces
that differ can be narrowed down to STEPS_PER_CHECKPOINT steps, and then replayed with lines.
"""

import hashlib
import struct
from collections import deque

from kelpie_sim.limits import STEPS_PER_CHECKPOINT

_STEP = struct.Struct("<QQQd")


class Trace:
    """A growing digest of steps and events; the last `lines_kept` of them can be read back."""

    def __init__(self, *, lines_kept: int = 0) -> None:
        assert lines_kept >= 0
        self.checkpoints: list[tuple[int, str]] = []
        self._hash = hashlib.blake2b(digest_size=16)
        self._lines: deque[str] = deque(maxlen=lines_kept)
        self.keeps_lines = lines_kept > 0

    def step(self, step: int, task: int, turn: int, time_s: float) -> None:
        """One callback of the loop ran: for task number `task` (0: none), queued as the `turn`-th."""
        self._hash.update(_STEP.pack(step, task, turn, time_s))
        if step % STEPS_PER_CHECKPOINT == 0:
            self.checkpoints.append((step, self._hash.hexdigest()))

    def note_step(self, step: int, time_s: float, name: str) -> None:
        """A readable line for a step; not part of the digest."""
        self._lines.append(f"{step} {time_s:.6f} {name}")

    def event(self, name: str, *fields: str | int) -> None:
        """Something a seam wants to be part of the run's identity, e.g. `commit node-1 17`."""
        assert name, "an event has a name"
        line = " ".join([name, *map(str, fields)])
        self._hash.update(line.encode() + b"\n")
        if self.keeps_lines:
            self._lines.append("  " + line)

    def digest(self) -> str:
        """Hexadecimal digest of everything so far."""
        return self._hash.hexdigest()

    def lines(self) -> tuple[str, ...]:
        """The kept lines, oldest first: steps as `number seconds task`, events indented."""
        return tuple(self._lines)


def divergence(one: Trace, other: Trace) -> str | None:
    """Where two traces part: the first kept line or checkpoint that differs; None if they never do."""
    for mine, theirs in zip(one.lines(), other.lines(), strict=False):
        if mine != theirs:
            return f"{mine!r} against {theirs!r}"
    for mine, theirs in zip(one.checkpoints, other.checkpoints, strict=False):
        if mine != theirs:
            return f"between step {mine[0] - STEPS_PER_CHECKPOINT} and step {mine[0]}"
    return None if one.digest() == other.digest() else "after the last common checkpoint"
