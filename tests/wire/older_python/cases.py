"""What programs written for the client 0.1.x do. Run by test_older_python_client.py, in a process with that client.

Its names are the older ones: `modify` for `update`, `create_stream`, sources beside folders, groups, jobs, providers.
It reads leniently, so the cases look at the values.
"""

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import letta_client
import pytest
from letta_client import Letta, MessageCreate
from letta_client.core import ApiError

MODEL = "openai/gpt-4o-mini"
client = Letta(base_url=os.environ["BASE_URL"], token="anything", timeout=60)


def word(name: str = "m") -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def say(text: str) -> list[MessageCreate]:
    return [MessageCreate(role="user", content=text)]


def texts(messages: Any) -> list[str]:
    return [one.content for one in messages if one.message_type == "assistant_message"]


@pytest.fixture
def agent() -> Iterator[Any]:
    made = client.agents.create(
        name=word("agent"), model=MODEL, embedding="kelpie/words", memory_blocks=[{"label": "human", "value": "H"}]
    )
    yield made
    client.agents.delete(made.id)


def test_it_is_the_older_client() -> None:
    assert not hasattr(letta_client, "DefaultHttpxClient")
    assert client.health.check().status == "ok"
    assert MODEL in [one.handle for one in client.models.list()]


def test_an_agent_is_changed_counted_and_listed(agent: Any) -> None:
    assert client.agents.count() >= 1
    assert client.agents.modify(agent.id, description="d", tags=["old"]).description == "d"
    assert client.agents.retrieve(agent.id).tags == ["old"]
    assert agent.id in [one.id for one in client.agents.list(tags=["old"])]
    assert [one.label for one in client.agents.core_memory.retrieve(agent.id).blocks] == ["human"]


def test_messages_are_answered_whole_streamed_and_later(agent: Any) -> None:
    said = [word() for _ in range(3)]
    reply = client.agents.messages.create(agent.id, messages=say(f"Reply with the message '{said[0]}'"))
    assert (texts(reply.messages), reply.usage.step_count) == ([said[0]], 1)
    events = list(
        client.agents.messages.create_stream(
            agent.id, messages=say(f"Reply with the message '{said[1]}'"), stream_tokens=True
        )
    )
    assert "".join(texts(events)) == said[1]
    assert [one.message_type for one in events][-2:] == ["stop_reason", "usage_statistics"]
    run = client.agents.messages.create_async(agent.id, messages=say(f"Reply with the message '{said[2]}'"))
    for _ in range(200):
        if client.runs.retrieve(run.id).status == "completed":
            break
        time.sleep(0.05)
    assert texts(client.runs.messages.list(run.id)) == [said[2]]
    assert texts(client.agents.messages.list(agent.id, limit=100))[::-1] == said


def test_blocks_are_kept_by_label_and_by_id(agent: Any) -> None:
    block = client.blocks.create(label=word("shared"), value="v")
    client.agents.blocks.attach(agent.id, block.id)
    assert client.agents.blocks.modify(agent.id, block.label, value="w").value == "w"
    assert client.blocks.retrieve(block.id).value == "w"
    assert [one.id for one in client.blocks.agents.list(block.id)] == [agent.id]
    client.agents.blocks.detach(agent.id, block.id)
    client.blocks.delete(block.id)
    with pytest.raises(ApiError) as caught:
        client.blocks.retrieve(block.id)
    assert caught.value.status_code == 404


def test_a_memory_tool_changes_a_block(agent: Any) -> None:
    fact = word("fact")
    text = f"Call the memory_insert tool with label 'human' and new_string '{fact}'"
    reply = client.agents.messages.create(agent.id, messages=say(text))
    assert [one.status for one in reply.messages if one.message_type == "tool_return_message"] == ["success"]
    assert fact in client.agents.blocks.retrieve(agent.id, "human").value
