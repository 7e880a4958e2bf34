"""Identities by HTTP, and by the official client where it has a method: whose agents and blocks are whose."""

from typing import Any

from letta_client import Letta

from tests.system.talk import mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

PATH = "/v1/identities/"
NOBODY = "identity-00000000-0000-4000-8000-000000000000"


def identity(wire: Wire, **fields: Any) -> dict[str, Any]:
    """A new identity of a key of its own."""
    return wire.post(PATH, {"identifier_key": mark("key"), "name": mark("name"), "identity_type": "user", **fields})


def test_an_identity_is_made_read_listed_counted_and_removed(wire: Wire) -> None:
    before = wire.get(f"{PATH}count")
    made = identity(wire, properties=[{"key": "age", "value": 7, "type": "number"}])
    assert made["agent_ids"] == made["block_ids"] == []
    assert made["properties"] == [{"key": "age", "value": 7, "type": "number"}]
    assert wire.get(f"{PATH}count") == before + 1
    assert wire.get(f"{PATH}{made['id']}") == made
    assert wire.get(PATH, identifier_key=made["identifier_key"]) == [made]
    assert wire.get(PATH, name=made["name"].upper(), identity_type="user") == [made]
    assert wire.get(PATH, name=made["name"], identity_type="org") == []
    taken = wire.refuse("POST", PATH, 409, {**made, "identity_type": "user"})
    assert f"name '{made['identifier_key']}' already exists" in taken
    assert wire.delete(f"{PATH}{made['id']}") is None
    assert "not found" in wire.refuse("GET", f"{PATH}{made['id']}", 404)
    assert "not found" in wire.refuse("DELETE", f"{PATH}{made['id']}", 404)


def test_identities_are_paged(wire: Wire) -> None:
    name = mark("page")
    ids = [identity(wire, name=name)["id"] for _ in range(3)]
    assert [one["id"] for one in wire.get(PATH, name=name, limit=2)] == ids[:0:-1]
    assert [one["id"] for one in wire.get(PATH, name=name, after=ids[1])] == ids[:1]
    assert [one["id"] for one in wire.get(PATH, name=name, order="asc", after=ids[0], before=ids[2])] == ids[1:2]


def test_an_identity_is_changed_and_upserted(wire: Wire, make_agent: MakeAgent) -> None:
    """PUT makes one that is not there; PATCH merges properties, PUT of properties replaces them."""
    key, agent = mark("key"), make_agent()
    said = {"identifier_key": key, "name": "A", "identity_type": "user"}
    made = wire.put(PATH, said)
    again = wire.put(PATH, {**said, "name": "B", "agent_ids": [agent.id]})
    assert (again["id"], again["name"], again["agent_ids"]) == (made["id"], "B", [agent.id])
    where = f"{PATH}{made['id']}"
    one, two = {"key": "a", "value": "x", "type": "string"}, {"key": "b", "value": {"c": [1]}, "type": "json"}
    assert wire.patch(where, {"properties": [one]})["properties"] == [one]
    assert wire.patch(where, {"properties": [two], "name": "C"})["properties"] == [one, two]
    assert wire.put(f"{where}/properties", [two])["properties"] == [two]
    assert wire.patch(where, {"agent_ids": []})["agent_ids"] == []
    wire.refuse("PUT", f"{where}/properties", 422, [{"key": "a", "value": True, "type": "number"}])
    wire.refuse("PATCH", f"{PATH}{NOBODY}", 404, {"name": "x"})
    wire.refuse("GET", f"{PATH}nope", 422)


def test_agents_have_identities(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Attached and detached by the official client; shown with the agent; agents are found by identity and key."""
    agent, other = make_agent(), make_agent()
    made = identity(wire)
    who, key = made["id"], made["identifier_key"]
    for _ in range(2):
        client.agents.identities.attach(who, agent_id=agent.id)
    shown = client.agents.retrieve(agent.id)
    assert (shown.identity_ids, [one.identifier_key for one in shown.identities or []]) == ([who], [key])
    assert client.agents.retrieve(agent.id, include=["agent.tags"]).identities == []
    assert [one["id"] for one in wire.get(f"{PATH}{who}/agents", include="agent.blocks")] == [agent.id]
    assert [one.id for one in client.agents.list(identity_id=who)] == [agent.id]
    assert [one.id for one in client.agents.list(identifier_keys=[key, "none"])] == [agent.id]
    assert client.agents.list(identity_id=NOBODY).items == []
    assert wire.get("/v1/agents/count", identifier_keys=key) == 1
    client.agents.identities.detach(who, agent_id=agent.id)
    assert client.agents.retrieve(agent.id).identity_ids == []
    client.agents.update(other.id, identity_ids=[who])
    assert wire.get(f"{PATH}{who}")["agent_ids"] == [other.id]
    client.agents.delete(other.id)
    assert wire.get(f"{PATH}{who}")["agent_ids"] == []
    wire.refuse("PATCH", f"/v1/agents/{agent.id}/identities/attach/{NOBODY}", 404)
    wire.refuse("PATCH", f"/v1/agents/{agent.id}/identities/attach/nope", 422)


def test_an_agent_is_made_with_identities_that_go(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Removing the identity leaves the agent, without it."""
    who = identity(wire)["id"]
    agent = make_agent(identity_ids=[who], project_id="p1")
    assert (agent.identity_ids, agent.project_id) == ([who], "p1")
    assert [one.id for one in client.agents.list(identity_id=who, project_id="p1")] == [agent.id]
    assert client.agents.list(identity_id=who, project_id="p2").items == []
    wire.delete(f"{PATH}{who}")
    assert client.agents.retrieve(agent.id).identity_ids == []


def test_blocks_belong_to_identities(client: Letta, wire: Wire) -> None:
    made = identity(wire)
    who, block = made["id"], client.blocks.create(label="mine", value="v")
    attached = wire.patch(f"/v1/blocks/{block.id}/identities/attach/{who}")
    assert attached["id"] == block.id
    assert wire.get(f"{PATH}{who}")["block_ids"] == [block.id]
    assert [one["id"] for one in wire.get(f"{PATH}{who}/blocks")] == [block.id]
    assert [one.id for one in client.blocks.list(identity_id=who)] == [block.id]
    assert [one.id for one in client.blocks.list(identifier_keys=[made["identifier_key"]])] == [block.id]
    wire.patch(f"/v1/blocks/{block.id}/identities/detach/{who}")
    assert wire.get(f"{PATH}{who}/blocks") == []
    client.blocks.delete(block.id)


def test_blocks_are_found_by_project_and_by_how_many_agents_have_them(client: Letta, make_agent: MakeAgent) -> None:
    project = mark("project")
    free, used = (client.blocks.create(label="l", value="v", project_id=project) for _ in range(2))
    make_agent(memory_blocks=[], block_ids=[used.id])
    assert used.project_id == project

    def found(**query: Any) -> list[str]:
        return [one.id for one in client.blocks.list(project_id=project, **query)]

    assert found() == [free.id, used.id]
    assert found(connected_to_agents_count_eq=[1]) == found(connected_to_agents_count_gt=0) == [used.id]
    assert found(connected_to_agents_count_lt=1) == [free.id]
    assert found(order="desc") == [used.id, free.id]
