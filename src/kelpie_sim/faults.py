"""Faults, drawn by seed as a swarm: each run has another few kinds, each with another strength.

A run in which everything fails at once gets nowhere, and one in which everything fails a little finds only
shallow bugs; so a plan switches each kind on or off, and draws its strength over orders of magnitude.
Two sorts: a kind with `percent` strikes single operations, one with `every_ms` strikes at times of its own
(storm.py sees to those). `heal()` turns all of them off, and then the system must make progress.
"""

from enum import StrEnum

from msgspec import Struct

from kelpie_sim.draw import Stream, between_log, stream


class FaultKind(StrEnum):
    """What may go wrong."""

    STORE_SLOW = "store slow"  # before and after a request is applied
    STORE_CONFLICT = "store conflict"  # a commit with checks is refused although they hold
    STORE_DOWN = "store failing"  # StoreDown or Busy, nothing applied
    STORE_UNKNOWN = "store unknown"  # CommitUnknown, applied or not
    STORE_CRASH = "store crash"  # commits not yet durable are lost, answers too; then it is away
    STORE_CUT = "store cut"  # no way between a node and the store, in one direction or both
    NODE_CRASH = "node crash"
    NODE_PAUSE = "node pause"
    NODE_CUT = "node cut"  # no way between two nodes
    CLIENT_CUT = "client cut"  # no way between a client and a node
    MESSAGE_SLOW = "message slow"
    MESSAGE_LOST = "message lost"
    MESSAGE_TWICE = "message twice"
    CLOCK_DRIFT = "clock drift"  # strength in ppm, either sign, one draw for each clock
    CLOCK_JUMP = "clock jump"
    MODEL_SLOW = "model slow"
    MODEL_FAILS = "model fails"
    MODEL_GARBAGE = "model garbage"
    TOOL_SLOW = "tool slow"
    TOOL_FAILS = "tool fails"


class Fault(Struct, frozen=True, kw_only=True):
    """One kind at one strength. Zero: the measure does not apply to the kind."""

    kind: FaultKind
    percent: float = 0.0  # of operations
    every_ms: int = 0  # the mean time between two strikes
    ms_max: int = 0  # the longest that one strike lasts, or the furthest a clock jumps
    ppm_max: int = 0


class FaultPlan(Struct, frozen=True, kw_only=True):
    """What may go wrong in one run; a kind that is absent is off."""

    faults: tuple[Fault, ...] = ()

    def find(self, kind: FaultKind) -> Fault | None:
        """The fault of that kind, or None if it is off."""
        return next((fault for fault in self.faults if fault.kind is kind), None)


NO_FAULTS = FaultPlan()

_Range = tuple[float, float]


class _Shape(Struct, frozen=True, kw_only=True):
    percent: _Range | None = None
    every_ms: _Range | None = None
    ms: _Range | None = None
    ppm: _Range | None = None


_SHAPES = {
    FaultKind.STORE_SLOW: _Shape(percent=(0.5, 50), ms=(5, 4_000)),
    FaultKind.STORE_CONFLICT: _Shape(percent=(0.5, 25)),
    FaultKind.STORE_DOWN: _Shape(percent=(0.5, 25)),
    FaultKind.STORE_UNKNOWN: _Shape(percent=(0.5, 25)),
    FaultKind.STORE_CRASH: _Shape(every_ms=(5_000, 60_000), ms=(100, 30_000)),
    FaultKind.STORE_CUT: _Shape(every_ms=(3_000, 60_000), ms=(100, 40_000)),
    FaultKind.NODE_CRASH: _Shape(every_ms=(2_000, 60_000), ms=(10, 30_000)),
    FaultKind.NODE_PAUSE: _Shape(every_ms=(2_000, 60_000), ms=(10, 40_000)),
    FaultKind.NODE_CUT: _Shape(every_ms=(3_000, 60_000), ms=(100, 40_000)),
    FaultKind.CLIENT_CUT: _Shape(every_ms=(3_000, 60_000), ms=(100, 40_000)),
    FaultKind.MESSAGE_SLOW: _Shape(percent=(0.5, 50), ms=(5, 10_000)),
    FaultKind.MESSAGE_LOST: _Shape(percent=(0.5, 20)),
    FaultKind.MESSAGE_TWICE: _Shape(percent=(0.5, 20)),
    FaultKind.CLOCK_DRIFT: _Shape(ppm=(10, 200_000)),
    FaultKind.CLOCK_JUMP: _Shape(every_ms=(5_000, 120_000), ms=(10, 3_600_000)),
    FaultKind.MODEL_SLOW: _Shape(percent=(1, 50), ms=(100, 120_000)),
    FaultKind.MODEL_FAILS: _Shape(percent=(1, 40)),
    FaultKind.MODEL_GARBAGE: _Shape(percent=(1, 25)),
    FaultKind.TOOL_SLOW: _Shape(percent=(1, 50), ms=(100, 120_000)),
    FaultKind.TOOL_FAILS: _Shape(percent=(1, 40)),
}
assert set(_SHAPES) == set(FaultKind)

_MIX_PERCENTS = (0, 15, 30, 50, 80)


def draw_plan(seed: int) -> FaultPlan:
    """The plan of a seed. One in five is calm, the others have between a few kinds and most."""
    rng = stream(seed, "faults", "plan")
    mix_percent = rng.choice(_MIX_PERCENTS)
    faults = []
    for kind in FaultKind:
        fault = _draw_fault(stream(seed, "faults", "plan", kind), kind)
        if rng.random() * 100 < mix_percent:
            faults.append(fault)
    return FaultPlan(faults=tuple(faults))


def full_plan(seed: int) -> FaultPlan:
    """Every kind on, strengths drawn: for tests of the faults themselves."""
    return FaultPlan(faults=tuple(_draw_fault(stream(seed, "faults", "plan", kind), kind) for kind in FaultKind))


def show_plan(plan: FaultPlan) -> str:
    """One line for each kind that is on."""
    return "\n".join(map(_show, plan.faults)) or "no faults"


class Faults:
    """A plan at work: asked at every operation, until `heal`. Each kind draws from a stream of its own."""

    def __init__(self, seed: int, plan: FaultPlan) -> None:
        self.plan = plan
        self.healed = False
        self.strikes: dict[FaultKind, int] = {fault.kind: 0 for fault in plan.faults}
        self._by_kind = {fault.kind: fault for fault in plan.faults}
        self._streams = {kind: stream(seed, "faults", kind) for kind in FaultKind}
        assert len(self._by_kind) == len(plan.faults), "a kind appears once"

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.healed = True

    def strike(self, kind: FaultKind) -> bool:
        """Whether this operation is struck."""
        fault = self._by_kind.get(kind)
        if fault is None or self.healed:
            return False
        struck = self._streams[kind].random() * 100 < fault.percent
        self.strikes[kind] += struck
        return struck

    def count(self, kind: FaultKind) -> None:
        """Record a strike that was timed, not drawn for an operation."""
        assert kind in self.strikes
        self.strikes[kind] += 1

    def duration_s(self, kind: FaultKind) -> float:
        """How long this strike lasts: mostly short, now and then up to the plan's most."""
        fault = self._by_kind[kind]
        assert fault.ms_max >= 1
        return between_log(self._streams[kind], min(1.0, fault.ms_max), fault.ms_max) / 1_000

    def delay_s(self, kind: FaultKind) -> float:
        """The duration of a strike if this operation is struck, else 0."""
        return self.duration_s(kind) if self.strike(kind) else 0.0

    def stream_of(self, kind: FaultKind) -> Stream:
        """The stream of that kind, for choices about its strikes."""
        return self._streams[kind]


def _draw_fault(rng: Stream, kind: FaultKind) -> Fault:
    shape = _SHAPES[kind]
    return Fault(
        kind=kind,
        percent=round(between_log(rng, *shape.percent), 2) if shape.percent else 0.0,
        every_ms=round(between_log(rng, *shape.every_ms)) if shape.every_ms else 0,
        ms_max=round(between_log(rng, *shape.ms)) if shape.ms else 0,
        ppm_max=round(between_log(rng, *shape.ppm)) if shape.ppm else 0,
    )


def _show(fault: Fault) -> str:
    parts = [
        f"{fault.percent} % of operations" if fault.percent else "",
        f"about every {fault.every_ms} ms" if fault.every_ms else "",
        f"up to {fault.ms_max} ms" if fault.ms_max else "",
        f"up to {fault.ppm_max} ppm" if fault.ppm_max else "",
    ]
    return f"{fault.kind}: " + ", ".join(part for part in parts if part)
