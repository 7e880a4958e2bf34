"""Prints the digest of the counting workload for each seed given: run in processes of its own by a test."""

import sys

from kelpie_sim.faults import full_plan
from kelpie_sim.simulation import run_simulation
from tests.sim.counter import counting
from tests.sim.mingling import mingle


def main() -> None:
    """One line per seed: both digests."""
    for text in sys.argv[1:]:
        seed = int(text)
        counted = run_simulation(counting(), seed, plan=full_plan(seed))
        mingled = run_simulation(mingle, seed)
        print(seed, counted.digest, counted.errors, mingled.digest, mingled.errors)


if __name__ == "__main__":
    main()
