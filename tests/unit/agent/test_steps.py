"""Goal: the records of steps tell what happened. Method: turns of one node in virtual time, and the pure parts."""

import pytest

from kelpie.agent.state import RunOptions, Shown
from kelpie.agent.steps import SHOWN, STEPS, StepRecord, ended, stretches
from kelpie.agent.turn import POISONED
from kelpie.ids import AgentId, RunId, StepId
from kelpie.llm.messages import Usage
from kelpie.world import World
from tests.unit.actor.build import virtual
from tests.unit.agent.build import COUNT, Node, a_node, state_of, until

RECORD = StepRecord(id=StepId("s1"), run_id=RunId("r1"), agent_id=AgentId("a1"), number=1, begun_at_us=1_000)


async def records_of(node: Node, run_id: RunId) -> list[StepRecord]:
    run = await node.door.get_run(run_id)
    founds = await node.outside.records.get_all([STEPS.at(step_id) for step_id in run.step_ids])
    assert all(founds)
    return [found.value for found in founds if found is not None]


def test_places_become_stretches() -> None:
    """Every shape of a window: empty, one piece, pieces; order is kept."""
    assert stretches([]) == ()
    assert stretches([0]) == ((0, 0),)
    assert stretches([0, 1, 2]) == ((0, 2),)
    assert stretches([0, 9, 5, 6, 7]) == ((0, 0), (9, 9), (5, 7))


@pytest.mark.parametrize(
    ("reason", "error", "status"),
    [
        (None, None, "success"),
        ("end_turn", None, "success"),
        ("max_steps", None, "success"),
        ("cancelled", None, "cancelled"),
        ("error", POISONED, "failed"),
    ],
)
def test_a_step_ends_as_its_turn_says(reason, error, status) -> None:
    """And it took no less than nothing, even when the calendar went back."""
    done = ended(RECORD, 3_000, reason, error)
    assert (done.status, done.stop_reason, done.error, done.step_ns) == (status, reason, error, 2_000_000)
    assert ended(RECORD, 0, reason, error).step_ns == 0


def test_a_turn_with_a_tool_leaves_two_records() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, COUNT)
            await node.door.finish(run_id)
            first, second = await records_of(node, run_id)
            assert (first.status, first.stop_reason, first.called, first.finish) == (
                "success", None, ("count_up",), "tool_calls",
            )  # fmt: skip
            assert (second.status, second.stop_reason, second.called) == ("success", "end_turn", ())
            assert [first.number, second.number] == [1, 2]
            assert (first.window, second.window) == (((0, 1),), ((0, 3),))
            assert (first.reply_seq, second.reply_seq) == (2, 4)
            assert first.tools_ns is not None and second.tools_ns is None
            assert first.shown == second.shown == (await state_of(node.outside, ann)).shown
            run = await node.door.get_run(run_id)
            assert first.usage.plus(second.usage) == run.usage != Usage()

    virtual(main)


def test_what_was_shown_is_kept_once_and_again_when_it_changes() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            for text in ("one", "two"):
                await node.talk(ann, text)
            records = node.outside.records
            assert len(await records.scan(SHOWN, ann, limit=10)) == 2, "a system prompt and the tools"
            before = (await state_of(node.outside, ann)).shown
            await node.talk(ann, "Call the memory_insert tool with label 'human' and new_string 'x'")
            after = (await state_of(node.outside, ann)).shown
            assert before is not None and after == Shown(after.system, before.tools) != before  # type: ignore[union-attr]
            texts = {found.last_part: found.value.text for found in await records.scan(SHOWN, ann, limit=10)}
            assert len(texts) == 3
            assert "Name: Bo" in texts[before.system] and "x" in texts[after.system]  # type: ignore[union-attr]

    virtual(main)


def test_a_step_that_is_cancelled_while_the_model_thinks_has_a_record() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            node.outside.models.delay_ms = 60_000
            run_id = await node.send(ann, "hi")
            await until(lambda: node.outside.models.open == 1)
            await node.door.cancel(ann, None)
            (record,) = await records_of(node, run_id)
            assert (record.status, record.stop_reason, record.info) == ("cancelled", "cancelled", None)

    virtual(main)


def test_a_step_whose_model_is_not_known_has_a_record_with_the_error() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, "hi", options=RunOptions(model="nobody/x"))
            await node.door.finish(run_id)
            run = await node.door.get_run(run_id)
            (record,) = await records_of(node, run_id)
            assert (record.status, record.error) == ("failed", run.error)
            assert run.error is not None and run.error.code == "not_found"

    virtual(main)
