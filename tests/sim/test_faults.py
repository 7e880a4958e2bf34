"""Each seed draws another mix of faults; they strike while on, and not after healing."""

import asyncio

from kelpie_sim.faults import NO_FAULTS, Fault, FaultKind, FaultPlan, Faults, draw_plan, full_plan, show_plan
from kelpie_sim.host import SimHost
from kelpie_sim.network import STORE_HOST
from kelpie_sim.simulation import Simulation
from tests.sim.test_loop import outcome_of

TIMED = {
    FaultKind.STORE_CRASH,
    FaultKind.STORE_CUT,
    FaultKind.NODE_CRASH,
    FaultKind.NODE_PAUSE,
    FaultKind.NODE_CUT,
    FaultKind.CLIENT_CUT,
    FaultKind.CLOCK_JUMP,
}


def test_plans_differ_and_every_kind_is_on_in_some_runs_and_off_in_others() -> None:
    plans = [draw_plan(seed) for seed in range(200)]
    assert [draw_plan(seed) for seed in range(200)] == plans
    assert len(set(map(show_plan, plans))) > 140
    for kind in FaultKind:
        runs = sum(plan.find(kind) is not None for plan in plans)
        assert 30 < runs < 130, f"{kind} is on in {runs} of 200 runs"
    assert 10 < plans.count(NO_FAULTS) < 90


def test_a_plan_can_be_read() -> None:
    plan = FaultPlan(
        faults=(
            Fault(kind=FaultKind.STORE_SLOW, percent=2.5, ms_max=40),
            Fault(kind=FaultKind.NODE_CRASH, every_ms=9_000, ms_max=100),
            Fault(kind=FaultKind.CLOCK_DRIFT, ppm_max=300),
        )
    )
    assert show_plan(plan) == (
        "store slow: 2.5 % of operations, up to 40 ms\n"
        "node crash: about every 9000 ms, up to 100 ms\n"
        "clock drift: up to 300 ppm"
    )
    assert show_plan(NO_FAULTS) == "no faults"


def test_strikes_come_at_their_rate_and_stop_when_healed() -> None:
    faults = Faults(3, FaultPlan(faults=(Fault(kind=FaultKind.TOOL_FAILS, percent=25.0),)))
    struck = sum(faults.strike(FaultKind.TOOL_FAILS) for _ in range(2_000))
    assert 400 < struck == faults.strikes[FaultKind.TOOL_FAILS] < 600
    assert not faults.strike(FaultKind.MODEL_FAILS), "a kind that is off"
    faults.heal()
    assert not any(faults.strike(FaultKind.TOOL_FAILS) for _ in range(100))


def test_a_kind_that_is_added_does_not_shift_the_draws_of_another() -> None:
    slow, lost = Fault(kind=FaultKind.STORE_SLOW, percent=50.0), Fault(kind=FaultKind.MESSAGE_LOST, percent=50.0)
    alone, both = Faults(1, FaultPlan(faults=(slow,))), Faults(1, FaultPlan(faults=(slow, lost)))
    drawn = []
    for _ in range(50):
        both.strike(FaultKind.MESSAGE_LOST)
        drawn.append(both.strike(FaultKind.STORE_SLOW))
    assert drawn == [alone.strike(FaultKind.STORE_SLOW) for _ in range(50)]


def test_a_storm_strikes_by_every_timed_kind_and_healing_undoes_all_of_it() -> None:
    async def main(sim: Simulation) -> object:
        def boot(host: SimHost) -> None:
            host.start()

        hosts = [sim.host(f"node-{number}") for number in range(3)]
        for host in hosts:
            boot(host)
        storm = sim.storm(boot, clients=("client",))
        async with asyncio.TaskGroup() as group:
            group.create_task(storm.rage())
            await asyncio.sleep(1_200)
            sim.heal()
        assert all(host.is_up and not host.is_paused for host in hosts) and sim.server.is_up
        ends = [*sim.hosts, "client", STORE_HOST]
        assert not any(sim.network.is_cut(one, other) for one in ends for other in ends)
        lives = [host.lives for host in hosts]
        await asyncio.sleep(600)
        assert [host.lives for host in hosts] == lives, "after healing nothing is struck"
        return {kind for kind, count in sim.faults.strikes.items() if count}

    for seed in range(4):
        outcome = outcome_of(main, seed, plan=full_plan(seed))
        assert outcome.result == TIMED
        assert (outcome.virtual_ms, outcome.left) == (1_800_000, ())
