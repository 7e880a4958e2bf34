"""Goal: one owner, no call lost, nothing left behind, whatever sleeps, lapses, crashes or drains meanwhile."""

import asyncio
import logging

import pytest

from kelpie.actor import host as host_room
from kelpie.actor.activation import Activation
from kelpie.actor.call import ActorAddress, Call
from kelpie.actor.directory import OWNERS
from kelpie.actor.recovery import arm, read_due, read_unfinished
from kelpie.cluster.lease import LEASES, NodeLease
from kelpie.errors import ActivationLost, Busy, CallTimedOut, DataCorrupt, Draining, NotOwner, StoreDown
from kelpie.limits import (
    ACTIVATION_IDLE_MS,
    ACTIVATIONS_SWEEP_MS,
    HEARTBEAT_MS,
    LEASE_GRACE_MS,
    LEASE_MARGIN_MS,
    LEASE_MS,
    RECOVERY_SWEEP_MS,
)
from kelpie.storage.records import Batch, Records
from kelpie.world import World
from tests.unit.actor.build import (
    ANN,
    BOB,
    COUNTERS,
    NODE,
    OTHER,
    Add,
    Burst,
    Counter,
    Fail,
    Fault,
    Peek,
    Place,
    Value,
    a_store,
    count_of,
    leave_unfinished,
    marks_of,
    now_ms,
    running,
    virtual,
)

ASLEEP_MS = ACTIVATION_IDLE_MS + 2 * ACTIVATIONS_SWEEP_MS


async def lease_of(records: Records) -> NodeLease:
    found = await records.get(LEASES.at(NODE))
    assert found is not None
    return found.value


def is_empty(place: Place) -> bool:
    """Nothing is kept of what has ended."""
    return (place.host._activations, place.host._tasks) == ({}, {})


def test_a_node_holds_a_lease_for_as_long_as_it_runs_and_a_new_epoch_when_it_starts_again() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        for epoch in (1, 2):
            place = Place(world, records)
            assert not place.host.believes
            async with running(place.host):
                for _ in range(20):
                    assert place.host.believes
                    assert (await lease_of(records)).epoch == epoch
                    await asyncio.sleep(HEARTBEAT_MS / 1000)
            assert is_empty(place)

    virtual(main)


@pytest.mark.parametrize("fault", list(Fault))
def test_the_first_lease_is_had_despite_any_failure_of_its_commit(fault: Fault) -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        faulty.faults = {1: fault, 2: fault}
        place = Place(world, records)
        async with running(place.host):
            assert place.host.believes
            assert await place.ask(Add(id="1")) == Value(value=1)

    virtual(main)


def test_a_node_that_cannot_have_a_lease_says_so() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        faulty.down = True
        with pytest.raises(StoreDown):
            await Place(world, records).host.run(asyncio.Event())

    virtual(main)


def test_an_idle_actor_sleeps_and_is_woken_by_the_next_call_under_the_claim_that_it_has() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        place = Place(world, records)
        async with running(place.host):
            assert await place.ask(Add(id="1")) == Value(value=1)
            assert place.host.active == 1
            await asyncio.sleep(ASLEEP_MS / 1000)
            assert is_empty(place)
            assert await place.ask(Add(id="2")) == Value(value=2)
            assert place.kind.epochs == [1, 1]

    virtual(main)


def test_after_an_end_that_was_no_sleep_the_next_activation_claims_a_new_epoch() -> None:
    """A commit of the old one may be on its way: an unknown commit, a crash, more of them than are remembered."""

    async def main(world: World) -> None:
        faulty, records = a_store(world)
        place = Place(world, records)
        async with running(place.host):
            await place.ask(Add(id="1"))
            faulty.faults = {faulty.commits + 1: Fault.APPLIED}
            assert await place.ask(Add(id="2")) == Value(value=2)
            assert place.kind.epochs == [1, 2]
            await asyncio.sleep(ASLEEP_MS / 1000)
            assert await place.ask(Add(id="3")) == Value(value=3)
            assert place.kind.epochs == [1, 2, 2]
            place.host._all_afresh = True
            await asyncio.sleep(ASLEEP_MS / 1000)
            assert await place.ask(Add(id="4")) == Value(value=4)
            assert place.kind.epochs == [1, 2, 2, 3]

    virtual(main)


def test_no_call_is_lost_however_it_meets_the_moment_of_falling_asleep() -> None:
    """Calls arrive around the sweep in steps of a fraction of what one commit takes, under many task orders."""

    async def main(world: World) -> None:
        _, records = a_store(world)
        place = Place(world, records)
        async with running(place.host):
            count = 0
            for offset_us in range(-1_500, 1_500, 250):
                await place.ask(Add(id=f"first {offset_us}"))
                await asyncio.sleep(0.1)
                async with asyncio.TaskGroup() as group:
                    group.create_task(nap(place.host._activations[ANN]))
                    await asyncio.sleep(0.005 + offset_us / 1_000_000)
                    for at in range(3):
                        group.create_task(place.ask(Add(id=f"{offset_us} {at}")))
                count += 4
                assert await place.ask(Peek()) == Value(value=count)
        napped.append(len(place.kind.epochs))

    async def nap(activation: Activation) -> None:
        """As the sweep does: look, and leap at once."""
        await asyncio.sleep(0.005)
        if activation.idle:
            activation.sleep()

    napped: list[int] = []
    for seed in range(6):
        virtual(main, seed=seed, order=None)
    assert all(1 < epochs <= 13 for epochs in napped), "some calls came before the nap, some behind it"


def test_a_new_activation_waits_for_the_end_of_the_one_that_is_falling_asleep() -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        async with running(place.host):
            place.kind.ending_ms = 50
            await place.ask(Add(id="1"))
            await asyncio.sleep(0.1)
            old = place.host._activations[ANN]
            old.sleep()
            assert await place.ask(Add(id="2")) == Value(value=2)
            assert place.host._activations[ANN] is not old
            assert place.host.active == 1

    virtual(main)


def test_memory_is_bounded_the_longest_unused_goes_first_and_busy_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_room, "ACTIVATIONS_MAX", 3)

    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        names = [ActorAddress(f"actor-{at}") for at in range(8)]
        async with running(place.host):
            for name in names:
                assert await place.ask(Add(id="1"), name) == Value(value=1)
                await asyncio.sleep(0.1)
                assert place.host.active <= 3
            assert list(place.host._activations) == names[-3:]
            async with asyncio.TaskGroup() as group:
                held = [group.create_task(place.ask(Add(id="2", hold_ms=500), name)) for name in names[-3:]]
                await asyncio.sleep(0.1)
                with pytest.raises(Busy) as refused:
                    await place.ask(Peek(), names[0])
                assert refused.value.fields["limit"] == "ACTIVATIONS_MAX"
            assert [task.result() for task in held] == [Value(value=2)] * 3
            assert await place.ask(Peek(), names[0]) == Value(value=1)

    virtual(main)


# -- two nodes ----------------------------------------------------------------------------------------------


def test_while_its_owner_lives_an_actor_is_refused_elsewhere_and_the_owner_named() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        one, two = Place(world, records, NODE), Place(world, records, OTHER)
        async with running(one.host), running(two.host):
            await one.ask(Add(id="1"))
            for _ in range(3):
                with pytest.raises(NotOwner) as refused:
                    await two.ask(Add(id="2"))
                assert refused.value.fields["node"] == NODE
                await asyncio.sleep(LEASE_MS / 1000)
            assert await one.ask(Add(id="3")) == Value(value=2)

    virtual(main)


def test_a_dead_node_s_actors_are_taken_over_after_its_lease_and_grace_and_not_before() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        one, two = Place(world, records, NODE), Place(world, records, OTHER)
        async with running(two.host):
            async with running(one.host):
                await one.ask(Add(id="1"))
                await leave_unfinished(records, ANN)
            expires_ms = (await lease_of(records)).expires_ms
            while not two.kind.resumed:
                await asyncio.sleep(0.1)
            taken_ms = await records.store.now_ms()
            assert LEASE_GRACE_MS <= taken_ms - expires_ms <= LEASE_GRACE_MS + 2 * RECOVERY_SWEEP_MS + 200
            assert await two.ask(Add(id="2")) == Value(value=2)
            assert two.kind.epochs == [2]

    virtual(main)


def test_a_zombie_s_commit_fails_its_effects_are_not_begun_and_it_ends_when_it_hears_of_the_lapse() -> None:
    """Node one cannot reach the store for longer than its lease, then comes back with an actor in memory."""

    async def main(world: World) -> None:
        cut, records_one = a_store(world)
        records_two = Records(cut._store)
        one, two = Place(world, records_one, NODE), Place(world, records_two, OTHER)
        async with running(two.host), running(one.host):
            await one.ask(Add(id="1"))
            zombie = one.host._activations[ANN]
            actor = zombie._actor
            assert actor is not None
            cut.down = True
            await asyncio.sleep((LEASE_MS - LEASE_MARGIN_MS) / 1000)
            assert not one.host.believes
            await asyncio.sleep((LEASE_GRACE_MS + LEASE_MARGIN_MS + HEARTBEAT_MS) / 1000)
            assert await two.ask(Add(id="2")) == Value(value=2)
            cut.down = False
            tenure = actor._tenure  # type: ignore[attr-defined]
            with pytest.raises(NotOwner):
                tenure.check_may_act()
            batch = Batch()
            batch.put(COUNTERS.at(ANN), Counter(value=99))
            with pytest.raises(ActivationLost):
                await tenure.commit(batch)
            await asyncio.sleep(HEARTBEAT_MS / 1000 + 0.1)
            assert one.host.believes and one.host.active == 0
            with pytest.raises(NotOwner):
                tenure.check_may_act()
            with pytest.raises(NotOwner):
                await one.ask(Add(id="3"))
            assert await two.ask(Add(id="3")) == Value(value=3)
            assert marks_of(world).counts == {"a node's lease lapsed and was issued anew": 1}
            assert (await lease_of(records_two)).epoch == 2

    virtual(main)


def test_a_lapse_cancels_what_is_under_way_and_the_call_is_made_again_under_the_new_epoch() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        place = Place(world, records)
        async with running(place.host):
            await place.ask(Add(id="1"))
            slow = asyncio.ensure_future(place.ask(Add(id="2", hold_ms=LEASE_MS + 2 * HEARTBEAT_MS)))
            faulty.down = True
            await asyncio.sleep(LEASE_MS / 1000 + 1)
            faulty.down = False
            assert await slow == Value(value=2)
            assert place.kind.epochs == [1, 2], "the activation under the lease that lapsed was ended"
            assert (await lease_of(records)).epoch == 2
        assert await count_of(records) == 2

    virtual(main)


# -- recovery -----------------------------------------------------------------------------------------------


def test_unfinished_work_is_resumed_and_reminders_fire_when_due() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        await leave_unfinished(records, ANN)
        due_ms = await records.store.now_ms() + 5_000
        batch = Batch()
        arm(batch, BOB, "wake", due_ms)
        await records.commit(batch)
        place = Place(world, records)
        async with running(place.host):
            await asyncio.sleep(2 * RECOVERY_SWEEP_MS / 1000)
            assert (place.kind.resumed, place.kind.reminded) == ([ANN], [])
            await asyncio.sleep(5)
            assert place.kind.reminded == [(BOB, "wake")]
            assert await read_unfinished(records, None) == []
            assert await read_due(records, due_ms) == []

    virtual(main)


def test_recovery_goes_on_after_the_store_was_away() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        place = Place(world, records)
        async with running(place.host):
            faulty.down = True
            await asyncio.sleep(3)
            faulty.down = False
            await leave_unfinished(records, ANN)
            await asyncio.sleep(3)
            assert place.kind.resumed == [ANN]

    virtual(main)


def test_who_was_ended_by_a_bug_is_blamed_once_and_the_world_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])

        async def post(body: Burst | Fail | Peek) -> None:
            reply = place.host.deliver(Call(target=ANN, lane="turns", body=body, deadline_ms=now_ms() + 1_000))
            await asyncio.wait([reply])
            assert isinstance(reply.exception(), ActivationLost) == (body != Peek())
            await asyncio.sleep(0.1)

        async with running(place.host):
            for body in (Burst(), Peek(), Fail(error=StoreDown("world")), Peek(), Burst(), Peek()):
                await post(body)
            assert place.kind.blamed == [False, True, False, True]
            assert place.host._blamed == {}

    virtual(main)


def test_who_is_blamed_is_remembered_within_bounds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host_room, "ACTIVATIONS_MAX", 2)
    caplog.set_level(logging.CRITICAL)

    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        async with running(place.host):
            for at in range(5):
                call = Call(target=ActorAddress(str(at)), lane="turns", body=Burst(), deadline_ms=now_ms() + 100)
                with pytest.raises(ActivationLost):
                    await place.host.deliver(call)
                await asyncio.sleep(0.1)
            assert list(place.host._blamed) == ["3", "4"]
            assert is_empty(place)

    virtual(main)


def test_a_broken_store_stops_the_node_with_that_error_itself() -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        torn = DataCorrupt("torn")
        started = asyncio.Event()

        async def break_it() -> None:
            await started.wait()
            with pytest.raises(ActivationLost):
                call = Call(target=ANN, lane="turns", body=Fail(error=torn), deadline_ms=now_ms() + 1_000)
                await place.host.deliver(call)

        breaking = asyncio.ensure_future(break_it())
        with pytest.raises(DataCorrupt) as raised:
            await place.host.run(started)
        assert raised.value is torn
        await breaking
        assert is_empty(place)

    virtual(main)


# -- the end ------------------------------------------------------------------------------------------------


def test_draining_waits_for_what_is_under_way_and_takes_no_new_turns() -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        async with running(place.host):
            slow = asyncio.ensure_future(place.ask(Add(id="1", hold_ms=500)))
            await asyncio.sleep(0.1)
            draining = asyncio.ensure_future(place.host.drain(2_000))
            await asyncio.sleep(0.1)
            with pytest.raises(Draining):
                await place.ask(Peek())
            assert await place.ask(Peek(), BOB, lane="control") == Value(value=0)
            assert not draining.done()
            assert await slow == Value(value=1)
            assert await draining is True

    virtual(main)


def test_draining_has_an_end() -> None:
    async def main(world: World) -> None:
        place = Place(world, a_store(world)[1])
        async with running(place.host):
            slow = asyncio.ensure_future(place.ask(Add(id="1", hold_ms=5_000), wait_ms=1_500))
            await asyncio.sleep(0.1)
            assert await place.host.drain(1_000) is False
            with pytest.raises(CallTimedOut):
                await slow

    virtual(main)


def test_a_node_that_does_not_run_or_is_stopping_refuses_and_keeps_nothing() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        place = Place(world, records)
        with pytest.raises(Draining):
            await place.ask(Peek())
        refused: list[str] = []

        async def knock() -> None:
            try:
                await place.ask(Add(id="late", hold_ms=1), BOB, lane="control", wait_ms=1_000)
            except Draining as error:
                refused.append(error.code)

        started = asyncio.Event()
        task = asyncio.ensure_future(place.host.run(started))
        await started.wait()
        await place.ask(Add(id="1"))
        task.cancel()
        await asyncio.sleep(0)  # the group is ending now, and its tasks with it
        await knock()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (refused, is_empty(place)) == (["draining"], True)
        assert await records.get(OWNERS.at(BOB)) is None

    virtual(main)
