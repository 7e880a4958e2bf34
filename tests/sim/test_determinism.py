"""One seed is one run: in another process, with another hash seed; and other seeds are other runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kelpie_sim.faults import full_plan
from kelpie_sim.loop import SimFuture, SimTask
from kelpie_sim.simulation import run_simulation
from tests.sim.counter import counting
from tests.sim.mingling import mingle

ROOT = Path(__file__).parents[2]
SEEDS = ("1", "2", "3")


def digests_elsewhere(**settings: str) -> str:
    """What print_digests says in a fresh process, with these settings of Python's."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", **settings}
    command = [sys.executable, "-m", "tests.sim.print_digests", *SEEDS]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=True, text=True).stdout


def test_digests_agree_across_processes_and_hash_seeds() -> None:
    one = digests_elsewhere(PYTHONHASHSEED="1")
    other = digests_elsewhere(PYTHONHASHSEED="2", PYTHONMALLOC="debug", PYTHONASYNCIODEBUG="1")
    assert one == other
    assert one.splitlines()[0].startswith("1 ") and len(one.splitlines()) == len(SEEDS)


def test_digests_agree_within_one_process_whatever_ran_before() -> None:
    first = [run_simulation(mingle, 5).digest, run_simulation(counting(), 5, plan=full_plan(5)).digest]
    run_simulation(counting(), 6, plan=full_plan(6))
    ballast = [object() for _ in range(10_000)]
    second = [run_simulation(mingle, 5).digest, run_simulation(counting(), 5, plan=full_plan(5)).digest]
    assert (first, len(ballast)) == (second, 10_000)


@pytest.mark.parametrize("numbered", [SimTask, SimFuture])
def test_the_digest_would_show_another_order_of_sets(
    monkeypatch: pytest.MonkeyPatch, numbered: type[SimTask] | type[SimFuture]
) -> None:
    """The canary of the two tests above: hash by anything but the number, and the run is another."""
    expected = run_simulation(mingle, 5).digest
    monkeypatch.setattr(numbered, "__hash__", lambda self: self.number * 7_919 % 104_729)
    assert run_simulation(mingle, 5).digest != expected


def test_seeds_give_different_runs() -> None:
    outcomes = [run_simulation(mingle, seed) for seed in range(20)]
    assert [outcome.errors for outcome in outcomes] == [()] * 20
    bodies = [b"".join(b"%d;" % number for number in range(count)) for count in range(5)]
    assert [outcome.result for outcome in outcomes] == [bodies] * 20
    assert len({outcome.digest for outcome in outcomes}) > 15, "only the seeds whose order is FIFO may agree"
