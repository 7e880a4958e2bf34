"""The simulated store passes the suite that every store passes, inside the simulated loop, with faults off."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelpie.storage.checked import CheckedStore
from kelpie.storage.store import Store, Write
from kelpie_sim.simulation import Simulation, run_simulation
from tests.conformance.store import test_store
from tests.conformance.store.test_model import concurrently, follow, quick, some_history, some_write

globals().update({name: test for name, test in vars(test_store).items() if name.startswith("test_")})

Scenario = Callable[[Store], Coroutine[Any, Any, None]]


def play_simulated(scenario: Scenario, *, checked: bool, seed: int = 1) -> None:
    """Run the scenario on an empty store, as the world; every commit has to cross the simulated network."""

    async def main(sim: Simulation) -> None:
        host = sim.host("node-1")
        host.start()
        store = sim.server.open(host)
        wrapped = CheckedStore(store) if checked else store
        await scenario(wrapped)
        await wrapped.close()

    run_simulation(main, seed).demand()


@pytest.fixture(params=["simulated", "checked-simulated"])
def play(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    """As the suite's own fixture, for the simulated store."""
    return lambda scenario: play_simulated(scenario, checked=request.param == "checked-simulated")


def test_the_suite_is_really_there() -> None:
    assert sum(name.startswith("test_") for name in globals()) > 12


@quick(40)
@given(some_history, st.integers(0, 1_000))
def test_any_history_agrees_with_a_dict(history: list[tuple[Any, ...]], seed: int) -> None:
    play_simulated(lambda store: follow(store, history), checked=True, seed=seed)


@quick(15)
@given(st.lists(st.lists(some_write, min_size=1, max_size=4), min_size=2, max_size=8), st.integers(0, 1_000))
def test_concurrent_commits_are_as_if_one_after_the_other(batches: list[list[Write]], seed: int) -> None:
    play_simulated(lambda store: concurrently(store, batches), checked=True, seed=seed)
