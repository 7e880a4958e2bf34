"""Goal: what was done is read back from its indexes, page by page. Method: runs of two agents, in virtual time."""

import asyncio

import pytest

from kelpie.agent.past import EVERYONE, Past, Whose
from kelpie.agent.state import Run
from kelpie.agent.steps import STEP_NOTES, STEPS, StepNote
from kelpie.errors import Conflict, LimitExceeded, NotFound
from kelpie.ids import AgentId, RunId, StepId
from kelpie.storage.paging import Page
from kelpie.world import World
from tests.unit.actor.build import virtual
from tests.unit.agent.build import COUNT, Node, a_node, rows_about, until

ALL = Page(limit=100)


def a_past(node: Node) -> Past:
    return Past(node.outside.records, node.outbox, node.outside.world.entropy)


async def talked(node: Node, agent_id: AgentId, *texts: str) -> list[RunId]:
    """One run for each text, one after the other."""
    runs: list[RunId] = []
    for text in texts:
        runs.append(await node.send(agent_id, text))
        await node.door.finish(runs[-1])
    return runs


def every(run: object) -> bool:
    return True


def test_runs_are_listed_of_one_agent_and_of_all_in_both_orders_from_any_cursor(monkeypatch) -> None:
    monkeypatch.setattr("kelpie.agent.past.READ_AT_ONCE", 2)

    async def main(world: World) -> None:
        async with a_node(world) as node:
            past, ann, bob = a_past(node), await node.create(), await node.create()
            runs = [
                run for agent in (ann, bob, ann, bob, ann) for run in await talked(node, agent, "hi")
            ]  # in the order of time

            async def ids(whose: Whose, page: Page, wanted=every) -> list[int]:
                return [runs.index(run.id) for run in await past.runs(whose, page, wanted)]

            assert await ids(EVERYONE, ALL) == [4, 3, 2, 1, 0]
            assert await ids(Whose(agent_id=ann), ALL) == [4, 2, 0]
            assert await ids(EVERYONE, Page(limit=2, newest_first=False, after=runs[1])) == [2, 3]
            assert await ids(EVERYONE, Page(limit=9, before=runs[1], after=runs[4])) == [3, 2]
            assert await ids(Whose(agent_id=ann), Page(limit=9, after=runs[3])) == [2, 0], "a cursor of another agent"
            assert await ids(EVERYONE, ALL, lambda run: run.agent_id == bob) == [3, 1]
            assert [runs.index(run.id) for run in await past.every_run(EVERYONE, every)] == [4, 3, 2, 1, 0]
            with pytest.raises(NotFound):
                await ids(EVERYONE, Page(limit=9, after="run-nobody"))
            monkeypatch.setattr("kelpie.agent.past.RUNS_SCANNED_MAX", 2)
            assert await ids(EVERYONE, Page(limit=2)) == [4, 3]
            with pytest.raises(LimitExceeded):
                await ids(EVERYONE, ALL)

    virtual(main)


def test_steps_are_listed_in_the_order_of_their_runs_from_any_cursor() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            past, ann, bob = a_past(node), await node.create(), await node.create()
            runs = [run for agent in (ann, bob) for run in await talked(node, agent, COUNT)]
            steps = [step.record.id for run in runs for step in await past.steps_of(await past.run(run))]
            assert len(steps) == 4

            async def ids(page: Page, agent_id: AgentId | None = None) -> list[int]:
                return [steps.index(step.record.id) for step in await past.steps(agent_id, page, every, every)]

            assert await ids(ALL) == [3, 2, 1, 0]
            assert await ids(ALL, ann) == [1, 0]
            assert await ids(Page(limit=2, after=steps[3])) == [2, 1]
            assert await ids(Page(limit=9, before=steps[1], after=steps[3])) == [2]
            assert await ids(Page(limit=9, newest_first=False, after=steps[0], before=steps[3])) == [1, 2]
            assert await ids(Page(limit=9, newest_first=False, after=steps[2])) == [3]
            with pytest.raises(NotFound):
                await ids(Page(limit=9, after="step-nobody"))
            none = await past.steps(None, ALL, lambda run: False, every)
            assert none == []

    virtual(main)


def test_the_messages_of_a_run_are_its_own(monkeypatch) -> None:
    """In pages of any size, with replies and without any."""

    async def main(world: World) -> None:
        async with a_node(world) as node:
            past, ann = a_past(node), await node.create()
            first, second, third = await talked(node, ann, "one", COUNT, "three")
            silent = await node.send(ann, "four")
            await node.door.cancel(ann, None)
            for size in (1, 2, 200):
                monkeypatch.setattr("kelpie.agent.past.MESSAGES_AT_ONCE", size)
                found = [await past.messages(await past.run(run)) for run in (first, second, third, silent)]
                assert [[message.seq for message in each] for each in found] == [[1, 2], [3, 4, 5, 6], [7, 8], [9]]

    virtual(main)


def test_a_running_run_tells_what_it_has_come_to() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            past, ann = a_past(node), await node.create()
            node.outside.models.delay_ms = 60_000
            run_id = await node.send(ann, "hi")
            await until(lambda: node.outside.models.open == 1)
            run: Run = await past.run(run_id)
            assert (run.status, run.steps) == ("running", 1)
            (step,) = await past.steps_of(run)
            assert (step.record.status, step.record.number) == ("pending", 1)
            with pytest.raises(Conflict, match="cancel it first"):
                await past.delete_run(run_id)
            await node.door.cancel(ann, None)
            await past.delete_run(run_id)
            assert rows_about(node, step.record.id) and not [
                key for key in rows_about(node, run_id) if not key.startswith((b"message", b"inbox"))
            ], "only what was said stays"
            with pytest.raises(NotFound):
                await past.delete_run(run_id)

    virtual(main)


def test_what_is_said_of_a_step_is_kept_beside_it_and_goes_with_it() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            past, ann = a_past(node), await node.create()
            (run_id,) = await talked(node, ann, "hi")
            (step,) = await past.steps_of(await past.run(run_id))
            for feedback in ("positive", "negative"):
                said = StepNote(feedback=feedback, tags=("t",))
                assert (await past.note(step.record.id, lambda _, said=said: said)).note == said
                assert (await past.step(step.record.id)).note == said
            with pytest.raises(NotFound):
                await past.note(StepId("step-nobody"), lambda note: note)
            await node.door.delete(ann)
            await asyncio.sleep(5)  # what is left of it goes behind the answer
            for space in (STEPS, STEP_NOTES):
                assert await node.outside.records.get(space.at(step.record.id)) is None

    virtual(main)
