"""Whole clusters through the faults of many seeds: nothing is broken, nothing stands still, nothing crashes.

Method: 240 seeds in chunks (so that several processes can share them), each with the workload that the seed draws;
every seed that ever failed again; and the rare branches that a fixed set of seeds must reach.
"""

import os
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from kelpie_sim.canaries.table import CANARIES
from kelpie_sim.cli import VIOLATED, main, run_seed
from kelpie_sim.faults import Fault, FaultKind, FaultPlan, full_plan
from kelpie_sim.play import play
from kelpie_sim.workloads.table import WORKLOADS, workload_of

ROOT = Path(__file__).parents[2]
SEEDS = 240
CHUNK = 12
REGRESSIONS = tomllib.loads((Path(__file__).parent / "regressions.toml").read_text())["seed"]
MARK_SEEDS = range(10_000, 10_060)
MARKS = (
    "a client's repeat got the first answer",
    "a memory tool lost against another writer and ran again",
    "a node's lease lapsed and was issued anew",
    "an answer to waiting calls was repeated",
    "an errand was let go, for its agent is held elsewhere",
    "an interrupted turn was resumed",
    "calls that waited for an answer were cancelled",
    "sim: a model was told that its tool was interrupted",
    "sim: a group talked by the rule dynamic",
    "sim: a group talked by the rule round_robin",
    "sim: a group talked by the rule sleeptime",
    "sim: a group talked by the rule supervisor",
    "sim: a node drained",
    "sim: a node ended with turns under way",
    "sim: a node took an agent over from another one",
    "sim: a run ended with cancelled",
    "sim: a run ended with llm_api_error",
    "sim: a schedule was cancelled",
    "sim: a window was summarised",
    "sim: an agent kept something in its archive",
    "sim: inboxes were swept",
    "sim: model said nothing",
    "sim: model unavailable",
    "sim: model used a call id twice",
)


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds_pass(first: int) -> None:
    verdicts = [run_seed(seed) for seed in range(first, first + CHUNK)]
    failed = [verdict.story for verdict in verdicts if verdict.status]
    assert not failed, "\n\n".join(failed)


@pytest.mark.parametrize("entry", REGRESSIONS, ids=[f"{each['workload']}-{each['seed']}" for each in REGRESSIONS])
def test_seeds_that_once_failed_pass(entry: dict[str, object]) -> None:
    played = play(int(str(entry["seed"])), WORKLOADS[str(entry["workload"])], plan=read_plan(entry))
    assert played.passed, played.story()
    assert entry["story"], "a regression tells what went wrong"


@pytest.mark.parametrize("entry", [each for each in REGRESSIONS if "canary" in each])
def test_seeds_that_once_failed_still_tell_their_story(entry: dict[str, object]) -> None:
    """With the old mistake planted again the seed fails as it did."""
    (canary,) = [each for each in CANARIES if each.name == entry["canary"]]
    workload = WORKLOADS[str(entry["workload"])]
    played = play(int(str(entry["seed"])), workload, plan=read_plan(entry), plants=canary.plants)
    assert {violation.checker for violation in played.violations} & set(canary.checkers)


def test_every_workload_is_drawn_and_rare_branches_are_reached() -> None:
    """A branch that no seed reaches is tested by none. The seeds are fixed, so this does not depend on who runs it."""
    marks: Counter[str] = Counter()
    for seed in MARK_SEEDS:
        verdict = run_seed(seed)
        assert not verdict.status, verdict.story
        marks.update(verdict.marks)
    assert {workload_of(seed) for seed in MARK_SEEDS} == set(WORKLOADS)
    assert [mark for mark in MARKS if not marks[mark]] == []


def test_the_same_seed_is_the_same_run_in_another_process_with_another_hash_seed() -> None:
    """Whole nodes, HTTP, store, model and tools: same digest, whatever the memory addresses and the order of sets."""
    seeds = {seed: workload_of(seed) for seed in range(40)}
    chosen = list({workload: seed for seed, workload in seeds.items()}.values())
    one = digests_elsewhere(chosen, PYTHONHASHSEED="1")
    other = digests_elsewhere(chosen, PYTHONHASHSEED="2", PYTHONMALLOC="debug")
    assert one == other
    assert len(set(one)) == len(chosen) >= len(WORKLOADS) - 1


def test_the_command_tells_what_a_seed_came_to(capsys: pytest.CaptureFixture[str]) -> None:
    """A replay says plan, verdict and digest; many seeds end with their number and speed; a wrong word is refused."""
    assert main(["--seed", "3"]) == 0
    replayed = capsys.readouterr().out
    assert "seed 3" in replayed and "passed" in replayed and run_seed(3).digest in replayed
    assert main(["--seeds", "3", "--jobs", "1", "--verbose"]) == 0
    told = capsys.readouterr().out
    assert "3 seeds" in told and "0 failed" in told and "simulated hours" in told
    with pytest.raises(SystemExit) as refused:
        main(["--workload", "nonsense"])
    assert refused.value.code == 2
    assert VIOLATED == 1


def read_plan(entry: dict[str, object]) -> FaultPlan | None:
    """The plan that the entry names instead of the seed's own."""
    named = entry.get("faults")
    if named == "all":
        return full_plan(int(str(entry["seed"])))
    if not isinstance(named, dict):
        return None
    return FaultPlan(
        faults=tuple(
            Fault(kind=FaultKind(kind), percent=percent, every_ms=every_ms, ms_max=ms_max)
            for kind, (percent, every_ms, ms_max) in named.items()
        )
    )


def digests_elsewhere(seeds: list[int], **settings: str) -> list[str]:
    """The digests of these seeds in a fresh process."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **settings}
    program = "import sys; from kelpie_sim.cli import run_seed; [print(run_seed(int(s)).digest) for s in sys.argv[1:]]"
    command = [sys.executable, "-c", program, *map(str, seeds)]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split()
