"""One seed, one workload, one verdict: nodes are started, loaded under the seed's faults, healed, and judged.

played = play(7)
assert not played.violations and not played.outcome.errors
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import ClassVar, Protocol

from msgspec import Struct

from kelpie.agent.state import RUNS
from kelpie.agent.turn import INTERRUPTED
from kelpie.llm.messages import ToolReturnPart
from kelpie.memory.history import MESSAGES
from kelpie_sim.checkers.derived import check_derived
from kelpie_sim.checkers.events import check_events, check_readings
from kelpie_sim.checkers.limits_hold import LimitsHold
from kelpie_sim.checkers.linearizable import BlockValues
from kelpie_sim.checkers.no_lost_turn import check_turns
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.checkers.single_owner import SingleOwner
from kelpie_sim.checkers.spoken import Spoken
from kelpie_sim.checkers.steps import check_steps
from kelpie_sim.client import SimClient
from kelpie_sim.cluster import BugLog, Cluster
from kelpie_sim.draw import stream
from kelpie_sim.faults import FaultPlan, draw_plan, show_plan
from kelpie_sim.ledger import Ledger
from kelpie_sim.loop import describe
from kelpie_sim.simulation import Outcome, Simulation, run_simulation
from kelpie_sim.trace import Trace
from kelpie_sim.watch import Violation, Watch

SETUP_S_MAX = 2_400.0
PROGRESS_S_MAX = 420.0  # after the heal: a model call under way may still take 120 s, a tool's deadline is 60 s
ERRORS_MAX = 5


class Stage:
    """What a workload has to work with."""

    def __init__(self, cluster: Cluster, ledger: Ledger, values: BlockValues, shape: "Shape") -> None:
        self.cluster = cluster
        self.values = values
        self.shape = shape
        self.sim = cluster.sim
        self.ledger = ledger
        self.clients = [SimClient(cluster, name) for name in cluster.clients]


class Workload(Protocol):
    """A kind of load. `load` goes on until its clients have what they asked for, faults or not."""

    virtual_ms_max: ClassVar[int]

    def __init__(self, stage: Stage) -> None: ...

    async def setup(self) -> None:
        """What must be there before the timed faults begin."""
        ...

    async def load(self) -> None:
        """The clients' work, from under the faults to its end after them."""
        ...

    async def check(self) -> None:
        """What this load promises beyond what holds for every load; after everything is idle."""
        ...


class Shape(Struct, frozen=True, kw_only=True):
    """The size of a run."""

    nodes: int
    clients: int
    storm_s: float
    rolls: int  # how often a node is stopped and started by its operator


class Played(Struct, frozen=True, kw_only=True):
    """What one run came to."""

    seed: int
    workload: str
    outcome: Outcome
    violations: tuple[Violation, ...]
    ledger: Ledger

    @property
    def passed(self) -> bool:
        """Nothing was broken, nothing stood still, nothing crashed."""
        return not self.violations and not self.outcome.errors

    def story(self) -> str:
        """Everything that is needed to see what happened, and to see it again."""
        lines = [f"seed {self.seed}, workload {self.workload}, digest {self.outcome.digest}"]
        lines.append(show_plan(self.outcome.plan))
        lines += [f"{each.checker} at {each.at_ms} ms: {each.sentence}" for each in self.violations]
        return "\n".join([*lines, *self.outcome.errors])


def play(
    seed: int,
    workload: type[Workload],
    *,
    plan: FaultPlan | None = None,
    plants: Sequence[Callable[[], AbstractContextManager[object]]] = (),
    trace: Trace | None = None,
) -> Played:
    """Run the seed; `plants` are the planted bugs of a canary."""
    watch, ledger = Watch(), Ledger()

    async def main(sim: Simulation) -> None:
        bugs.loop = sim.loop
        try:
            await _act(sim, watch, ledger, workload)
        finally:
            bugs.loop = None

    with ExitStack() as stack:
        bugs = stack.enter_context(BugLog(watch))
        for plant in plants:
            stack.enter_context(plant())
        mix = draw_plan(seed) if plan is None else plan
        bound_ms = workload.virtual_ms_max
        outcome = run_simulation(main, seed, plan=mix, errors_max=ERRORS_MAX, virtual_ms_max=bound_ms, trace=trace)
    found = tuple(watch.violations)
    return Played(seed=seed, workload=workload.__name__, outcome=outcome, violations=found, ledger=ledger)


def draw_shape(seed: int) -> Shape:
    """How large the run of a seed is."""
    rng = stream(seed, "workload", "shape")
    nodes, clients = rng.choice((2, 2, 3)), rng.choice((1, 2, 3))
    storm_s, rolls = rng.choice((15.0, 30.0, 60.0)), rng.choice((0, 0, 1, 3))
    return Shape(nodes=nodes, clients=clients, storm_s=storm_s, rolls=rolls)


async def _act(sim: Simulation, watch: Watch, ledger: Ledger, workload: type[Workload]) -> None:
    shape = draw_shape(sim.seed)
    clients = [f"client-{number + 1}" for number in range(shape.clients)]
    cluster = Cluster(sim, watch, count=shape.nodes, clients=clients)
    SingleOwner(sim.server, watch, sim.marks)
    LimitsHold(sim.server, watch)
    values = BlockValues(sim.server, ledger, watch)
    cluster.overhearers.append(Spoken(sim.server, watch).hear)
    for host in cluster.hosts:
        cluster.boot(host)
    stage = Stage(cluster, ledger, values, shape)
    work = workload(stage)
    async with asyncio.timeout(SETUP_S_MAX):
        await work.setup()
    storm = sim.storm(cluster.boot, clients=cluster.clients)
    async with asyncio.TaskGroup() as group:
        group.create_task(storm.rage(), name="storm")
        load = group.create_task(work.load(), name="load")
        rolls = group.create_task(_roll(cluster, shape), name="rolls")
        await asyncio.sleep(shape.storm_s)
        sim.heal()
        await rolls
        idle = await _progresses(sim, watch, load)
    if idle:
        await work.check()
    _judge(sim, cluster, ledger, watch, values, idle=idle)


async def _roll(cluster: Cluster, shape: Shape) -> None:
    """Now and then a node is stopped and started by its operator, whatever else happens to it."""
    rng = cluster.sim.stream("rolls")
    for _ in range(shape.rolls):
        await asyncio.sleep(shape.storm_s * rng.random() / shape.rolls)
        await cluster.roll(rng.choice(cluster.hosts), rng.choice((200, 2_000, 20_000)))


async def _progresses(sim: Simulation, watch: Watch, load: "asyncio.Task[None]") -> bool:
    """Whether the load comes to its end and everything to rest in time; cancels what does not."""
    healed_s = sim.loop.time()
    _, late = await asyncio.wait([load], timeout=PROGRESS_S_MAX)
    if late:
        waiting = "; ".join(describe(task) for task in sim.loop.pending()[:12])
        watch.blame("liveness", f"{PROGRESS_S_MAX:.0f} s after the heal the load still waits: {waiting}")
        load.cancel()
        return False
    while not is_idle(sim):
        if sim.loop.time() > healed_s + PROGRESS_S_MAX:
            left = Rows.take(sim.server, "unfinished").rows
            watch.blame("liveness", f"{PROGRESS_S_MAX:.0f} s after the heal agents are still at work: {sorted(left)}")
            return False
        await asyncio.sleep(1)
    return True


def is_idle(sim: Simulation) -> bool:
    """Whether no agent has anything left to do."""
    return not Rows.take(sim.server, "unfinished").rows


def _judge(sim: Simulation, cluster: Cluster, ledger: Ledger, watch: Watch, values: BlockValues, *, idle: bool) -> None:
    """What can be said of the end; of a run that stands still only what does not need it to be over."""
    rows = Rows.take(sim.server)
    check_events(rows, watch)
    check_readings(ledger, watch)
    values.check()
    _mark_ends(sim, rows)
    if idle:
        check_turns(rows, ledger, cluster.tools, watch)
        check_derived(rows, watch)
        check_steps(rows, watch)


def _mark_ends(sim: Simulation, rows: Rows) -> None:
    """Which rare ends this run came to."""
    for run in rows.space(RUNS).values():
        if run.stop_reason is not None and run.stop_reason != "end_turn":
            waiting = run.stop_reason == "cancelled" and run.steps == 0
            sim.marks.reached(f"sim: a run ended with {'cancelled while it waited' if waiting else run.stop_reason}")
    for message in rows.space(MESSAGES).values():
        if any(isinstance(part, ToolReturnPart) and part.text == INTERRUPTED for part in message.parts):
            sim.marks.reached("sim: a model was told that its tool was interrupted")
