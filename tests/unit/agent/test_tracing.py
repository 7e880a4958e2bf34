"""Goal: a trace is the request that was made. Method: compare with what the model was handed, step by step."""

import msgspec

from kelpie.agent.past import Past
from kelpie.agent.tracing import NOT_KEPT, trace_of
from kelpie.llm.messages import ModelRequest
from kelpie.world import World
from tests.unit.actor.build import virtual
from tests.unit.agent.build import COUNT, Node, a_node


async def requests_told(node: Node, run_id) -> list[ModelRequest]:
    """The traces of a run's requests; the models here have no wire, so they are told in our own words."""
    past = Past(node.outside.records, node.outbox, node.outside.world.entropy)
    told: list[ModelRequest] = []
    for step in await past.steps_of(await past.run(run_id)):
        trace = await trace_of(node.outside.records, step.record)
        assert trace is not None
        told.append(msgspec.json.decode(bytes(trace.request), type=ModelRequest))
    return told


def test_every_request_of_a_turn_is_told_as_it_was_made_whatever_changed_since() -> None:
    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, COUNT)
            await node.door.finish(run_id)
            made = list(node.outside.models.requests)
            await node.talk(ann, "Call the memory_insert tool with label 'human' and new_string 'x'")
            assert await requests_told(node, run_id) == made
            await node.door.reset(ann)
            assert await requests_told(node, run_id) == made

    virtual(main)


def test_what_was_too_large_to_be_kept_is_said_so(monkeypatch) -> None:
    monkeypatch.setattr("kelpie.agent.steps.SHOWN_BYTES_MAX", 10)

    async def main(world: World) -> None:
        async with a_node(world) as node:
            ann = await node.create()
            run_id = await node.send(ann, "hi")
            await node.door.finish(run_id)
            (told,) = await requests_told(node, run_id)
            (made,) = node.outside.models.requests
            assert told == msgspec.structs.replace(made, system=NOT_KEPT, tools=())

    virtual(main)
