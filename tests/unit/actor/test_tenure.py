"""Goal: under a tenure nothing is committed that the fence does not allow, and nothing begun without belief."""

import asyncio

import pytest

from kelpie.actor.directory import Directory
from kelpie.actor.tenure import Tenure
from kelpie.errors import ActivationLost, CommitUnknown, Conflict, NotOwner, StoreDown
from kelpie.storage.records import Batch, Records
from kelpie.world import World
from tests.unit.actor.build import ANN, COUNTERS, NODE, Counter, Fault, a_store, count_of, virtual


async def a_tenure(records: Records, *, believes: bool = True) -> Tenure:
    claim = await Directory(records, NODE).claim(ANN, 1, fresh=True)
    return Tenure(claim, records, lambda: believes)


def a_change(value: int) -> Batch:
    batch = Batch()
    batch.put(COUNTERS.at(ANN), Counter(value=value))
    return batch


def test_each_claim_ends_the_one_before_it() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        first, second = await a_tenure(records), await a_tenure(records)
        assert (first.address, first.epoch, second.epoch) == (ANN, 1, 2)
        assert await second.commit(a_change(2)) > 0
        with pytest.raises(ActivationLost):
            await first.commit(a_change(1))
        with pytest.raises(AssertionError):
            await first.commit(a_change(1))
        assert await count_of(records) == 2

    virtual(main)


def test_a_refused_commit_may_be_tried_again_with_the_same_batch() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        tenure = await a_tenure(records)
        faulty.faults = {faulty.commits + 1: Fault.DOWN, faulty.commits + 2: Fault.CONFLICT}
        batch = a_change(1)
        for refused in (StoreDown, Conflict):
            with pytest.raises(refused):
                await tenure.commit(batch)
        await tenure.commit(batch)
        assert len(batch.checks) == 1, "the fence is checked once"
        assert await count_of(records) == 1

    virtual(main)


@pytest.mark.parametrize(("fault", "kept"), [(Fault.APPLIED, 1), (Fault.LOST, 0)])
def test_after_an_unknown_commit_the_tenure_commits_nothing_more(fault: Fault, kept: int) -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        tenure = await a_tenure(records)
        faulty.faults = {faulty.commits + 1: fault}
        with pytest.raises(CommitUnknown):
            await tenure.commit(a_change(1))
        with pytest.raises(AssertionError):
            await tenure.commit(a_change(2))
        assert await count_of(records) == kept

    virtual(main)


def test_a_cancelled_commit_is_as_unknown_as_any() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        tenure = await a_tenure(records)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(tenure.commit(a_change(1)))
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(AssertionError):
            await tenure.commit(a_change(2))

    virtual(main)


def test_one_commit_at_a_time() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        tenure = await a_tenure(records)
        async with asyncio.TaskGroup() as group:
            group.create_task(tenure.commit(a_change(1)))
            await asyncio.sleep(0)
            with pytest.raises(AssertionError):
                await tenure.commit(a_change(2))
        assert await count_of(records) == 1

    virtual(main)


def test_without_belief_in_the_lease_nothing_is_begun() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        (await a_tenure(records)).check_may_act()
        with pytest.raises(NotOwner):
            (await a_tenure(records, believes=False)).check_may_act()

    virtual(main)
