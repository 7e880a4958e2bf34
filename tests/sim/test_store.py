"""The simulated store: the contract under faults, crash and give-up, and a workload that loses nothing."""

import asyncio

import pytest

from kelpie.errors import CommitUnknown, Conflict, StoreDown
from kelpie.storage.store import ABSENT, Check, Put, Row
from kelpie_sim.faults import Fault, FaultKind, FaultPlan, draw_plan, full_plan
from kelpie_sim.network import STORE_HOST
from kelpie_sim.simulation import Simulation, run_simulation
from kelpie_sim.store import Applied, SimStore
from tests.sim.counter import Increment, blind, careless, counting, doubling
from tests.sim.test_loop import Main, outcome_of

A, B = b"a", b"b"


def plan_of(kind: FaultKind, percent: float = 100.0, ms_max: int = 0) -> FaultPlan:
    """Only that fault, for every operation."""
    return FaultPlan(faults=(Fault(kind=kind, percent=percent, ms_max=ms_max),))


def open_store(sim: Simulation, name: str = "node-1") -> SimStore:
    """The store as a newly started host holds it; used by the world itself here."""
    host = sim.host(name)
    host.start()
    return sim.server.open(host)


def test_verbs_take_time_and_applied_commits_are_in_the_history() -> None:
    async def main(sim: Simulation) -> None:
        store = open_store(sim)
        seen: list[int] = []
        sim.server.observers.append(lambda applied: seen.append(applied.version))
        assert await store.get([A]) == [None]
        version = await store.commit([Check(A, ABSENT)], [Put(A, b"1")])
        assert await store.get([B, A]) == [None, Row(A, b"1", version)]
        assert await store.scan(A, B, limit=9) == [Row(A, b"1", version)]
        with pytest.raises(Conflict):
            await store.commit([Check(A, ABSENT)], [Put(B, b"2")])
        assert sim.loop.virtual_ms >= 1
        assert seen == [version]
        applied = Applied(host="node-1", life=1, version=version, checks=(Check(A, ABSENT),), writes=(Put(A, b"1"),), at_ms=sim.server.history[0].at_ms)  # fmt: skip  # noqa: E501
        assert sim.server.history == [applied]
        assert sim.server.peek(A, B) == [Row(A, b"1", version)]
        assert await store.now_ms() <= await store.now_ms()
        await store.close()

    outcome_of(main)


def test_unknown_commits_are_applied_in_some_cases_and_not_in_others() -> None:
    async def main(sim: Simulation) -> bool:
        store = open_store(sim)
        with pytest.raises(CommitUnknown):
            await store.commit([], [Put(A, b"1")])
        applied = len(sim.server.history)
        await asyncio.sleep(60)
        assert len(sim.server.history) == applied, "after CommitUnknown the commit is no longer under way"
        return bool(sim.server.peek(A, B))

    plan = plan_of(FaultKind.STORE_UNKNOWN)
    assert {outcome_of(main, seed, plan=plan).result for seed in range(12)} == {False, True}


def test_spurious_conflict_only_for_commits_with_checks() -> None:
    async def main(sim: Simulation) -> None:
        store = open_store(sim)
        await store.commit([], [Put(A, b"1")])
        with pytest.raises(Conflict):
            await store.commit([Check(B, ABSENT)], [Put(B, b"1")])
        assert len(sim.server.history) == 1

    outcome_of(main, plan=plan_of(FaultKind.STORE_CONFLICT))


def test_cut_store_is_down_for_reads_and_unknown_or_down_for_commits_with_nothing_left_under_way() -> None:
    async def main(sim: Simulation) -> set[str]:
        store = open_store(sim)
        sim.network.cut(STORE_HOST, "node-1")
        with pytest.raises(StoreDown):
            await store.get([A])
        ends: set[str] = set()
        for _ in range(10):
            applied = len(sim.server.history)
            with pytest.raises((StoreDown, CommitUnknown)) as ended:
                await store.commit([], [Put(A, b"1")])
            if isinstance(ended.value, StoreDown):
                assert len(sim.server.history) == applied, "StoreDown: not applied"
            ends.add(type(ended.value).__name__)
        assert len(sim.server.history) == 10, "the way there was whole: each was applied, and the answer was lost"
        sim.network.mend(STORE_HOST, "node-1")
        assert await store.get([B]) == [None]
        return ends

    assert outcome_of(main).result == {"CommitUnknown"}


def test_crash_of_the_store_loses_what_is_not_durable_and_keeps_what_was_acknowledged() -> None:
    async def main(sim: Simulation) -> tuple[bool, bool]:
        store = open_store(sim)
        await store.commit([], [Put(A, b"kept")])

        async def commit() -> bool:
            try:
                await store.commit([], [Put(B, b"under way")])
            except (CommitUnknown, StoreDown) as error:
                return isinstance(error, StoreDown)
            raise AssertionError("the answer cannot have come")

        committing = asyncio.ensure_future(commit())
        await asyncio.sleep(sim.stream("when").uniform(0.0004, 0.003))
        sim.server.crash()
        not_applied = await committing
        sim.server.restart()
        assert (await store.get([A]))[0] is not None
        applied = bool(sim.server.peek(B, b"c"))
        assert not (applied and not_applied)
        return applied, not_applied

    ends = set()
    for seed in range(40):
        outcome = run_simulation(main, seed)
        if not outcome.errors:
            ends.add(outcome.result)
        else:
            assert "the answer cannot have come" in outcome.errors[0], outcome.errors
    assert ends == {(True, False), (False, False), (False, True)}


def test_a_commit_sent_before_a_crash_of_its_host_may_land_after_it_but_none_is_sent_later() -> None:
    async def main(sim: Simulation) -> bool:
        host = sim.host("node-1")
        host.start()
        store = sim.server.open(host)

        async def work() -> None:
            try:
                await store.commit([], [Put(A, b"1")])
            finally:
                await store.commit([], [Put(B, b"dying words")])

        host.spawn(work(), name="work")
        await asyncio.sleep(0.00005)
        host.crash()
        landed_before = len(sim.server.history)
        await asyncio.sleep(20)
        assert sim.server.peek(B, b"c") == []
        return len(sim.server.history) > landed_before

    assert any(outcome_of(main, seed).result for seed in range(5))


def test_a_handle_of_a_dead_life_never_answers() -> None:
    async def main(sim: Simulation) -> None:
        host = sim.host("node-1")
        host.start()
        store = sim.server.open(host)
        host.crash()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await store.commit([], [Put(A, b"1")])
        assert sim.server.history == []

    outcome_of(main)


def run_counting(main: Main, seed: int) -> tuple[str, ...]:
    """The errors of the workload under the seed's faults."""
    return run_simulation(main, seed, plan=draw_plan(seed) if seed % 2 else full_plan(seed)).errors


def test_no_increment_is_lost_or_doubled_under_faults() -> None:
    assert [run_counting(counting(), seed) for seed in range(30)] == [()] * 30


@pytest.mark.parametrize(
    ("planted", "caught_as"),
    [
        (careless, "acknowledged and lost"),
        (doubling, "each id is counted once"),
        (blind, "each commit counts one more"),
    ],
)
def test_each_planted_bug_is_caught_within_ten_seeds(planted: Increment, caught_as: str) -> None:
    assert any(caught_as in "".join(run_counting(counting(planted), seed)) for seed in range(10))
