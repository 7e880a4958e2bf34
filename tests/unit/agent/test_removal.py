"""Goal: deletion ends with no row left, in bounded commits, also when it is interrupted after each of them."""

import asyncio

import pytest

from kelpie.agent import removal
from kelpie.agent.state import AGENT_RUNS, STATES
from kelpie.errors import NotFound, OutcomeUnknown, Unavailable
from kelpie.world import World
from tests.unit.actor.build import Fault, running, virtual
from tests.unit.agent.build import COUNT, TEA, Node, a_node, an_outside, rows_about


def test_many_runs_are_removed_in_several_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "RUNS_PER_COMMIT", 3)

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann, bob = await node.create(), await node.create(name="bob")
            runs = [await node.send(ann, "hello", key=str(at)) for at in range(8)]
            kept = await node.send(bob, "hello", key="0")
            await node.door.finish(runs[-1])
            before = node.outside.faulty.commits
            await node.door.delete(ann)
            await asyncio.sleep(0.5)
            assert node.outside.faulty.commits - before == 1 + 3 + 1
            assert rows_about(node, ann, *runs) == []
            assert (await node.door.finish(kept))[1].stop_reason == "end_turn"

    virtual(main)


@pytest.mark.parametrize("fault", list(Fault))
def test_any_fault_at_any_commit_of_a_removal_leaves_nothing(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "RUNS_PER_COMMIT", 1)

    async def main(world: World) -> None:
        for number in range(1, 6):
            async with a_node(world) as node:
                ann = await node.create()
                shared = (await node.roster.get_settings(ann)).blocks[0].id
                runs = [await node.send(ann, text, key=text) for text in (TEA, COUNT)]
                await node.door.finish(runs[-1])
                node.outside.faulty.faults = {node.outside.faulty.commits + number: fault}
                await delete_again(node, ann)
                await asyncio.sleep(10)
                assert rows_about(node, ann, *runs) == []
                assert rows_about(node, shared), "blocks outlive the agents that had them"
                assert (node.host.active, node.outside.faulty.faults) == (0, {})

    virtual(main)


async def delete_again(node: Node, agent_id: str) -> None:
    """A client that repeats until it is answered; that there is no such agent is an answer."""
    for _ in range(20):
        try:
            return await node.door.delete(agent_id)  # type: ignore[arg-type]
        except NotFound:
            return
        except (Unavailable, OutcomeUnknown):
            await asyncio.sleep(0.05)
    raise AssertionError("the agent could not be deleted")


def test_a_removal_that_a_kill_interrupted_is_finished_by_the_next_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "RUNS_PER_COMMIT", 1)

    async def main(world: World) -> None:
        left: list[int] = []
        for kill_ms in range(1, 20):
            outside = an_outside(world)
            first = Node(outside)
            async with running(first.host):
                ann = await first.create()
                runs = [await first.send(ann, "hello", key=str(at)) for at in range(3)]
                await first.door.finish(runs[-1])
                deleting = asyncio.ensure_future(delete_again(first, ann))
                await asyncio.sleep(kill_ms / 1000)
            left.append(len(await outside.records.scan(AGENT_RUNS, ann, limit=9)))
            deleting.cancel()
            second = Node(outside)
            async with running(second.host):
                await asyncio.sleep(3)
                if await outside.records.get(STATES.at(ann)) is not None:  # the kill came before the first commit
                    await delete_again(second, ann)
                    await asyncio.sleep(1)
                assert rows_about(second, ann, *runs) == []
        assert set(left) >= {0, 1, 2, 3}, "it was interrupted at every stage"

    virtual(main)


def test_while_it_is_removed_an_agent_is_gone_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store fails all commits of the removal but the first."""

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            await node.talk(ann, "hello")
            now = node.outside.faulty.commits
            node.outside.faulty.faults = {now + number: Fault.FULL for number in range(2, 8)}
            await node.door.delete(ann)
            for _ in range(3):
                for call in (node.send(ann, "hello"), node.door.reset(ann), node.door.cancel(ann, None)):
                    with pytest.raises((NotFound, Unavailable)):
                        await call
                await asyncio.sleep(0.01)
            await asyncio.sleep(20)
            assert rows_about(node, ann) == []

    virtual(main)
