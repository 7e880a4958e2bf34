"""Operations that the newest client has no method for: counts, readiness, memory as a whole, what is refused."""

import json

from letta_client import Letta

from tests.system.talk import mark
from tests.wire.conftest import BLOCKS, MakeAgent
from tests.wire.wire import Wire


def test_the_server_and_its_store_are_ready(wire: Wire) -> None:
    assert wire.get("/v1/ready/")["status"] == "ok"


def test_blocks_are_counted_by_what_they_are(client: Letta, wire: Wire) -> None:
    label = mark("counted")
    made = [client.blocks.create(label=label, value="v") for _ in range(2)]
    assert wire.get("/v1/blocks/count", label=label) == 2
    assert wire.get("/v1/blocks/count") >= 2
    for block in made:
        client.blocks.delete(block.id)
    assert wire.get("/v1/blocks/count", label=label) == 0


def test_an_agents_memory_is_read_whole(wire: Wire, make_agent: MakeAgent) -> None:
    memory = wire.get(f"/v1/agents/{make_agent().id}/core-memory")
    assert [(one["label"], one["value"]) for one in memory["blocks"]] == [
        (one["label"], one["value"]) for one in BLOCKS
    ]


def test_the_system_prompt_is_compiled_by_its_older_path_too(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    agent = make_agent(system="Be brief.")
    older = wire.post(f"/v1/agents/{agent.id}/system-prompt/recompile")
    assert older.startswith("Be brief.") and "Name: Ada" in older
    assert json.loads(client.agents.recompile(agent.id)) == older, "the client hands on the JSON text as it is"


def test_a_message_is_never_changed(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    agent = make_agent()
    (message,) = client.agents.messages.list(agent.id).items
    path = f"/v1/agents/{agent.id}/messages/{message.id}"
    said = wire.refuse("PATCH", path, 405, {"message_type": "system_message", "content": "other"})
    assert "immutable" in said
