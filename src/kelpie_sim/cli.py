"""`kelpie sim`: run seeds, say what came of them and how fast, and replay one of them.

Exit statuses: 0 all passed; 1 a promise was broken; 3 something stood still; 4 a node or the simulation crashed;
2 a wrong argument.
"""

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from msgspec import Struct

from kelpie_sim.faults import draw_plan, show_plan
from kelpie_sim.play import Played, draw_shape, play
from kelpie_sim.trace import Trace
from kelpie_sim.workloads.table import WORKLOADS, workload_of

PASSED, VIOLATED, STUCK, CRASHED = 0, 1, 3, 4
SEEDS_DEFAULT = 100
LINES_KEPT = 400  # of the trace that --trace shows
PROGRESS_EVERY = 100


class Verdict(Struct, frozen=True, kw_only=True):
    """What is told of one seed."""

    seed: int
    workload: str
    status: int
    digest: str
    steps: int
    virtual_ms: int
    cpu_s: float
    marks: dict[str, int]
    story: str


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for; the exit status is the worst of all seeds."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        return _replay(asked.seed, asked.workload, lines=LINES_KEPT if asked.trace else 0)
    seeds = range(asked.first, asked.first + asked.seeds)
    begun_s = time.perf_counter()
    verdicts: list[Verdict] = []
    for verdict in _run_all(seeds, asked.workload, asked.jobs):
        verdicts.append(verdict)
        if verdict.status:
            again = f"kelpie sim --seed {verdict.seed} --workload {verdict.workload}"
            print(f"\n{verdict.story}\nreplay: {again}", flush=True)
        elif asked.verbose:
            print(_line(verdict), flush=True)
        if len(verdicts) % PROGRESS_EVERY == 0:
            print(f"{len(verdicts)} of {len(seeds)} seeds", file=sys.stderr, flush=True)
    print(_summary(verdicts, time.perf_counter() - begun_s, asked.jobs))
    return max((verdict.status for verdict in verdicts), default=PASSED)


def run_seed(seed: int, workload: str | None = None, *, trace: Trace | None = None) -> Verdict:
    """Play one seed."""
    name = workload or workload_of(seed)
    begun_s = time.process_time()
    played = play(seed, WORKLOADS[name], trace=trace)
    return Verdict(
        seed=seed,
        workload=name,
        status=status_of(played),
        digest=played.outcome.digest,
        steps=played.outcome.steps,
        virtual_ms=played.outcome.virtual_ms,
        cpu_s=time.process_time() - begun_s,
        marks=played.outcome.marks,
        story="" if played.passed else played.story(),
    )


def status_of(played: Played) -> int:
    """Crashes first, since what else is seen may only follow from them; then broken promises, then standing still."""
    checkers = {violation.checker for violation in played.violations}
    if played.outcome.errors or "assertions" in checkers:
        return CRASHED
    if checkers - {"liveness"}:
        return VIOLATED
    return STUCK if checkers else PASSED


def _run_all(seeds: Iterable[int], workload: str | None, jobs: int) -> Iterator[Verdict]:
    if jobs == 1:
        yield from (_run_and_collect(seed, workload) for seed in seeds)
        return
    seeds = list(seeds)
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_run_and_collect, seeds, [workload] * len(seeds), chunksize=4)


def _run_and_collect(seed: int, workload: str | None) -> Verdict:
    """What a run leaves behind counts as old for the collector, which hardly ever looks at it: 3 GB in 500 runs."""
    verdict = run_seed(seed, workload)
    gc.collect()
    return verdict


def _replay(seed: int, workload: str | None, *, lines: int) -> int:
    trace = Trace(lines_kept=lines)
    shape = draw_shape(seed)
    print(f"seed {seed}: {shape.nodes} nodes, {shape.clients} clients, a storm of {shape.storm_s:.0f} s, with")
    print(show_plan(draw_plan(seed)))
    verdict = run_seed(seed, workload, trace=trace)
    print(*trace.lines(), sep="\n", end="\n" if lines else "")
    print(_line(verdict))
    for mark, count in verdict.marks.items():
        print(f"  {count} x {mark}")
    if verdict.status:
        print(f"\n{verdict.story}")
    return verdict.status


def _line(verdict: Verdict) -> str:
    word = {PASSED: "passed", VIOLATED: "VIOLATED", STUCK: "STUCK", CRASHED: "CRASHED"}[verdict.status]
    spent = f"{verdict.virtual_ms / 1_000:.0f} virtual s in {verdict.cpu_s:.2f} s, {verdict.steps} steps"
    return f"seed {verdict.seed} {verdict.workload}: {word}, {spent}, digest {verdict.digest}"


def _summary(verdicts: Sequence[Verdict], wall_s: float, jobs: int) -> str:
    hours = sum(verdict.virtual_ms for verdict in verdicts) / 3_600_000
    awake = [verdict for verdict in verdicts if verdict.workload != "reminders"]  # whose nodes sleep for two days
    awake_hours = sum(verdict.virtual_ms for verdict in awake) / 3_600_000
    awake_cpu_s = sum(verdict.cpu_s for verdict in awake) or 1e-9
    failed = Counter(verdict.workload for verdict in verdicts if verdict.status)
    marks: Counter[str] = Counter()
    for verdict in verdicts:
        marks.update(verdict.marks)
    told = [f"{len(verdicts)} seeds in {wall_s:.1f} s, {jobs} at a time: {sum(failed.values())} failed {dict(failed)}"]
    told += [f"  {count} x {mark}" for mark, count in sorted(marks.items())]
    told.append(
        f"{hours:.1f} simulated hours, {hours / wall_s:.2f} a second;"
        f" of those with all nodes at work {awake_hours / awake_cpu_s:.3f} for each second of one processor"
    )
    return "\n".join(told)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kelpie sim", description="Run whole simulated clusters through faults.")
    parser.add_argument("--seed", type=int, help="replay this seed and tell everything")
    parser.add_argument("--seeds", type=_count, default=SEEDS_DEFAULT, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--workload", choices=sorted(WORKLOADS), help="play this one, whatever the seed says")
    parser.add_argument("--jobs", type=_count, default=min(2, os.cpu_count() or 1), help="how many processes")
    parser.add_argument("--trace", action="store_true", help=f"with --seed: the last {LINES_KEPT} lines of the trace")
    parser.add_argument("--verbose", action="store_true", help="a line for each seed that passed")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value
