"""Goal: an address has one owner, who can be replaced only when nobody alive is robbed by it."""

import asyncio

import pytest

from kelpie.actor.directory import OWNERS, Claim, Directory, Owner
from kelpie.cluster.lease import LEASES, NodeLease
from kelpie.errors import CommitUnknown, Conflict, NotOwner
from kelpie.ids import NodeId
from kelpie.limits import LEASE_GRACE_MS, LEASE_MS, RETRY_AFTER_MS
from kelpie.storage.records import Batch, Records
from kelpie.storage.store import Check
from kelpie.world import World
from tests.unit.actor.build import ANN, NODE, OTHER, Fault, a_store, virtual


async def give_lease(records: Records, node: NodeId, epoch: int) -> None:
    batch = Batch()
    expires_ms = await records.store.now_ms() + LEASE_MS
    batch.put(LEASES.at(node), NodeLease(node=node, epoch=epoch, expires_ms=expires_ms))
    await records.commit(batch)


async def owner_of(records: Records) -> Owner | None:
    found = await records.get(OWNERS.at(ANN))
    return None if found is None else found.value


def test_a_claim_of_a_free_address_is_fenced_by_the_row_that_it_wrote() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        claim = await Directory(records, NODE).claim(ANN, 3, fresh=True)
        fence = Check(OWNERS.at(ANN).key, faulty.versions[-1])
        assert claim == Claim(address=ANN, epoch=1, fence=fence)
        assert await owner_of(records) == Owner(node=NODE, node_epoch=3, epoch=1)

    virtual(main)


def test_a_node_takes_its_own_addresses_again_with_a_higher_epoch() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        directory = Directory(records, NODE)
        assert [(await directory.claim(ANN, node_epoch, fresh=True)).epoch for node_epoch in (1, 1, 2)] == [1, 2, 3]
        assert await owner_of(records) == Owner(node=NODE, node_epoch=2, epoch=3)
        with pytest.raises(AssertionError):
            await directory.claim(ANN, 1, fresh=True)

    virtual(main)


def test_a_claim_is_taken_up_again_without_a_write_only_by_its_node_under_its_lease() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        directory = Directory(records, NODE)
        first = await directory.claim(ANN, 2, fresh=False)
        written = faulty.commits
        assert await directory.claim(ANN, 2, fresh=False) == first
        assert faulty.commits == written
        assert (await directory.claim(ANN, 2, fresh=True)).epoch == 2
        assert (await directory.claim(ANN, 3, fresh=False)).epoch == 3
        assert (await Directory(records, OTHER).claim(ANN, 3, fresh=False)).epoch == 4
        assert faulty.commits == written + 3

    virtual(main)


def test_what_a_living_node_owns_is_refused_and_the_owner_named() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        await give_lease(records, OTHER, 1)
        await Directory(records, OTHER).claim(ANN, 1, fresh=True)
        mine = Directory(records, NODE)
        for wait_ms in (0, LEASE_MS, LEASE_GRACE_MS - 100):
            await asyncio.sleep(wait_ms / 1000)
            assert not await mine.is_orphan(ANN, 1)
            with pytest.raises(NotOwner) as refused:
                await mine.claim(ANN, 1, fresh=True)
            assert refused.value.fields == {"node": OTHER, "retry_after_ms": RETRY_AFTER_MS}
        await asyncio.sleep(0.2)
        assert await mine.is_orphan(ANN, 1)
        assert (await mine.claim(ANN, 1, fresh=True)).epoch == 2

    virtual(main)


def test_what_was_owned_under_an_earlier_lease_is_free_at_once() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        await give_lease(records, OTHER, 1)
        await Directory(records, OTHER).claim(ANN, 1, fresh=True)
        await give_lease(records, OTHER, 2)
        assert (await Directory(records, NODE).claim(ANN, 1, fresh=True)).epoch == 2

    virtual(main)


def test_of_two_that_claim_at_once_one_wins() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        outcomes: list[object] = []

        async def claim(node: NodeId) -> None:
            try:
                outcomes.append(await Directory(records, node).claim(ANN, 1, fresh=True))
            except Conflict as lost:
                outcomes.append(type(lost))

        async with asyncio.TaskGroup() as group:
            group.create_task(claim(NODE))
            group.create_task(claim(OTHER))
        assert [type(each) for each in outcomes if each is not Conflict] == [Claim]
        assert outcomes.count(Conflict) == 1

    for seed in range(5):
        virtual(main, seed=seed, order=None)


def test_a_claim_of_unknown_outcome_is_not_a_claim_but_does_not_stand_in_the_way() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        faulty.faults = {1: Fault.APPLIED}
        directory = Directory(records, NODE)
        with pytest.raises(CommitUnknown):
            await directory.claim(ANN, 1, fresh=True)
        assert (await directory.claim(ANN, 1, fresh=True)).epoch == 2

    virtual(main)


def test_an_address_that_nobody_claimed_is_an_orphan_and_a_claim_needs_a_lease() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        directory = Directory(records, NODE)
        assert await directory.is_orphan(ANN, 1)
        with pytest.raises(AssertionError):
            await directory.claim(ANN, 0, fresh=True)

    virtual(main)
