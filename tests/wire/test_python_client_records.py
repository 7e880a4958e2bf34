"""The official Python client, unmodified, keeps agents, blocks and tools, and raises the errors it promises."""

import re
import uuid
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import ModelServer
from tests.system.talk import ANTHROPIC, OPENAI, REHEARSED, insert_into, mark, reply_with
from tests.wire.conftest import MakeAgent
from tests.wire.reading import user
from tests.wire.wire import Wire

UUID4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
UNKNOWN_AGENT = "agent-00000000-0000-4000-8000-000000000000"
UNKNOWN_BLOCK = "block-00000000-0000-4000-8000-000000000000"


def test_health_names_a_version_that_command_line_tools_accept(client: Letta) -> None:
    health = client.health()
    assert health.status == "ok"
    assert tuple(int(part) for part in health.version.split(".")[:3]) >= (0, 16, 6)


def test_models_of_every_configured_provider_are_listed(client: Letta) -> None:
    listed = {one.handle: one for one in client.models.list()}
    assert {REHEARSED, OPENAI, ANTHROPIC} <= set(listed)
    assert (listed[OPENAI].provider_type, listed[OPENAI].name) == ("openai", "gpt-4o-mini")
    assert listed[ANTHROPIC].provider_type == "anthropic"
    assert all(one.max_context_window and one.max_context_window > 0 for one in listed.values())


def test_agents_are_removed_while_the_client_goes_through_them(client: Letta, make_agent: MakeAgent) -> None:
    """The cursor of the next page is an agent that is gone by then."""
    tag = mark("doomed")
    made = {make_agent(tags=[tag]).id for _ in range(5)}
    gone = set()
    for agent in client.agents.list(tags=[tag], limit=2):
        client.agents.delete(agent.id)
        gone.add(agent.id)
    assert gone == made


def test_an_agent_is_created_with_its_blocks_and_read_back_the_same(client: Letta, make_agent: MakeAgent) -> None:
    made = make_agent(
        name="ada's", description="d", tags=["wire", "ada"], metadata={"k": [1]}, system="Be brief.", timezone="UTC"
    )
    assert re.fullmatch(f"agent-{UUID4}", made.id)
    assert (made.name, made.description, sorted(made.tags)) == ("ada's", "d", ["ada", "wire"])
    assert (made.metadata, made.system, made.model, made.timezone) == ({"k": [1]}, "Be brief.", REHEARSED, "UTC")
    blocks = {block.label: (block.value, block.limit) for block in made.blocks}
    assert blocks == {"human": ("Name: Ada", 100_000), "persona": ("Patient.", 500)}
    assert len(made.message_ids) == 1, "the system message"
    assert client.agents.retrieve(made.id).to_dict() == made.to_dict()


def test_an_agent_without_a_name_gets_one(make_agent: MakeAgent) -> None:
    assert make_agent().name


def test_include_picks_the_parts_that_are_given(client: Letta, make_agent: MakeAgent) -> None:
    made = make_agent(tags=["t"])
    with pytest.raises(letta_client.UnprocessableEntityError):
        client.agents.retrieve(made.id, include=["agent.moods"])  # type: ignore[list-item]
    tags_only = client.agents.retrieve(made.id, include=["agent.tags"])
    assert (tags_only.tags, tags_only.blocks, tags_only.tools) == (["t"], [], [])
    blocks_only = client.agents.retrieve(made.id, include=["agent.blocks"])
    assert (len(blocks_only.blocks), blocks_only.tags) == (2, [])


def test_blocks_of_an_agent_are_read_and_updated(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    assert {one.label for one in client.agents.blocks.list(agent.id)} == {"human", "persona"}
    updated = client.agents.blocks.update("human", agent_id=agent.id, value="Name: Grace")
    assert (updated.label, updated.value, updated.limit) == ("human", "Name: Grace", 100_000)
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).to_dict() == updated.to_dict()
    assert client.blocks.retrieve(updated.id).to_dict() == updated.to_dict()


def test_a_block_lives_on_its_own(client: Letta) -> None:
    label = mark("block")
    made = client.blocks.create(label=label, value="v", limit=50, description="d", tags=["t"], metadata={"a": 1})
    assert (made.label, made.value, made.limit, made.description) == (label, "v", 50, "d")
    assert (made.tags, made.metadata, made.read_only) == (["t"], {"a": 1}, False)
    changed = client.blocks.update(made.id, value="w", read_only=True)
    assert (changed.value, changed.read_only, changed.limit) == ("w", True, 50)
    assert [one.to_dict() for one in client.blocks.list(label=label)] == [changed.to_dict()]
    client.blocks.delete(made.id)
    with pytest.raises(letta_client.NotFoundError):
        client.blocks.retrieve(made.id)
    assert client.blocks.list(label=label).items == []


def test_blocks_are_attached_detached_and_shared(client: Letta, make_agent: MakeAgent) -> None:
    first, second = make_agent(), make_agent()
    shared = client.blocks.create(label=mark("shared"), value="v")
    for _ in range(2):  # attaching twice changes nothing
        answer = client.agents.blocks.attach(shared.id, agent_id=first.id)
    assert [one.id for one in answer.blocks].count(shared.id) == 1
    client.agents.blocks.attach(shared.id, agent_id=second.id)
    client.agents.blocks.update(shared.label, agent_id=first.id, value="said by the first")
    assert client.agents.blocks.retrieve(shared.label, agent_id=second.id).value == "said by the first"
    assert {one.id for one in client.blocks.agents.list(shared.id)} == {first.id, second.id}
    answer = client.agents.blocks.detach(shared.id, agent_id=first.id)
    assert shared.id not in [one.id for one in answer.blocks]
    with pytest.raises(letta_client.NotFoundError):
        client.agents.blocks.retrieve(shared.label, agent_id=first.id)
    assert client.blocks.retrieve(shared.id).value == "said by the first"


def test_an_agent_is_created_with_blocks_that_exist(client: Letta, make_agent: MakeAgent) -> None:
    block = client.blocks.create(label="project", value="Kelpie")
    agent = make_agent(memory_blocks=[], block_ids=[block.id])
    assert [(one.id, one.value) for one in agent.blocks] == [(block.id, "Kelpie")]


def test_tools_are_listed_attached_and_detached(client: Letta, make_agent: MakeAgent) -> None:
    listed = {one.name: one for one in client.tools.list(limit=100)}
    assert {"memory_insert", "memory_replace"} <= set(listed)
    insert = listed["memory_insert"]
    assert re.fullmatch(f"tool-{UUID4}", insert.id) and insert.description
    assert "new_string" in insert.json_schema["parameters"]["properties"]
    assert [one.id for one in client.tools.list(name="memory_insert")] == [insert.id]
    assert client.tools.retrieve(insert.id).name == "memory_insert"
    agent = make_agent()
    assert insert.id in [one.id for one in client.agents.tools.list(agent.id)]
    client.agents.tools.detach(insert.id, agent_id=agent.id)
    assert insert.id not in [one.id for one in client.agents.tools.list(agent.id)]
    for _ in range(2):
        client.agents.tools.attach(insert.id, agent_id=agent.id)
    assert [one.id for one in client.agents.tools.list(agent.id)].count(insert.id) == 1


def test_a_detached_tool_is_not_offered_to_the_model(client: Letta, make_agent: MakeAgent, models: ModelServer) -> None:
    agent, before, after = make_agent(OPENAI), mark(), mark()
    client.agents.messages.create(agent.id, messages=user(reply_with(before)))
    tool = client.tools.list(name="memory_insert").items[0]
    client.agents.tools.detach(tool.id, agent_id=agent.id)
    client.agents.messages.create(agent.id, messages=user(reply_with(after)))
    offered = [[tool["function"]["name"] for tool in models.requests(word)[0]["tools"]] for word in (before, after)]
    assert "memory_insert" in offered[0]
    assert offered[1] == [name for name in offered[0] if name != "memory_insert"]


def test_agents_are_listed_counted_and_filtered(client: Letta, make_agent: MakeAgent) -> None:
    both, one_tag, name = mark("both"), mark("one"), mark("name")
    count = client.get("/v1/agents/count", cast_to=int)
    ids = [
        make_agent(name=name, tags=[both, one_tag]).id,
        make_agent(name=f"{name}-b", tags=[both]).id,
        make_agent(name=f"{name}-c").id,
    ]
    assert client.get("/v1/agents/count", cast_to=int) == count + 3
    assert [one.id for one in client.agents.list(limit=2)][:3] == ids[::-1], "newest first, over pages"
    assert [one.id for one in client.agents.list(order="asc", limit=2)][-3:] == ids
    assert [one.id for one in client.agents.list(name=name)] == ids[:1]
    assert {one.id for one in client.agents.list(tags=[both])} == set(ids[:2])
    assert [one.id for one in client.agents.list(tags=[both, one_tag], match_all_tags=True)] == ids[:1]
    assert {one.id for one in client.agents.list(query_text=name)} == set(ids)


def test_an_agent_is_changed(client: Letta, make_agent: MakeAgent, models: ModelServer) -> None:
    agent, system, word = make_agent(), mark("system"), mark()
    changed = client.agents.update(
        agent.id, name="new", description="d2", tags=["x"], system=system, model=OPENAI, context_window_limit=9_000
    )
    assert (changed.name, changed.description, changed.tags, changed.system) == ("new", "d2", ["x"], system)
    assert (changed.model, changed.llm_config.context_window) == (OPENAI, 9_000)
    assert client.agents.retrieve(agent.id).to_dict() == changed.to_dict()
    client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    assert system in str(models.requests(word)[0])


def test_a_deleted_agent_is_gone(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    client.agents.messages.create(agent.id, messages=user(reply_with("x")))
    client.agents.delete(agent.id)
    for gone in (
        lambda: client.agents.retrieve(agent.id),
        lambda: client.agents.delete(agent.id),
        lambda: client.agents.messages.list(agent.id),
        lambda: client.agents.messages.create(agent.id, messages=user("x")),
        lambda: client.agents.blocks.list(agent.id),
    ):
        with pytest.raises(letta_client.NotFoundError):
            gone()
    assert agent.id not in [one.id for one in client.agents.list(limit=100)]


def test_unknown_ids_are_not_found_and_named(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    for missing, name in (
        (lambda: client.agents.retrieve(UNKNOWN_AGENT), UNKNOWN_AGENT),
        (lambda: client.blocks.retrieve(UNKNOWN_BLOCK), UNKNOWN_BLOCK),
        (lambda: client.agents.blocks.retrieve("zzz", agent_id=agent.id), "zzz"),
        (lambda: client.agents.blocks.attach(UNKNOWN_BLOCK, agent_id=agent.id), UNKNOWN_BLOCK),
        (lambda: client.agents.create(model="openai/nope-9"), "openai/nope-9"),
        (lambda: client.agents.update(agent.id, model="nobody/nope"), "nobody/nope"),
        (lambda: client.runs.retrieve(UNKNOWN_AGENT.replace("agent", "run")), "run-"),
    ):
        with pytest.raises(letta_client.NotFoundError) as caught:
            missing()
        assert name in caught.value.body["detail"]


def test_malformed_requests_are_unprocessable(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    for malformed in (
        lambda: client.agents.retrieve("nope"),
        lambda: client.blocks.retrieve("agent-1"),
        lambda: client.agents.create(model=REHEARSED, name=7),  # type: ignore[arg-type]
        lambda: client.agents.messages.create(agent.id, messages=[]),
        lambda: client.agents.messages.create(agent.id, messages=user("x"), input="y"),
        lambda: client.agents.messages.create(agent.id),
    ):
        with pytest.raises(letta_client.UnprocessableEntityError) as caught:
            malformed()
        assert caught.value.body["detail"]
    assert len(client.agents.messages.list(agent.id).items) == 1


def test_an_agent_without_a_model_is_a_bad_request(client: Letta) -> None:
    with pytest.raises(letta_client.BadRequestError) as caught:
        client.agents.create(name="x")
    assert caught.value.body["detail"].startswith("INVALID_ARGUMENT: ")


def test_agents_are_listed_by_what_happened_last(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    """Pages by the time of the last change, or of the last run: an agent that never ran is older than all that did."""
    tag = mark("order")
    a, b, c = (make_agent(tags=[tag]).id for _ in range(3))
    client.agents.messages.create(a, messages=user("hello"))
    client.agents.messages.create(c, messages=user("hello"))
    client.agents.update(b, description="changed last")

    def ids(**query: Any) -> list[str]:
        return [one.id for one in client.agents.list(tags=[tag], **query).items]

    assert ids() == [c, b, a]
    assert ids(order_by="last_run_completion") == [c, a, b]
    assert ids(order_by="last_run_completion", order="asc") == [b, a, c]
    assert ids(order_by="last_run_completion", after=c, limit=1) == [a]
    assert ids(order_by="last_run_completion", before=b) == [c, a]
    assert ids(order_by="updated_at", limit=1) == [b]
    assert [one.id for one in client.agents.list(tags=[tag], order_by="last_run_completion", limit=1)] == [c, a, b]
    assert [one["id"] for one in wire.get("/v1/agents/", tags=[tag], sort_by="last_run_completion")] == [c, a, b]
    wire.refuse("GET", "/v1/agents/", 422, order_by="mood")
    assert ids(order_by="last_run_completion", after=f"agent-{uuid.uuid4()}") == [c, a, b]


def test_what_a_block_said_before_is_listed_and_said_again(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    agent = make_agent(REHEARSED, memory_blocks=[{"label": "human", "value": "first"}])
    block = client.agents.blocks.retrieve("human", agent_id=agent.id)
    path = f"/v1/blocks/{block.id}"
    assert wire.get(f"{path}/history") == [] and "earlier value" in wire.refuse("POST", f"{path}/restore", 404)
    client.blocks.update(block.id, value="second")
    client.agents.messages.create(agent.id, messages=user(insert_into("human", mark())))
    client.blocks.update(block.id, value="third")
    told = [(one["value"], one["replaced_by"]) for one in wire.get(f"{path}/history")]
    assert told[-2:] == [("second", agent.id), ("first", None)] and told[0][0].startswith("second")
    first = wire.get(f"{path}/history")[-1]["revision"]
    assert wire.post(f"{path}/restore", {"revision": first})["value"] == "first"
    assert client.agents.blocks.retrieve("human", agent_id=agent.id).value == "first"
    assert wire.post(f"{path}/restore")["value"] == "third", "the restoring is undone like any change"
    wire.refuse("POST", f"{path}/restore", 404, {"revision": 99})
    wire.refuse("POST", f"{path}/restore", 422, {"revision": "x"})
    wire.refuse("GET", f"/v1/blocks/block-{uuid.uuid4()}/history", 404)
    wire.refuse("POST", f"/v1/blocks/block-{uuid.uuid4()}/restore", 404)
