"""Agents that were made of a template become what a newer version says, with the official client; and after a kill."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import letta_client
import pytest
from letta_client import Letta

from kelpie.limits import BLOCKS_PER_AGENT_MAX, MIGRATION_AGENTS_AT_ONCE
from tests.system.server import ModelServer, running_kelpie
from tests.system.talk import REHEARSED, mark, wait_for
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

AGENTS = MIGRATION_AGENTS_AT_ONCE * 3
NOTE = "x-kelpie-note"


def blocks(**values: str) -> list[Any]:
    return [{"label": label, "value": value, "limit": 1_000} for label, value in values.items()]


def exported(client: Letta, make_agent: MakeAgent, **fields: Any) -> dict[str, Any]:
    """The file of an agent with these fields."""
    agent = make_agent(include_base_tools=False, **fields)
    file: Any = client.agents.with_raw_response.export_file(agent.id).json()
    return file


class Story:
    """A template with an agent that somebody has lived with, and its second version."""

    def __init__(self, client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
        self.client, self.make_agent, self.wire = client, make_agent, wire
        self.name = mark("template")
        first = exported(
            client, make_agent, system="One {{name}}.", memory_blocks=blocks(human="H {{name}}", persona="P", old="O"),
            tools=["conversation_search"], secrets={"KEY": "", "OLD": ""},
        )  # fmt: skip
        self.template = client.templates.create(type="agent_file", agent_file=first, name=self.name)
        identity = wire.post("/v1/identities/", {"identifier_key": mark("key"), "name": "U", "identity_type": "user"})
        self.identity_id = identity["id"]
        self.agent_id = self.deploy(
            memory_variables={"name": "Ada"}, tool_variables={"KEY": "own", "MORE": "own"}, tags=["t"],
            agent_name=mark("lived"), identity_ids=[self.identity_id],
        )  # fmt: skip
        client.agents.messages.create(self.agent_id, input="Hello")
        client.agents.blocks.update("human", agent_id=self.agent_id, value="H learned")
        client.agents.blocks.update("persona", agent_id=self.agent_id, extra_body={"preserve_on_migration": True})
        self.own = client.blocks.create(label="own", value="mine")
        client.agents.blocks.attach(self.own.id, agent_id=self.agent_id)
        second = exported(
            client, make_agent, system="Two {{name}}.", tools=["memory_insert"], secrets={"KEY": "", "NEW": ""},
            tool_rules=[{"type": "exit_loop", "tool_name": "memory_insert"}],
            model_settings={"provider_type": "openai", "temperature": 0.25},
            memory_blocks=[
                {"label": "human", "value": "H2 {{name}}", "limit": 2_000, "description": "D2"},
                *blocks(persona="P2", own="not mine", new="N {{name}}"),
            ],
        )  # fmt: skip
        client.templates.update(self.name, agent_file_json=second)

    def deploy(self, **fields: Any) -> str:
        return self.client.templates.agents.create(self.name, **fields).agent_ids[0]

    def agent(self, agent_id: str | None = None) -> Any:
        shown = ["agent.blocks", "agent.tags", "agent.secrets", "agent.tools", "agent.identities"]
        return self.client.agents.retrieve(agent_id or self.agent_id, include=shown)  # type: ignore[arg-type]

    def values(self) -> dict[str, str]:
        return {block.label: block.value for block in self.agent().blocks}

    def secrets(self) -> dict[str, str]:
        return {secret.key: secret.value for secret in self.agent().secrets}

    def save(self, **options: Any) -> Any:
        """Save and migrate; the answer, which says nothing of agents that were left."""
        answer = self.client.templates.with_raw_response.save(self.name, migrate_agents=True, **options)
        assert answer.headers.get(NOTE) is None
        return answer.parse()


@pytest.fixture
def story(client: Letta, make_agent: MakeAgent, wire: Wire) -> Iterator[Story]:
    """Its agents, block and template are deleted after the test."""
    story = Story(client, make_agent, wire)
    yield story
    for agent in list(client.agents.list(base_template_id=story.template.id)):
        client.agents.delete(agent.id)
    client.blocks.delete(story.own.id)
    wire.delete(f"/v1/identities/{story.identity_id}")
    with suppress(letta_client.NotFoundError):
        client.templates.delete(story.name)


def test_agents_become_what_the_version_says(story: Story) -> None:
    """Settings and what the template made; not what the agent said, its name, tags, identities, and other blocks."""
    before, said = story.agent(), list(story.client.agents.messages.list(story.agent_id))
    assert story.save().latest_version == "2"
    after = story.agent()
    assert (after.system, after.template_id) == ("Two Ada.", f"{story.template.id}:2")
    assert [tool.name for tool in after.tools] == ["memory_insert"]
    assert [(rule.type, rule.tool_name) for rule in after.tool_rules] == [("exit_loop", "memory_insert")]
    assert after.llm_config.temperature == 0.25
    assert story.values() == {"human": "H2 Ada", "persona": "P", "old": "O", "own": "mine", "new": "N Ada"}
    human = next(block for block in after.blocks if block.label == "human")
    assert (human.limit, human.description, human.id) == (2_000, "D2", before.blocks[0].id)
    assert story.secrets() == {"KEY": "own", "NEW": ""}
    kept = ("id", "name", "tags", "identities", "deployment_id", "entity_id", "created_at")
    assert [getattr(after, field) for field in kept] == [getattr(before, field) for field in kept]
    assert list(story.client.agents.messages.list(story.agent_id)) == said
    reply = story.client.agents.messages.create(story.agent_id, input="Hello again")
    assert reply.stop_reason.stop_reason == "end_turn"


def test_what_is_to_be_preserved_stays(story: Story) -> None:
    """Values of blocks, and secrets; what is new comes."""
    story.save(preserve_core_memories_on_migration=True, preserve_environment_variables_on_migration=True)
    assert story.values() == {"human": "H learned", "persona": "P", "old": "O", "own": "mine", "new": "N Ada"}
    assert story.agent().blocks[0].limit == 2_000
    assert story.secrets() == {"KEY": "own", "OLD": "", "MORE": "own", "NEW": ""}


def test_blocks_that_the_version_has_not_are_dropped(story: Story) -> None:
    """Where that is asked for; one that another agent has got stays there."""
    other = story.make_agent(memory_blocks=[])
    old = next(block for block in story.agent().blocks if block.label == "old")
    again = story.deploy()
    gone = next(block for block in story.agent(again).blocks if block.label == "old")
    story.client.agents.blocks.attach(old.id, agent_id=other.id)
    story.save(block_reconciliation_strategy="reconcile-all")
    assert "old" not in story.values() and story.values()["own"] == "mine"
    assert story.client.agents.blocks.retrieve("old", agent_id=other.id).id == old.id
    with pytest.raises(letta_client.NotFoundError):
        story.client.blocks.retrieve(gone.id)


def test_only_older_agents_of_the_template_are_changed(story: Story) -> None:
    """Not the agent of another template, nor one that is of the version already; nobody without being asked."""
    other = story.make_agent(system="Mine.")
    assert story.client.templates.save(story.name).latest_version == "2"
    assert story.agent().system == "One Ada."
    newer = story.deploy(memory_variables={"name": "Bob"})
    story.client.agents.update(newer, system="Changed.")
    story.wire.patch(f"/v1/agents/{story.agent_id}", {"system": "Changed, too."})
    assert story.save().latest_version == "3"
    assert [story.agent(one).system for one in (story.agent_id, newer)] == ["Two Ada.", "Two Bob."]
    assert story.client.agents.retrieve(other.id).system == "Mine."
    story.client.agents.update(newer, system="Changed.")
    story.client.templates.rollback(story.name, version="1")
    story.client.templates.save(story.name)
    assert story.agent(newer).system == "Changed."


def test_agents_that_cannot_be_changed_are_told_of(story: Story) -> None:
    """And stay as they are; the others are changed all the same."""
    full, free = story.deploy(), range(BLOCKS_PER_AGENT_MAX - 3)
    extra = [story.client.blocks.create(label=f"b{number}", value="").id for number in free]
    story.client.agents.update(full, block_ids=[*[one.id for one in story.agent(full).blocks], *extra])
    answer = story.client.templates.with_raw_response.save(story.name, migrate_agents=True)
    assert answer.headers[NOTE].startswith(f"1 agents were not changed; the first of them is {full}: blocks: ")
    assert (story.agent().system, story.agent(full).system) == ("Two Ada.", "One {{name}}.")
    for block_id in extra:
        story.client.blocks.delete(block_id)


def test_a_version_that_no_agent_can_be_of_changes_none(story: Story) -> None:
    """Here: with the version's blocks the agent would have too many. The migration ends, and says so."""
    made = [story.client.blocks.create(label=f"own-{n}", value="x").id for n in range(BLOCKS_PER_AGENT_MAX)]
    story.client.agents.update(story.agent_id, block_ids=made)
    answer = story.client.templates.with_raw_response.save(story.name, migrate_agents=True)
    assert "1 agents were not changed" in answer.headers[NOTE]
    assert f"blocks are over the limit of {BLOCKS_PER_AGENT_MAX}" in answer.headers[NOTE]
    assert story.agent().template_id == f"{story.template.id}:1"


def test_one_agent_is_migrated_by_name(story: Story) -> None:
    """To a newer version, to an older one, to another template; the paths are those of older clients."""
    path = f"/v1/agents/{story.agent_id}"
    assert story.wire.get(f"{path}/core-memory/variables") == {"variables": {"name": "Ada"}}
    bystander = story.deploy()
    story.client.templates.save(story.name)
    for version, system, human in (("2", "Two Ada.", "H learned"), ("1", "One Ada.", "H Ada")):
        body = {"to_template": f"{story.name}:{version}", "preserve_core_memories": version == "2"}
        assert story.wire.post(f"{path}/migrate", body)["success"]
        assert (story.agent().system, story.values()["human"]) == (system, human)
        assert story.agent().template_id == f"{story.template.id}:{version}"
    assert story.agent(bystander).system == "One {{name}}."
    body = {"to_template": f"{story.name}:2", "preserve_core_memories": False}
    stranger = story.make_agent(memory_blocks=blocks(human="mine"))
    assert story.wire.post(f"/v1/agents/{stranger.id}/migrate", body)["success"]
    moved = {block.label: block.value for block in story.agent(stranger.id).blocks}
    assert moved == {"human": "mine", "persona": "P2", "own": "not mine", "new": "N {{name}}"}
    assert "no version 9" in story.wire.refuse(
        "POST", f"{path}/migrate", 404, {**body, "to_template": f"{story.name}:9"}
    )
    assert "to_template" in story.wire.refuse("POST", f"{path}/migrate", 422, {})


def test_a_migration_outlives_a_killed_server(tmp_path: Path, models: ModelServer) -> None:
    """Killed while it goes on: afterwards every agent is of the new version, blocks and all."""
    with running_kelpie(tmp_path, models) as server:
        with Letta(base_url=server.url, api_key="x", max_retries=0) as client:
            files: list[Any] = []
            for text in ("one", "two"):
                agent = client.agents.create(model=REHEARSED, system=text, memory_blocks=blocks(human=text))
                files.append(client.agents.with_raw_response.export_file(agent.id).json())
            client.templates.create(type="agent_file", agent_file=files[0], name="t")
            ids = [client.templates.agents.create("t").agent_ids[0] for _ in range(AGENTS)]
            client.templates.update("t", agent_file_json=files[1])
            watched = threading.Thread(target=save, args=(client,))
            watched.start()
            with server.client() as http:
                wait_for(lambda: count(http, ids), lambda done: done > 0)
            server.kill()
            watched.join()
        server.start()
        with server.client() as http:
            wait_for(lambda: count(http, ids), lambda done: done == AGENTS)
            for agent_id in ids:
                agent = http.get(f"/v1/agents/{agent_id}").raise_for_status().json()
                assert agent["template_id"].endswith(":2")
                assert [block["value"] for block in agent["blocks"]] == ["two"]


def save(client: Letta) -> None:
    with suppress(letta_client.APIError):
        client.templates.save("t", migrate_agents=True)


def count(http: httpx2.Client, ids: list[str]) -> int:
    """How many of the agents are of the new version."""
    agents = http.get("/v1/agents/", params={"limit": 1_000}).raise_for_status().json()
    return sum(agent["id"] in ids and agent["system"] == "two" for agent in agents)
