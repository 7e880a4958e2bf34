"""The paths that the hosted service called itself by do the same as the others, and hidden agents stay hidden."""

from letta_client import Letta

from tests.system.talk import mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire


def test_blocks_are_the_same_by_their_internal_paths(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    agent, label = make_agent(), mark("b")
    made = wire.post("/v1/_internal_blocks/", {"label": label, "value": "v"})
    client.agents.blocks.attach(made["id"], agent_id=agent.id)
    assert [one["id"] for one in wire.get("/v1/_internal_blocks/", label=label)] == [made["id"]]
    assert [one["id"] for one in wire.get(f"/v1/_internal_blocks/{made['id']}/agents")] == [agent.id]
    changed = wire.patch(f"/v1/_internal_agents/{agent.id}/core-memory/blocks/{label}", {"value": "w"})
    assert (changed["id"], client.blocks.retrieve(made["id"]).value) == (made["id"], "w")
    wire.delete(f"/v1/_internal_blocks/{made['id']}")
    wire.refuse("GET", f"/v1/blocks/{made['id']}", 404)


def test_hidden_agents_are_neither_listed_nor_counted_unless_asked_for(
    client: Letta, wire: Wire, make_agent: MakeAgent
) -> None:
    counts = [wire.get("/v1/agents/count"), wire.get("/v1/_internal_agents/count")]
    hidden, tag = make_agent(hidden=True, tags=["t"]).id, mark("tag")
    shown = make_agent(tags=[tag]).id
    assert [wire.get("/v1/agents/count"), wire.get("/v1/_internal_agents/count")] == [one + 1 for one in counts]
    every = wire.get("/v1/_internal_agents/count", exclude_hidden=False)
    assert every == wire.get("/v1/agents/count", show_hidden_agents=True) > counts[0] + 1
    listed = [one.id for one in client.agents.list(limit=5).items]
    assert shown in listed and hidden not in listed
    assert hidden in [one["id"] for one in wire.get("/v1/agents/", limit=5, show_hidden_agents=True)]
    assert client.agents.retrieve(hidden).hidden is True
