"""The simulated parts behind the seams of `kelpie.world`: a clock that errs, seeded entropy, forced branches."""

from kelpie.world import World
from kelpie_sim.draw import Part, stream
from kelpie_sim.limits import CALENDAR_START_MS
from kelpie_sim.loop import SimLoop


class SimClock:
    """A calendar clock that runs `drift_ppm` too fast (negative: too slow) and jumps when told to."""

    def __init__(self, loop: SimLoop, *, drift_ppm: int = 0, offset_ms: int = 0) -> None:
        assert -500_000 <= drift_ppm <= 500_000, "a clock never runs backwards by drift alone"
        self._loop = loop
        self.jumped: list[tuple[float, int]] = []  # when, and what it showed before
        self._drift_ppm = drift_ppm
        self._read_s = loop.time()
        self._shown_us = (CALENDAR_START_MS + loop.virtual_ms + offset_ms) * 1_000

    def now_ms(self) -> int:
        """Milliseconds since 1970, by this clock."""
        return self.now_us() // 1_000

    def now_us(self) -> int:
        """Microseconds since 1970, by this clock."""
        elapsed_us = round((self._loop.time() - self._read_s) * 1_000_000)
        assert elapsed_us >= 0
        return self._shown_us + elapsed_us + elapsed_us * self._drift_ppm // 1_000_000

    def jump(self, by_ms: int) -> None:
        """Forward, or, if negative, back."""
        self.jumped.append((self._loop.time(), self.now_ms()))
        self._settle()
        self._shown_us += by_ms * 1_000

    def drift(self, drift_ppm: int) -> None:
        """Run at another speed from now on."""
        assert -500_000 <= drift_ppm <= 500_000
        self._settle()
        self._drift_ppm = drift_ppm

    def _settle(self) -> None:
        self._shown_us, self._read_s = self.now_us(), self._loop.time()


class SimEntropy:
    """A seeded stream of bytes and fractions; `split` gives another, which draws from this one do not shift."""

    def __init__(self, seed: int, *path: Part) -> None:
        self._seed = seed
        self._path = path
        self._rng = stream(seed, "entropy", *path)

    def split(self, *path: Part) -> "SimEntropy":
        """The independent stream `path` below this one."""
        assert path, "a stream has a name"
        return SimEntropy(self._seed, *self._path, *path)

    def take_bytes(self, count: int) -> bytes:
        """`count` bytes."""
        assert count > 0
        return self._rng.randbytes(count)

    def fraction(self) -> float:
        """Uniform in [0, 1)."""
        return self._rng.random()


class SimMarks:
    """Forces rare branches by seed, and counts which were taken.

    A run forces about half of the names it meets, each with a probability of its own (1, 5, 25 or 75 %), so
    that some runs reach deep along the usual path and others never leave the rare one.
    """

    def __init__(self, seed: int, *, forced: bool = True) -> None:
        self.counts: dict[str, int] = {}
        self.forced_counts: dict[str, int] = {}
        self._seed = seed
        self._forced = forced
        self._names: dict[str, tuple[SimEntropy, float]] = {}

    def sometimes(self, name: str) -> bool:
        """Whether to take the rare branch `name` this time. After `calm`: never."""
        if not self._forced:
            return False
        if name not in self._names:
            rng = SimEntropy(self._seed, "marks", name)
            chance = (0.01, 0.05, 0.25, 0.75)[int(rng.fraction() * 4)] if rng.fraction() < 0.5 else 0.0
            self._names[name] = (rng, chance)
            self.forced_counts[name] = 0
        rng, chance = self._names[name]
        taken = rng.fraction() < chance
        self.forced_counts[name] += taken
        return taken

    def reached(self, name: str) -> None:
        """Count that the rare branch `name` was taken."""
        self.counts[name] = self.counts.get(name, 0) + 1

    def calm(self) -> None:
        """Force nothing any more."""
        self._forced = False


def sim_world(seed: int, host: str, life: int, clock: SimClock, marks: SimMarks) -> World:
    """The seams of one incarnation of a host; each incarnation has entropy of its own, as in reality."""
    assert host and life >= 1
    return World(wall=clock, entropy=SimEntropy(seed, host, life), marks=marks)
