"""Goal: deletion ends with no row left, in bounded commits, also when it is interrupted after each of them."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from kelpie.agent import removal
from kelpie.agent.conversations import NewConversation
from kelpie.agent.state import AGENT_RUNS, STATES
from kelpie.errors import NotFound, OutcomeUnknown, Unavailable
from kelpie.ids import AgentId
from kelpie.world import World
from tests.unit.actor.build import Fault, running, virtual
from tests.unit.agent.build import COUNT, TEA, Node, a_node, an_outside, rows_about
from tests.unit.agent.test_conversations import conversations_of


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
        for kill_ms in range(1, 26):
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
    monkeypatch.setattr(removal, "RUNS_PER_COMMIT", 1)

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


@pytest.mark.parametrize("talks", [0, 2])
def test_a_small_agent_goes_with_all_its_rows_in_one_commit(talks: int) -> None:
    """One that was never woken is not woken for it."""

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann, bob = await node.create(), await node.create(name="bob")
            runs = [await node.send(ann, TEA, key=str(at)) for at in range(talks)]
            for run_id in runs:
                await node.door.finish(run_id)
            before, awake = node.outside.faulty.commits, node.host.active
            await node.door.delete(ann)
            assert (node.outside.faulty.commits, node.host.active <= awake) == (before + 1, True)
            assert rows_about(node, ann, *runs) == []
            assert rows_about(node, bob)
            with pytest.raises(NotFound):
                await node.door.delete(ann)

    virtual(main)


async def converse(node: Node, agent_id: AgentId) -> None:
    await conversations_of(node).create(agent_id, NewConversation())


async def speak(node: Node, agent_id: AgentId) -> None:
    await node.send(agent_id, "hello")


@pytest.mark.parametrize("deed", [converse, speak], ids=["its first conversation is made", "it is woken"])
def test_an_agent_that_is_removed_leaves_nothing_while(deed: Callable[[Node, AgentId], Awaitable[None]]) -> None:
    async def later(wait_ms: int, node: Node, agent_id: AgentId) -> bool:
        await asyncio.sleep(max(0, wait_ms) / 1000)
        try:
            await deed(node, agent_id)
        except (NotFound, Unavailable):
            return False
        return True

    async def main(world: World) -> None:
        done = 0
        for wait_ms in range(-6, 6):
            async with a_node(world) as node:
                ann = await node.create()
                doing = asyncio.ensure_future(later(wait_ms, node, ann))
                await asyncio.sleep(max(0, -wait_ms) / 1000)
                await delete_again(node, ann)
                done += await doing
                await asyncio.sleep(5)
                assert rows_about(node, ann) == []
        assert 0 < done < 12, "either came first"

    virtual(main)
