"""Goal: a background run's pieces are numbered by commits, few of them, and never change. Method: whole nodes."""

import asyncio

from kelpie.agent.events import FinishedEvent, MessageEvent, PiecesEvent
from kelpie.agent.pieces import PieceBuffer, join
from kelpie.agent.state import RunOptions
from kelpie.ids import MessageId, RunId, StepId
from kelpie.limits import MESSAGE_BYTES_MAX
from kelpie.llm.messages import Delta, ModelReply, ModelRequest, ReasoningDelta, TextDelta, ToolCallDelta
from kelpie.llm.model import ModelInfo, OnDelta
from kelpie.world import World
from tests.unit.actor.build import running, virtual
from tests.unit.agent.build import HandledModels, Node, an_outside, text_reply

KEPT = RunOptions(stream_tokens=True, background=True)
WORDS = [f"w{at} " for at in range(50)]


class DrippingModel(HandledModels):
    """A word every 10 ms."""

    async def ask(self, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        self.requests.append(request)
        for word in WORDS:
            await asyncio.sleep(0.01)
            if on_delta is not None:
                on_delta(TextDelta(part=0, text=word))
        return text_reply("".join(WORDS))


def text_of(deltas: tuple[Delta, ...]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


async def read(node: Node, run_id: RunId, *, after: int = 0) -> list[MessageEvent | PiecesEvent | FinishedEvent]:
    return [event async for event in node.door.follow(run_id, after=after, deltas=False)]  # type: ignore[misc]


def test_pieces_are_told_a_few_times_a_second_and_the_same_to_everybody() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        outside.models = DrippingModel()
        node = Node(outside)
        async with running(node.host):
            ann = await node.create()
            run_id = await node.send(ann, "hello", options=KEPT)
            first = asyncio.ensure_future(read(node, run_id))
            await asyncio.sleep(0.3)
            late = await read(node, run_id)
            events = await first
            assert late == events
            assert [event.number for event in events] == list(range(1, len(events) + 1))
            pieces = [event for event in events if isinstance(event, PiecesEvent)]
            assert 3 <= len(pieces) <= 7, "500 ms of words in commits at least 100 ms apart"
            told = "".join(text_of(event.deltas) for event in pieces)
            message = events[-2]
            assert isinstance(message, MessageEvent) and "".join(WORDS).startswith(told)
            assert {event.message_id for event in pieces} == {message.message.id}
            assert await read(node, run_id, after=pieces[1].number) == events[2:]
            said, finished = await node.door.finish(run_id)
            assert [event.message.id for event in said] == [message.message.id] and finished == events[-1]

    virtual(main)


def test_after_a_kill_the_numbers_go_on_and_nothing_that_was_shown_changes() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        outside.models = DrippingModel()
        first = Node(outside)
        async with running(first.host):
            ann = await first.create()
            run_id = await first.send(ann, "hello", options=KEPT)
            before = []
            async for event in first.door.follow(run_id, after=0, deltas=False):
                before.append(event)
                if len(before) == 2:
                    break
        second = Node(outside)
        async with running(second.host):
            after = await read(second, run_id, after=before[-1].number)
            whole = await read(second, run_id)
            assert whole[: len(before)] == before
            assert whole[len(whole) - len(after) :] == after
            assert [event.number for event in whole] == list(range(1, len(whole) + 1))
            ids = [event.message_id for event in whole if isinstance(event, PiecesEvent)]
            assert len(set(ids)) == 2, "the reply that was interrupted, and the one that came of the second call"

    virtual(main)


def test_without_tokens_or_in_the_foreground_no_piece_is_stored() -> None:
    async def main(world: World) -> None:
        outside = an_outside(world)
        outside.models = DrippingModel()
        node = Node(outside)
        async with running(node.host):
            ann = await node.create()
            for options in (RunOptions(background=True), RunOptions(stream_tokens=True)):
                events = await read(node, await node.send(ann, "hello", options=options))
                assert [type(event) for event in events] == [MessageEvent, FinishedEvent]

    virtual(main)


def test_a_buffer_joins_what_is_of_one_part_and_says_once_that_there_is_something() -> None:
    woken: list[int] = []
    buffer = PieceBuffer(StepId("s"), MessageId("m"), 1, lambda: woken.append(1))
    call = ToolCallDelta(part=2, call_id="c", name="n", arguments="{")
    for delta in (ReasoningDelta(part=0, text="a"), TextDelta(part=1, text="b"), TextDelta(part=1, text="c"), call):
        buffer.add(delta)
    buffer.add(ToolCallDelta(part=2, call_id="c", name=None, arguments="}"))
    assert (len(buffer), woken) == (3, [1])
    whole = ToolCallDelta(part=2, call_id="c", name="n", arguments="{}")
    assert buffer.take() == (ReasoningDelta(part=0, text="a"), TextDelta(part=1, text="bc"), whole)
    assert buffer.take() == ()
    buffer.add(TextDelta(part=3, text="x" * MESSAGE_BYTES_MAX))
    assert len(buffer) == 0, "such a message would be refused"
    assert join(TextDelta(part=0, text="a"), TextDelta(part=1, text="b")) is None
    assert join(TextDelta(part=0, text="a"), ReasoningDelta(part=0, text="b")) is None
