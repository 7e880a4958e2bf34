"""Goal: whatever is lost, whenever, the history ends as if nothing had been; a side effect is never repeated.

Method: each conversation is played undisturbed, then again with every fault at every commit of it, and again with the
node killed at every few milliseconds of it. The client repeats under its key until it is answered.
"""

import asyncio

import pytest
from msgspec import Struct

from kelpie.agent.events import FinishedEvent
from kelpie.agent.turn import INTERRUPTED
from kelpie.errors import InvalidInput, NotOwner
from kelpie.ids import AgentId, RunId
from kelpie.limits import HEARTBEAT_MS, LEASE_GRACE_MS, LEASE_MARGIN_MS, LEASE_MS
from kelpie.storage.records import Records
from kelpie.world import World
from kelpie_sim.tools import Answers, Hangs
from tests.unit.actor.build import OTHER, Fault, marks_of, running, virtual
from tests.unit.agent.build import (
    Node,
    Outside,
    an_outside,
    block_values,
    check_run,
    history_of,
    send_again,
    state_of,
    tell,
    until,
)

PLAIN = "Reply with the message 'hi'"
TEA = "Call the memory_insert tool with label 'human' and new_string 'likes tea' then reply with the message 'noted'"
COUNT = "Call the count_up tool then reply with the message 'counted'"
SET = "Call the set_value tool with name 'x' and value '1' then reply with the message 'set'"
ALL = (
    "Call the count_up tool and call the set_value tool with name 'x' and value '1' and call the memory_insert tool"
    " with label 'human' and new_string 'likes tea' then reply with the message 'all done'"
)
SCRIPTS = {"plain": PLAIN, "memory": TEA, "side effect": COUNT, "idempotent": SET, "all at once": ALL}


class Outcome(Struct, kw_only=True):
    """What is left of a conversation."""

    history: list[str]
    blocks: list[str]
    values: dict[str, str]
    count: int
    finished: FinishedEvent
    commits: int
    took_ms: int
    marks: dict[str, int]


async def outcome_of(outside: Outside, node: Node, ann: AgentId, run_id: RunId, before: int, begun_s: float) -> Outcome:
    finished = await check_run(outside, node, ann, run_id)
    took_ms = round((asyncio.get_running_loop().time() - begun_s) * 1000)
    assert outside.tools.repeated() == [], "what may not be repeated was not"
    state = await state_of(outside, ann)
    assert (state.turn, state.queue) == (None, ())
    return Outcome(
        history=tell(await history_of(outside, ann))[1:],
        blocks=await block_values(outside, node, ann),
        values=outside.tools.values,
        count=outside.tools.count,
        finished=finished,
        commits=outside.faulty.commits - before,
        took_ms=took_ms,
        marks=marks_of(outside.world).counts,
    )


def an_outside_at_work(world: World) -> Outside:
    outside = an_outside(world)
    outside.tools.behave = lambda _request: Answers(after_ms=3, answer_ms=3)
    return outside


def play(text: str, *, faults: dict[int, Fault] | None = None, seed: int = 1) -> Outcome:
    """One conversation; `faults` by the number of the commit, counted from when the client sends."""

    async def main(world: World) -> Outcome:
        outside = an_outside_at_work(world)
        node = Node(outside)
        async with running(node.host):
            ann = await node.create()
            before, begun_s = outside.faulty.commits, asyncio.get_running_loop().time()
            outside.faulty.faults = {before + number: fault for number, fault in (faults or {}).items()}
            run_id = await send_again(lambda: node, ann, text, "key")
            return await outcome_of(outside, node, ann, run_id, before, begun_s)

    return virtual(main, seed=seed)


def play_killed(text: str, kill_ms: float) -> Outcome:
    """One conversation; the node is killed so long after the client has sent, and another one is started."""

    async def main(world: World) -> Outcome:
        outside = an_outside_at_work(world)
        nodes = [Node(outside)]
        async with asyncio.TaskGroup() as group:
            async with running(nodes[-1].host):
                ann = await nodes[-1].create()
                before, begun_s = outside.faulty.commits, asyncio.get_running_loop().time()
                sending = group.create_task(send_again(lambda: nodes[-1], ann, text, "key"))
                await asyncio.sleep(kill_ms / 1000)
            nodes.append(Node(outside))
            async with running(nodes[-1].host):
                run_id = await sending
                return await outcome_of(outside, nodes[-1], ann, run_id, before, begun_s)
        raise AssertionError("unreachable")

    return virtual(main)


def check_same(text: str, disturbed: Outcome, calm: Outcome) -> bool:
    """The same history; or, where a side effect's result was lost, the model was told. Whether it was so."""
    assert disturbed.finished.stop_reason == "end_turn"
    assert disturbed.finished.steps == calm.finished.steps
    assert (disturbed.blocks, disturbed.values) == (calm.blocks, calm.values)
    interrupted = [line.replace("count_up -> 1", f"count_up failed: {INTERRUPTED}") for line in calm.history]
    assert disturbed.history in (calm.history, interrupted)
    told = INTERRUPTED in "".join(disturbed.history)
    if told:
        assert disturbed.count <= 1 and "count_up" in text
    else:
        assert disturbed.count == calm.count
    return told


@pytest.mark.parametrize("script", list(SCRIPTS))
def test_any_fault_at_any_commit_leaves_the_same_history(script: str) -> None:
    text = SCRIPTS[script]
    calm = play(text)
    assert calm.commits >= 3 and calm.finished.stop_reason == "end_turn"
    told = 0
    for number in range(1, calm.commits + 1):
        for fault in Fault:
            disturbed = play(text, faults={number: fault})
            assert disturbed.finished.usage.output_tokens > 0
            told += check_same(text, disturbed, calm)
    assert (told > 0) == ("count_up" in text), "at some commit a result was lost, and nowhere else"


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_at_each_of_two_commits_in_a_row(fault: Fault) -> None:
    calm = play(ALL)
    for number in range(1, calm.commits):
        check_same(ALL, play(ALL, faults={number: fault, number + 1: fault}), calm)


@pytest.mark.parametrize("script", list(SCRIPTS))
def test_the_node_killed_at_any_moment_leaves_the_same_history(script: str) -> None:
    text = SCRIPTS[script]
    calm = play(text)
    told = resumed = 0
    for kill_ms in range(0, calm.took_ms + 2):
        killed = play_killed(text, kill_ms + 0.5)
        told += check_same(text, killed, calm)
        resumed += killed.marks.get("an interrupted turn was resumed", 0)
    assert resumed > 5, "most of the kills were in the middle of the turn"
    assert (told > 0) == ("count_up" in text)


def test_a_tool_that_may_be_repeated_is_run_again_and_one_that_may_not_is_told_as_interrupted() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        outside.tools.behave = lambda _request: Hangs(done=True)
        first = Node(outside)
        async with running(first.host):
            ann = await first.create()
            run_id = await first.send(ann, ALL)
            await until(lambda: outside.tools.count == 1 and "x" in outside.tools.values)
            await asyncio.sleep(0.1)
            assert (await state_of(outside, ann)).turn is not None
        outside.tools.behave = lambda _request: Answers()
        second = Node(outside)
        async with running(second.host):
            assert (await check_run(outside, second, ann, run_id)).stop_reason == "end_turn"
        runs = [(each.tool, each.number) for each in outside.tools.executions]
        assert runs == [("count_up", 1), ("set_value", 2), ("set_value", 3)]
        assert outside.tools.executions[1].key == outside.tools.executions[2].key, "the same key, so that it can tell"
        returns = tell(await history_of(outside, ann))[-2]
        assert (
            returns
            == f"tool: count_up failed: {INTERRUPTED}; set_value -> x is 1; memory_insert -> Name: Bo\nlikes tea"
        )

    virtual(main)


def test_what_waits_in_the_queue_survives_too_in_its_order() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        outside.models.delay_ms = 100
        first = Node(outside)
        async with running(first.host):
            ann = await first.create()
            runs = [await first.send(ann, f"Reply with the message '{at}'") for at in range(4)]
            await asyncio.sleep(0.15)
        second = Node(outside)
        async with running(second.host):
            for run_id in runs:
                await check_run(outside, second, ann, run_id)
        said = [line for line in tell(await history_of(outside, ann)) if line.startswith("assistant")]
        assert said == [f"assistant: {at}" for at in range(4)]

    virtual(main)


def test_the_same_key_gets_the_first_run_and_another_request_under_it_is_refused() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        first = Node(outside)
        async with running(first.host):
            ann = await first.create()
            bob = await first.create(name="bob")
            async with asyncio.TaskGroup() as group:
                sends = [group.create_task(first.send(ann, PLAIN, key="k")) for _ in range(5)]
            (run_id,) = {task.result() for task in sends}
            await check_run(outside, first, ann, run_id)
            assert await first.send(ann, PLAIN, key="k") == run_id
            with pytest.raises(InvalidInput):
                await first.send(ann, "something else", key="k")
            assert await first.send(bob, PLAIN, key="k") != run_id, "keys are the agent's"
            other_id = await first.send(ann, PLAIN, key="l")
            assert other_id != run_id
            await check_run(outside, first, ann, other_id)
        second = Node(outside)
        async with running(second.host):
            assert await second.send(ann, PLAIN, key="k") == run_id
            for key in ("", "k" * 5_000):
                with pytest.raises(InvalidInput):
                    await second.send(ann, PLAIN, key=key)
        assert tell(await history_of(outside, ann)).count("assistant: hi") == 2

    virtual(main)


def test_a_turn_goes_on_at_another_node_and_the_zombie_adds_nothing() -> None:
    """Node one loses the store in the middle of a turn, and comes back when node two has finished it."""

    async def main(world: World) -> None:
        outside = an_outside(world)
        outside.models.delay_ms = 1_000
        one = Node(outside)
        apart = Outside(
            world=world,
            faulty=outside.faulty,
            records=Records(outside.faulty._store),
            models=outside.models,
            tools=outside.tools,
        )
        two = Node(apart, OTHER)
        async with running(one.host), running(two.host):
            ann = await one.create()
            run_id = await one.send(ann, COUNT)
            with pytest.raises(NotOwner):
                await two.send(ann, PLAIN)
            outside.faulty.down = True
            assert (await check_run(apart, two, ann, run_id)).stop_reason == "end_turn"
            before = tell(await history_of(apart, ann))
            outside.faulty.down = False
            await asyncio.sleep((HEARTBEAT_MS + LEASE_MS) / 1000)
            assert tell(await history_of(apart, ann)) == before
            assert outside.tools.repeated() == [] and outside.tools.count == 1
            with pytest.raises(NotOwner):
                await one.send(ann, PLAIN)
            assert (await two.talk(ann, PLAIN))[1].stop_reason == "end_turn"

    virtual(main)


def test_without_belief_in_its_lease_a_node_starts_no_tool() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        node = Node(outside)
        outside.models.delay_ms = LEASE_MS + LEASE_GRACE_MS
        async with running(node.host):
            ann = await node.create()
            run_id = await node.send(ann, COUNT)
            commit = outside.faulty._store.commit
            heartbeats: list[float] = []

            async def only_turns(checks: list[object], writes: list[object]) -> int:
                if any(b"lease" in write.key for write in writes if hasattr(write, "key")):  # type: ignore[attr-defined]
                    heartbeats.append(asyncio.get_running_loop().time())
                    await asyncio.sleep(HEARTBEAT_MS)  # for ever: this node's lease runs out
                return await commit(checks, writes)  # type: ignore[arg-type]

            outside.faulty._store.commit = only_turns  # type: ignore[method-assign,assignment]
            await asyncio.sleep((LEASE_MS - LEASE_MARGIN_MS) / 1000)
            assert heartbeats and not node.host.believes
            await asyncio.sleep(LEASE_MS / 1000)
            assert outside.tools.executions == [], "the reply was committed under the fence; the tool was not begun"
            assert (await state_of(outside, ann)).turn is not None
        outside.faulty._store.commit = commit  # type: ignore[method-assign]
        again = Node(outside)
        outside.models.delay_ms = 1
        async with running(again.host):
            assert (await check_run(outside, again, ann, run_id)).stop_reason == "end_turn"

    virtual(main)


def test_a_store_that_is_away_for_long_delays_a_turn_and_loses_nothing() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        node = Node(outside)
        async with running(node.host):
            ann = await node.create()
            outside.models.delay_ms = 50
            run_id = await node.send(ann, TEA)
            await until(lambda: outside.models.open == 1)
            outside.faulty.down = True
            await asyncio.sleep(40)
            outside.faulty.down = False
            assert (await check_run(outside, node, ann, run_id)).stop_reason == "end_turn"
            assert await block_values(outside, node, ann) == ["Name: Bo\nlikes tea"]

    virtual(main)
