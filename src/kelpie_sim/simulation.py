"""One simulated universe, from its seed to its verdict.

    async def main(sim: Simulation) -> int: ...
    outcome = run_simulation(main, seed=7)
    outcome.demand()

`main` runs as the world: it starts hosts, brings load and faults, and checks. It fails the run by raising.
"""

import gc
import traceback
from collections.abc import Awaitable, Callable

from msgspec import Struct

from kelpie.world import World
from kelpie_sim.draw import Part, Stream, global_generator, stream
from kelpie_sim.faults import NO_FAULTS, FaultKind, FaultPlan, Faults, show_plan
from kelpie_sim.host import SimHost
from kelpie_sim.limits import ERRORS_MAX, STEPS_MAX, VIRTUAL_MS_MAX
from kelpie_sim.loop import BoundPassed, Deadlock, SimLoop, SimTask, StepOrder, describe, draw_order
from kelpie_sim.network import STORE_HOST, Network
from kelpie_sim.store import SimStoreServer
from kelpie_sim.storm import Storm
from kelpie_sim.trace import Trace
from kelpie_sim.world import SimClock, SimMarks, sim_world


class SimulationFailed(AssertionError):
    """A run ended with errors; its text is all that is needed to replay it."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What a run came to. Equal seeds and equal code give equal digests, in every process."""

    seed: int
    digest: str
    steps: int
    virtual_ms: int
    errors: tuple[str, ...]  # empty: the run passed
    marks: dict[str, int]  # rare branch -> how often it was reached
    strikes: dict[str, int]  # fault kind that was on -> how often it struck
    left: tuple[str, ...]  # tasks that had not ended when main did, dead lives apart
    plan: FaultPlan
    result: object  # what main returned; None if it failed

    def demand(self) -> None:
        """Raise SimulationFailed if the run failed."""
        if self.errors:
            raise SimulationFailed(f"seed {self.seed}, {show_plan(self.plan)}\n" + "\n".join(self.errors))


class Simulation:
    """What `main` holds: the loop, the links, the store, the faults, and hosts by name."""

    def __init__(self, seed: int, loop: SimLoop, plan: FaultPlan, *, marks_forced: bool) -> None:
        self.seed = seed
        self.loop = loop
        self.trace = loop.trace
        self.faults = Faults(seed, plan)
        self.marks = SimMarks(seed, forced=marks_forced)
        self.network = Network(loop, stream(seed, "network"), self.faults)
        store_clock = SimClock(loop, offset_ms=self._offset_ms("store"))
        store_world = sim_world(seed, STORE_HOST, 1, store_clock, self.marks)
        self.server = SimStoreServer(loop, self.network, self.faults, stream(seed, "store"), world=store_world)
        self.hosts: dict[str, SimHost] = {}
        self.clocks: dict[str, SimClock] = {}
        self._storm: Storm | None = None

    def stream(self, *path: Part) -> Stream:
        """A random stream of the workload's own."""
        return stream(self.seed, "workload", *path)

    def host(self, name: str) -> SimHost:
        """A new host, still down, with a clock of its own, which drifts if the plan says so."""
        assert name not in self.hosts, f"{name} exists"
        self.hosts[name] = SimHost(self.loop, name)
        self.clocks[name] = SimClock(self.loop, drift_ppm=self._drift_ppm(), offset_ms=self._offset_ms(name))
        return self.hosts[name]

    def world(self, host: SimHost) -> World:
        """The seams for the incarnation of `host` that runs now."""
        assert host.life is not None, "a world belongs to a started host"
        return sim_world(self.seed, host.name, host.life.number, self.clocks[host.name], self.marks)

    def storm(self, boot: Callable[[SimHost], None], *, clients: tuple[str, ...] = ()) -> Storm:
        """The timed faults of the plan, over all hosts made so far; `heal` ends it."""
        assert self._storm is None, "one storm at a time"
        self._storm = Storm(
            self.faults,
            self.network,
            self.server,
            hosts=list(self.hosts.values()),
            clients=clients,
            clocks=list(self.clocks.values()),
            boot=boot,
        )
        return self._storm

    def heal(self) -> None:
        """All hosts up, links whole, clocks steady, no operation struck, no rare branch forced: from now on."""
        self.faults.heal()
        self.marks.calm()
        if self._storm is not None:
            self._storm.heal()

    def _drift_ppm(self) -> int:
        fault = self.faults.plan.find(FaultKind.CLOCK_DRIFT)
        if fault is None:
            return 0
        return self.faults.stream_of(FaultKind.CLOCK_DRIFT).randint(-fault.ppm_max, fault.ppm_max)

    def _offset_ms(self, name: str) -> int:
        return stream(self.seed, "clock", name).randint(-2_000, 2_000)


def run_simulation(
    main: Callable[[Simulation], Awaitable[object]],
    seed: int,
    *,
    plan: FaultPlan = NO_FAULTS,
    order: StepOrder | None = None,
    marks_forced: bool = True,
    steps_max: int = STEPS_MAX,
    virtual_ms_max: int = VIRTUAL_MS_MAX,
    errors_max: int = ERRORS_MAX,
    trace: Trace | None = None,
) -> Outcome:
    """Run `main` to its end in a universe of its own. Failures are in the outcome, never raised.

    `order` defaults to the seed's; `trace` may be one that keeps lines; errors_max=1 stops at the first error.
    """
    loop = SimLoop(
        stream(seed, "order"),
        trace or Trace(),
        order=order or draw_order(stream(seed, "order", "drawn")),
        steps_max=steps_max,
        virtual_ms_max=virtual_ms_max,
        errors_max=errors_max,
    )
    simulation = Simulation(seed, loop, plan, marks_forced=marks_forced)
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()  # what was garbage before the run must not be found during it
    try:
        with global_generator(seed):
            return _judge(simulation, main)
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


def _judge(simulation: Simulation, main: Callable[[Simulation], Awaitable[object]]) -> Outcome:
    loop, trace = simulation.loop, simulation.trace

    async def run_main() -> object:
        return await main(simulation)

    task = loop.create_task(run_main(), name="main", context=loop.world.copy())
    task.add_done_callback(lambda _: loop.stop(), context=loop.world)
    result = error = None
    try:
        loop.run_forever()
        result, error = _ending(task)
    except (Deadlock, BoundPassed) as stuck:
        error = stuck
    if error is not None:
        loop.note_error("".join(traceback.format_exception(error)).rstrip())
    left = tuple(describe(task) for task in loop.pending())
    digest = trace.digest()
    del task, error
    loop.finish()
    return Outcome(
        seed=simulation.seed,
        digest=digest,
        steps=loop.steps,
        virtual_ms=loop.virtual_ms,
        errors=tuple(loop.errors),
        marks=dict(sorted(simulation.marks.counts.items())),
        strikes={kind.value: count for kind, count in simulation.faults.strikes.items()},
        left=left,
        plan=simulation.faults.plan,
        result=result,
    )


def _ending(task: SimTask) -> tuple[object, BaseException | None]:
    assert task.done(), "the loop stops when main ends"
    if task.cancelled():
        return None, SimulationFailed("main was cancelled")
    error = task.exception()
    return (None, error) if error is not None else (task.result(), None)
