"""Goal: a run can be followed from anywhere in it, by anybody, live or later, and each event comes once."""

import asyncio
from contextlib import aclosing

import pytest

from kelpie.agent.events import DeltaEvent, FinishedEvent, MessageEvent, RunEvent
from kelpie.agent.state import RunOptions
from kelpie.errors import CallTimedOut, InvalidInput, NotFound, RunStalled
from kelpie.ids import RunId
from kelpie.limits import COMMIT_ATTEMPTS_MAX, FOLLOW_FAILURES_MAX, FOLLOW_POLL_MS
from kelpie.llm.messages import ModelReply, ModelRequest, ReasoningPart, TextPart, ToolCallPart, Usage
from kelpie.storage.records import Records
from kelpie.world import World
from tests.unit.actor.build import OTHER, Fault, virtual
from tests.unit.agent.build import COUNT, TEA, Node, Outside, a_node, said


async def followed(node: Node, run_id: RunId, *, after: int = 0, deltas: bool = False) -> list[RunEvent]:
    async with aclosing(node.door.follow(run_id, after=after, deltas=deltas)) as events:
        return [event async for event in events]


def numbers(events: list[RunEvent]) -> list[int]:
    return [event.number for event in events if not isinstance(event, DeltaEvent)]


def test_readers_that_come_at_any_time_and_from_any_number_get_the_rest_once_and_in_order() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, f"{TEA} and then call the count_up tool then reply with the message 'bye'")
            readers: list[tuple[int, asyncio.Task[list[RunEvent]]]] = []
            async with asyncio.TaskGroup() as group:
                while (await node.door.get_run(run_id)).stop_reason is None:
                    for after in range(4):
                        readers.append((after, group.create_task(followed(node, run_id, after=after))))
                    await asyncio.sleep(0.004)
            whole = await followed(node, run_id)
            assert len(readers) > 12 and isinstance(whole[-1], FinishedEvent)
            assert numbers(whole) == list(range(1, len(whole) + 1))
            for after, reader in readers:
                assert reader.result() == whole[after:]
            assert node.outbox._readers == {}, "nobody reads any more, and nothing is kept of it"

    for seed in range(3):
        virtual(main, seed=seed, order=None)


def test_whoever_has_seen_the_end_is_told_nothing_more_and_does_not_wait() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, "hello")
            said_events, finished = await node.door.finish(run_id)
            assert [event.number for event in said_events] == [1] and finished.number == 2
            for after, expected in ((0, [1, 2]), (1, [2]), (2, []), (9, [])):
                assert numbers(await followed(node, run_id, after=after)) == expected

    virtual(main)


def test_a_reader_at_another_node_reads_the_store() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            outside = node.outside
            there = Outside(
                world=world,
                faulty=outside.faulty,
                records=Records(outside.faulty),
                models=outside.models,
                tools=outside.tools,
            )
            elsewhere = Node(there, OTHER)
            ann = await node.create()
            outside.models.delay_ms = 3 * FOLLOW_POLL_MS
            run_id = await node.send(ann, COUNT)
            here, other = await asyncio.gather(followed(node, run_id), followed(elsewhere, run_id, deltas=True))
            assert here == other and numbers(here) == [1, 2, 3, 4]

    virtual(main)


def test_a_reader_that_leaves_in_the_middle_leaves_nothing_behind() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, COUNT)
            async with aclosing(node.door.follow(run_id, after=0, deltas=False)) as events:
                first = await anext(events)
            assert isinstance(first, MessageEvent) and node.outbox._readers == {}
            waiting = asyncio.ensure_future(node.door.finish(run_id))
            await asyncio.sleep(0.001)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert node.outbox._readers == {}
            await node.door.finish(run_id)
            assert node.outbox._readers == {}

    virtual(main)


def test_a_reader_slower_than_its_run_catches_up_from_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kelpie.actor.outbox.SUBSCRIBER_EVENTS_MAX", 2)
    monkeypatch.setattr("kelpie.agent.door.EVENTS_PAGE_ROWS", 3)

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            replies = iter(range(12))

            def reply(_request: ModelRequest) -> ModelReply:
                at = next(replies)
                call = ToolCallPart(call_id=str(at), name="count_up", arguments="{}")
                parts = (call,) if at < 11 else (TextPart(text="done"),)
                return ModelReply(parts=parts, finish="stop", usage=Usage())

            node.outside.models.reply = reply
            run_id = await node.send(ann, "go")
            seen: list[RunEvent] = []
            async with aclosing(node.door.follow(run_id, after=0, deltas=False)) as events:
                async for event in events:
                    seen.append(event)
                    await asyncio.sleep(0.06)
            assert numbers(seen) == list(range(1, 25))

    virtual(main)


def test_every_part_of_a_reply_is_told_as_it_was() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            parts = (ReasoningPart(text="hm", signature="s"), TextPart(text="hello"))
            node.outside.models.reply = lambda _request: ModelReply(parts=parts, finish="stop", usage=Usage())
            (event,), _ = await node.talk(ann, "hi")
            assert event.message.parts == parts

    virtual(main)


def test_runs_are_listed_newest_first_and_unknown_ones_are_not_found() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            runs = []
            for at in range(4):
                runs.append(await node.send(ann, str(at)))
                await asyncio.sleep(0.1)
            assert [run.id for run in await node.door.list_runs(ann, limit=3)] == runs[:0:-1]
            for question in (node.door.get_run(RunId("run-x")), followed(node, RunId("run-x"))):
                with pytest.raises(NotFound):
                    await question
            assert node.outbox._readers == {}

    virtual(main)


def test_a_bad_key_never_reaches_the_agent() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            with pytest.raises(InvalidInput):
                await node.door.send(ann, said("hi"), RunOptions(), key="")
            with pytest.raises(AssertionError):
                await node.door.send(ann, (), RunOptions(), key=None)
            assert node.host.active == 0

    virtual(main)


def test_whoever_follows_an_accepted_run_waits_for_a_store_that_is_away_and_then_gets_everything() -> None:
    """And is told that the run goes on, never that nothing happened, when the store stays away."""

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            for polls, ends in ((FOLLOW_FAILURES_MAX - 2, True), (FOLLOW_FAILURES_MAX + 2, False)):
                node.outside.models.delay_ms = (polls + 30) * FOLLOW_POLL_MS
                run_id = await node.send(ann, "Reply with the message 'here'")
                reader = asyncio.create_task(followed(node, run_id))
                node.outside.faulty.down = True
                await asyncio.sleep(polls * FOLLOW_POLL_MS / 1000)
                node.outside.faulty.down = False
                if ends:
                    assert numbers(await reader) == [1, 2]
                    continue
                with pytest.raises(CallTimedOut, match="was accepted and goes on"):
                    await reader
                assert numbers(await followed(node, run_id)) == [1, 2]

    virtual(main)


def test_a_run_that_cannot_be_committed_says_so_to_whoever_waits_and_ends_when_it_can() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 100
            run_id = await node.send(ann, "Reply with the message 'later'")
            faulty = node.outside.faulty
            faulty.faults = {faulty.commits + at: Fault.FULL for at in range(1, COMMIT_ATTEMPTS_MAX + 3)}
            with pytest.raises(RunStalled, match=f"run_id={run_id} was accepted"):
                await node.door.finish(run_id)
            _, finished = await node.door.finish(run_id)
            assert (finished.stop_reason, faulty.faults) == ("end_turn", {})

    virtual(main)
