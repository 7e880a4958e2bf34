"""Templates, with the official client: made, changed, saved, rolled back and deleted; agents made of their versions."""

from collections.abc import Iterator
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.talk import mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

NOBODY = "agent-00000000-0000-4000-8000-000000000000"
BLOCKS = [{"label": "human", "value": "Name: {{name}}, from {{ town }}"}]
TOOL = "def {name}(x: int) -> int:\n    '''Adds one.\n\n    Args:\n        x: a number\n    '''\n    return x + 1\n"


@pytest.fixture
def named(client: Letta) -> Iterator[str]:
    """The name of a template, which is deleted after the test with the agents that were made of it."""
    name = mark("template")
    yield name
    try:
        client.templates.delete(name)
    except letta_client.NotFoundError:
        pass  # the test deleted it, or never made it


@pytest.fixture
def deploy(client: Letta) -> Iterator[Any]:
    """Makes agents of a version, and deletes them after the test."""
    made: list[str] = []

    def one(version: str, **fields: Any) -> Any:
        out = client.templates.agents.create(version, **fields)
        made.extend(out.agent_ids)
        assert len(out.agent_ids) == 1 and out.group_id is None
        return client.agents.retrieve(out.agent_ids[0], include=["agent.blocks", "agent.tags", "agent.secrets"]), out

    yield one
    for agent_id in made:
        client.agents.delete(agent_id)


def value(client: Letta, agent_id: str) -> str:
    return client.agents.blocks.retrieve("human", agent_id=agent_id).value


def exported(client: Letta, make_agent: MakeAgent, text: str, **fields: Any) -> dict[str, Any]:
    """An agent file whose block says `text`."""
    agent = make_agent(memory_blocks=[{"label": "human", "value": text}], **fields)
    file: Any = client.agents.with_raw_response.export_file(agent.id).json()
    return file


def test_an_agent_becomes_a_template_and_the_template_agents(
    client: Letta, wire: Wire, make_agent: MakeAgent, named: str, deploy: Any
) -> None:
    """Variables are filled in, tags and secrets added, messages begun; what the first agent said stays with it."""
    agent = make_agent(memory_blocks=BLOCKS, system="You know {{name}} and {{nobody}}.", tags=["a"])
    client.agents.messages.create(agent.id, input="not for others")
    template = client.templates.create(type="agent", agent_id=agent.id, name=named)
    slug = f"{template.project_slug}/{named}:1"
    assert (template.name, template.latest_version, template.template_deployment_slug) == (named, "1", slug)
    identity = wire.post("/v1/identities/", {"identifier_key": mark("key"), "name": "U", "identity_type": "user"})
    opening: Any = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    made, out = deploy(
        slug,
        agent_name="Made",
        memory_variables={"name": "Ada {{town}}", "town": "Paris"},
        tags=["b", "a"],
        tool_variables={"KEY": "open sesame"},
        identity_ids=[identity["id"]],
        initial_message_sequence=opening,
    )
    assert value(client, made.id) == "Name: Ada {{town}}, from Paris", "what is filled in is not read again"
    assert (made.name, made.system, set(made.tags)) == ("Made", "You know Ada {{town}} and {{nobody}}.", {"a", "b"})
    assert [(secret.key, secret.value) for secret in made.secrets] == [("KEY", "open sesame")]
    assert (made.base_template_id, made.deployment_id) == (template.id, out.deployment_id)
    assert made.template_id == f"{template.id}:1"
    assert client.agents.retrieve(made.id, include=["agent.identities"]).identities[0].id == identity["id"]
    said = [
        (one.message_type, getattr(one, "content", None)) for one in client.agents.messages.list(made.id, order="asc")
    ]
    assert said[1:] == [("user_message", "hello"), ("assistant_message", "hi")] and said[0][0] == "system_message"
    assert "Name: Ada {{town}}" in said[0][1]
    assert "open sesame" not in client.agents.with_raw_response.export_file(made.id).text()
    assert client.agents.messages.create(made.id, input="Hello").messages
    wire.delete(f"/v1/identities/{identity['id']}")


def test_agents_of_one_template_share_nothing(client: Letta, make_agent: MakeAgent, named: str, deploy: Any) -> None:
    """Each has blocks and a name of its own; without messages there is the system message alone."""
    client.templates.create(type="agent", agent_id=make_agent(memory_blocks=BLOCKS).id, name=named)
    (one, first), (other, second) = deploy(named), deploy(f"{named}:latest")
    assert one.name != other.name and first.deployment_id != second.deployment_id
    client.agents.blocks.update("human", agent_id=one.id, value="changed")
    assert value(client, other.id) == BLOCKS[0]["value"]
    assert [message.message_type for message in client.agents.messages.list(other.id)] == ["system_message"]


def test_versions_are_saved_and_come_back(client: Letta, make_agent: MakeAgent, named: str, deploy: Any) -> None:
    """A change is in the working state until it is saved; rolling back saves what was not."""
    files = [exported(client, make_agent, text) for text in ("one", "two", "three")]
    client.templates.create(type="agent_file", agent_file=files[0], name=named)
    assert client.templates.update(named, agent_file_json=files[1]).success
    assert [value(client, deploy(f"{named}:{at}")[0].id) for at in ("latest", "current")] == ["one", "two"]
    saved = client.templates.save(named, message="second")
    assert (saved.latest_version, saved.template_deployment_slug) == ("2", f"{saved.project_slug}/{named}:2")
    client.templates.update(named, agent_file_json=files[2])
    assert client.templates.rollback(named, version="1").success
    versions = ("1", "2", "3", "latest", "current")
    assert [value(client, deploy(f"{named}:{at}")[0].id) for at in versions] == ["one", "two", "three", "three", "one"]
    client.templates.update(named, agent_file_json=files[1])
    client.templates.update(named, agent_file_json=files[2], save_existing_changes=True)
    assert [value(client, deploy(f"{named}:{at}")[0].id) for at in ("4", "current")] == ["two", "three"]
    with pytest.raises(letta_client.NotFoundError, match="no version 5"):
        client.templates.agents.create(f"{named}:5")


def test_the_tools_of_a_file_are_made_with_the_template(
    client: Letta, make_agent: MakeAgent, named: str, deploy: Any
) -> None:
    """And changed only where that is asked for."""
    name = mark("tool").replace("-", "_")
    tool = client.tools.create(source_code=TOOL.format(name=name))
    file = exported(client, make_agent, "x", tool_ids=[tool.id])
    client.tools.update(tool.id, source_code=TOOL.format(name=name).replace("x + 1", "x + 2"))
    client.templates.create(type="agent_file", agent_file=file, name=named)
    assert "x + 2" in (client.tools.retrieve(tool.id).source_code or "")
    client.templates.update(named, agent_file_json=file, update_existing_tools=True)
    assert "x + 1" in (client.tools.retrieve(tool.id).source_code or "")
    assert tool.id in [one.id for one in client.agents.tools.list(deploy(named)[0].id)]
    client.tools.delete(tool.id)


def test_a_template_is_deleted_and_its_agents_stay(
    client: Letta, make_agent: MakeAgent, named: str, deploy: Any
) -> None:
    """The name is free again."""
    agent = make_agent(memory_blocks=BLOCKS)
    client.templates.create(type="agent", agent_id=agent.id, name=named)
    made, _ = deploy(named)
    assert client.templates.delete(named).success
    assert client.agents.retrieve(made.id).id == made.id
    late = (
        lambda: client.templates.delete(named),
        lambda: client.templates.save(named),
        lambda: client.templates.rollback(named, version="1"),
        lambda: client.templates.agents.create(f"{named}:latest"),
    )
    for call in late:
        with pytest.raises(letta_client.NotFoundError):
            call()
    assert client.templates.create(type="agent", agent_id=agent.id, name=named).latest_version == "1"


def test_what_cannot_be_a_template_is_refused(client: Letta, make_agent: MakeAgent, named: str) -> None:
    """With the status that says why, and nothing made."""
    agent = make_agent()
    with pytest.raises(letta_client.NotFoundError):
        client.templates.create(type="agent", agent_id=NOBODY, name=named)
    for name in ("a:1", "a/b", " "):
        with pytest.raises(letta_client.BadRequestError):
            client.templates.create(type="agent", agent_id=agent.id, name=name)
    empty: dict[str, Any] = dict.fromkeys("agents groups blocks files sources tools mcp_servers".split(), [])
    with pytest.raises(letta_client.BadRequestError, match="no agent"):
        client.templates.create(type="agent_file", agent_file=empty, name=named)
    client.templates.create(type="agent", agent_id=agent.id, name=named)
    with pytest.raises(letta_client.ConflictError):
        client.templates.create(type="agent", agent_id=agent.id, name=named)
    for version in ("current", "dev", "first"):
        with pytest.raises(letta_client.BadRequestError):
            client.templates.rollback(named, version=version)
    assert client.templates.save(named, preserve_core_memories_on_migration=True).latest_version == "2"
