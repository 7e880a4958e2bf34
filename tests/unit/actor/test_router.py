"""Goal: one call is answered once, by its deadline, whatever happens to the activations under it."""

import asyncio

import pytest

from kelpie.actor.call import ActorAddress, Call
from kelpie.errors import (
    ActivationLost,
    Busy,
    CallCycle,
    CallTimedOut,
    CommitUnknown,
    KelpieError,
    NotFound,
    StorageFull,
    StoreDown,
)
from kelpie.limits import CALL_ATTEMPTS_MAX
from kelpie.world import World
from tests.unit.actor.build import (
    ANN,
    Add,
    Burst,
    Fail,
    Fault,
    Peek,
    Place,
    Value,
    a_store,
    count_of,
    now_ms,
    running,
    virtual,
)


@pytest.mark.parametrize("fault", [Fault.CONFLICT, Fault.DOWN, Fault.APPLIED, Fault.LOST])
def test_a_call_whose_commit_fails_in_any_way_is_applied_exactly_once(fault: Fault) -> None:
    """The claim is commit 2 of the node, behind its lease; the change is commit 3. Each fails, alone and together."""

    async def main(world: World) -> None:
        for failing in ((2,), (3,), (2, 3), (2, 3, 4), (3, 5)):
            faulty, records = a_store(world)
            faulty.faults = {number: fault for number in failing}
            place = Place(world, records)
            async with running(place.host):
                assert await place.ask(Add(id="1")) == Value(value=1)
                assert await place.ask(Add(id="2")) == Value(value=2)
            assert (await count_of(records), faulty.faults) == (2, {})

    virtual(main)


def test_attempts_have_an_end() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        place = Place(world, records)
        place.kind.load_errors = [StoreDown(str(at)) for at in range(CALL_ATTEMPTS_MAX + 2)]
        async with running(place.host):
            with pytest.raises(StoreDown, match=str(CALL_ATTEMPTS_MAX - 1)):
                await place.ask(Peek())
            assert len(place.kind.load_errors) == 2

    virtual(main)


@pytest.mark.parametrize("error", [NotFound("no"), Busy("full"), StorageFull("full")])
def test_what_is_not_worth_another_attempt_is_told_at_once(error: KelpieError) -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        place.kind.load_errors = [error]
        async with running(place.host):
            with pytest.raises(type(error)):
                await place.ask(Peek())
        assert len(place.kind.loads) == 1

    virtual(main)


def test_a_call_that_is_late_is_told_so_and_its_actor_goes_on() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        place = Place(world, records)
        async with running(place.host):
            begun = now_ms()
            with pytest.raises(CallTimedOut):
                await place.ask(Add(id="1", hold_ms=500), wait_ms=100)
            assert now_ms() - begun == 100
            await asyncio.sleep(1)
            assert await place.ask(Add(id="1")) == Value(value=1), "the work went on, and the repeat is recognised"

    virtual(main)


def test_a_deadline_bounds_all_attempts_together() -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        place.kind.load_errors = [StoreDown("away")] * 20
        async with running(place.host):
            begun = now_ms()
            with pytest.raises(CallTimedOut):
                await place.ask(Peek(), wait_ms=120)
            assert now_ms() - begun == 120

    virtual(main)


def test_calls_that_can_never_be_answered_do_not_reach_the_host() -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        async with running(place.host):
            with pytest.raises(CallTimedOut):
                await place.ask(Peek(), wait_ms=0)
            chained = Call(
                target=ANN, lane="turns", body=Peek(), deadline_ms=now_ms() + 9, chain=(ActorAddress("ann"),)
            )
            with pytest.raises(CallCycle):
                await place.router.call(chained)
            assert place.host.active == 0

    virtual(main)


def test_a_bug_is_told_as_a_lost_activation_and_the_next_call_starts_clean(caplog: pytest.LogCaptureFixture) -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        async with running(place.host):
            with pytest.raises(ActivationLost):
                await place.ask(Burst())
            assert await place.ask(Add(id="1")) == Value(value=1)
        assert place.kind.blamed == [False] + [True] * CALL_ATTEMPTS_MAX

    virtual(main)
    assert caplog.records


def test_a_call_behind_one_that_loses_the_activation_is_made_again_and_answered() -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        async with running(place.host), asyncio.TaskGroup() as group:
            others = [group.create_task(place.ask(Add(id="before", hold_ms=50)))]
            group.create_task(lose(place))
            others += [group.create_task(place.ask(Add(id=f"behind {at}"))) for at in range(3)]
        assert sorted(task.result().value for task in others) == [1, 2, 3, 4]

    async def lose(place: Place) -> None:
        once = Fail(error=CommitUnknown("injected"))
        with pytest.raises(ActivationLost):
            await place.host.deliver(Call(target=ANN, lane="turns", body=once, deadline_ms=now_ms() + 1_000))

    for seed in range(5):
        virtual(main, seed=seed, order=None)

    virtual(main)


def test_after_an_attempt_whose_outcome_is_unknown_no_later_attempt_says_that_nothing_happened() -> None:
    """The change was applied and its answer lost; then the store is away for all further attempts."""

    async def main(world: World) -> None:
        faulty, records = a_store(world)
        place = Place(world, records)
        async with running(place.host):
            await place.ask(Add(id="1"))
            faulty.faults = {faulty.commits + 1: Fault.APPLIED}
            asked = asyncio.create_task(place.ask(Add(id="2")))
            while faulty.faults:
                await asyncio.sleep(0.001)
            faulty.down = True
            with pytest.raises(ActivationLost):
                await asked
            faulty.down = False
            assert await place.ask(Add(id="2")) == Value(value=2), "the same call again is recognised"

    virtual(main)
