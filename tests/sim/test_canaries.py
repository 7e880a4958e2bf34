"""Every planted bug is caught by a checker that is there for it, within SEEDS_MAX seeds; without it the seed passes.

canaries.toml says at which seed each was caught last, so that usually one seed is enough; when the house changes, the
search goes on from there. A canary that survives means that a checker or a load has become too weak.
"""

import tomllib
from pathlib import Path

import pytest

from kelpie_sim.canaries.plant import Canary
from kelpie_sim.canaries.table import CANARIES
from kelpie_sim.play import play
from kelpie_sim.workloads.table import WORKLOADS

SEEDS_MAX = 40
CAUGHT = tomllib.loads((Path(__file__).parent / "canaries.toml").read_text())


@pytest.mark.parametrize("canary", CANARIES, ids=[canary.name for canary in CANARIES])
def test_canary_is_caught(canary: Canary) -> None:
    first = int(CAUGHT[canary.name]["seed"])
    order = [first, *[seed for seed in range(SEEDS_MAX) if seed != first]]
    seed, checkers = next((seed, seen) for seed in order if (seen := catch(canary, seed)) & set(canary.checkers))
    sound = play(seed, WORKLOADS[canary.workload], plan=canary.plan)
    assert sound.passed, f"the bug was not needed: {sound.story()}"
    assert checkers & set(canary.checkers)


def test_the_table_of_catches_is_complete() -> None:
    """One entry for each canary, naming the promise it breaks and a checker that is there for it."""
    told = {name: (entry["breaks"], entry["caught_by"]) for name, entry in CAUGHT.items()}
    assert set(told) == {canary.name for canary in CANARIES}
    for canary in CANARIES:
        breaks, caught_by = told[canary.name]
        assert breaks == canary.breaks and caught_by in canary.checkers


def catch(canary: Canary, seed: int) -> set[str]:
    """The checkers that blame the run of this seed with the bug in it."""
    played = play(seed, WORKLOADS[canary.workload], plan=canary.plan, plants=canary.plants)
    return {violation.checker for violation in played.violations}
