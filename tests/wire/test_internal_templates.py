"""The hosted service's own paths for templates: what is made by them belongs to a deployment, and goes with it."""

from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.talk import REHEARSED, mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

PATH = "/v1/_internal_templates"


def of(deployment: str, **fields: Any) -> dict[str, Any]:
    return {"template_id": "t", "base_template_id": "b", "deployment_id": deployment, **fields}


def test_a_deployment_is_made_listed_and_deleted(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Agent, blocks and group of it go; an agent that is only a member of the group stays, and so does another's."""
    deployment, other = mark("deployment"), mark("deployment")
    block = wire.post(f"{PATH}/blocks", of(deployment, entity_id="e1", label="notes", value="x", project_id="p"))
    many = [of(deployment, entity_id=f"m{at}", label="notes", value=str(at)) for at in range(2)]
    blocks = [block, *wire.post(f"{PATH}/blocks/batch", many)]
    stays = wire.post(f"{PATH}/blocks", of(other, entity_id="e1", label="human", value="y"))
    asked = of(deployment, entity_id="e2", name="Made", model=REHEARSED, block_ids=[block["id"]], description="d")
    agent = wire.post(f"{PATH}/agents", asked)
    member = make_agent()
    said = of(deployment, agent_ids=[agent["id"], member.id], description="talk")
    group = wire.post(f"{PATH}/groups", said)
    for one in (*blocks, agent, group):
        assert (one["template_id"], one["base_template_id"], one["deployment_id"]) == ("t", "b", deployment)
    assert (block["entity_id"], agent["entity_id"]) == ("e1", "e2")
    listed = wire.get(f"{PATH}/deployment/{deployment}")
    assert [one["id"] for one in listed["entities"]] == [one["id"] for one in (*blocks, agent, group)]
    assert (listed["total_count"], listed["deployment_id"]) == (5, deployment)
    first = {"id": block["id"], "type": "block", "name": "notes", "description": None}
    assert listed["entities"][0] == {**first, "entity_id": "e1", "project_id": "p"}
    some = wire.get(f"{PATH}/deployment/{deployment}", entity_types=["agent", "group"])
    assert [(one["type"], one["name"]) for one in some["entities"]] == [("agent", "Made"), ("group", None)]
    gone = wire.delete(f"{PATH}/deployment/{deployment}")
    assert gone["deleted_blocks"] == [one["id"] for one in blocks]
    assert (gone["deleted_agents"], gone["deleted_groups"]) == ([agent["id"]], [group["id"]])
    assert wire.get(f"{PATH}/deployment/{deployment}")["entities"] == []
    for late in (lambda: client.agents.retrieve(agent["id"]), lambda: client.blocks.retrieve(block["id"])):
        with pytest.raises(letta_client.NotFoundError):
            late()
    assert client.agents.retrieve(member.id).id == member.id
    assert client.blocks.retrieve(stays["id"]).value == "y"
    wire.delete(f"{PATH}/deployment/{other}")


def test_what_says_not_of_which_deployment_it_is_is_refused(wire: Wire) -> None:
    """And of blocks made together none is made when one cannot be."""
    deployment = mark("deployment")
    for path, body in (("agents", {"model": REHEARSED}), ("blocks", {"label": "x", "value": "y"})):
        wire.refuse("POST", f"{PATH}/{path}", 422, body)
    good = of(deployment, entity_id="e", label="x", value="y")
    wire.refuse("POST", f"{PATH}/blocks/batch", 422, [good, {**good, "value": "z" * 20, "limit": 10}])
    assert wire.get(f"{PATH}/deployment/{deployment}")["total_count"] == 0
