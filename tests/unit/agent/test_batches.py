"""Goal: a batch is what its runs have come to. Method: runs of two agents, in virtual time, until one agent is gone."""

import asyncio

import pytest

from kelpie.agent.batches import Batches
from kelpie.agent.past import Past
from kelpie.errors import NotFound
from kelpie.storage.paging import Page
from kelpie.world import World
from tests.unit.actor.build import virtual
from tests.unit.agent.build import Node, a_node


def some_batches(node: Node) -> Batches:
    records, world = node.outside.records, node.outside.world
    return Batches(records, world, Past(records, node.outbox, world.entropy), node.door)


def test_a_batch_ends_with_its_last_run_and_outlives_its_agents() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            batches, ann, bob = some_batches(node), await node.create(), await node.create()
            node.outside.models.delay_ms = 1_000
            runs = (await node.send(ann, "a"), await node.send(bob, "b"))
            batch = await batches.create(runs)
            assert (batch.status, batch.completed_at_us) == ("running", None)
            for run in runs:
                await node.door.finish(run)
            done = await batches.get(batch.record.id)
            assert (done.status, [run.id for run in done.runs]) == ("completed", list(runs))
            assert done.completed_at_us == max(run.completed_at_us or 0 for run in done.runs)
            assert await batches.page(Page(limit=5)) == [done]
            await node.door.delete(ann)
            await asyncio.sleep(5)
            assert [run.id for run in (await batches.get(batch.record.id)).runs] == [runs[1]]
            with pytest.raises(NotFound, match="Batch with id 'job-1' not found"):
                await batches.get("job-1")

    virtual(main)


def test_cancelling_a_batch_cancels_what_runs_and_what_waits_and_nothing_else() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            batches, ann = some_batches(node), await node.create()
            node.outside.models.delay_ms = 60_000
            runs = (await node.send(ann, "a"), await node.send(ann, "b"))
            other = await node.send(ann, "not of it")
            batch = await batches.create(runs)
            await batches.cancel(batch.record.id)
            assert (await batches.get(batch.record.id)).status == "cancelled"
            assert (await node.door.get_run(other)).status in ("created", "running")

    virtual(main)
