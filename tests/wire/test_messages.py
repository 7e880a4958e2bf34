"""Messages of all agents, one message by its id, and windows that are set, reset and recompiled, by the clients."""

import json

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import ModelServer
from tests.system.talk import OPENAI, insert_into, mark, reply_with
from tests.wire.conftest import MakeAgent
from tests.wire.reading import kinds, only, user
from tests.wire.wire import Wire

NOBODY = "message-00000000-0000-4000-8000-000000000000"


def test_messages_of_all_agents_are_listed_by_time(client: Letta, make_agent: MakeAgent) -> None:
    one, two, words = make_agent(), make_agent(), [mark() for _ in range(3)]
    talk = client.conversations.create(agent_id=two.id).id
    client.agents.messages.create(one.id, messages=user(reply_with(words[0])))
    client.agents.messages.create(two.id, messages=user(reply_with(words[1])))
    list(client.conversations.messages.create(talk, messages=user(reply_with(words[2]))))
    listed = client.messages.list(limit=30, include_return_message_types=["assistant_message"])
    assert [message.content for message in listed][-3:] == words
    newest = client.messages.list(limit=1, order="desc")
    assert only(newest, "assistant_message").content == words[2]
    before = client.messages.list(limit=2, before=newest[0].id)
    assert [message.message_type for message in before] == ["assistant_message", "user_message"]
    assert client.messages.list(limit=1, after=newest[0].id) == []
    oldest = client.messages.list(limit=1, order="asc")
    assert oldest[0].date <= newest[0].date
    assert kinds(client.messages.list(conversation_id=talk)) == ["system_message", "user_message", "assistant_message"]
    client.agents.delete(two.id)
    left = client.messages.list(limit=1, include_return_message_types=["assistant_message"])
    assert [message.content for message in left] == words[:1]
    with pytest.raises(letta_client.NotFoundError):
        client.messages.list(after=NOBODY)


def test_a_message_is_read_as_its_parts(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("human", mark("fact"))))
    call = only(reply.messages, "tool_call_message")
    assert only(client.messages.retrieve(call.id), "tool_call_message") == call
    with pytest.raises(letta_client.NotFoundError, match=NOBODY):
        client.messages.retrieve(NOBODY)
    with pytest.raises(letta_client.UnprocessableEntityError):
        client.messages.retrieve("nope")
    client.agents.delete(agent.id)
    with pytest.raises(letta_client.NotFoundError):
        client.messages.retrieve(call.id)


def test_the_window_is_what_message_ids_say(
    client: Letta, make_agent: MakeAgent, models: ModelServer, wire: Wire
) -> None:
    agent, words = make_agent(OPENAI), [mark() for _ in range(3)]
    for word in words[:2]:
        client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    ids = client.agents.retrieve(agent.id).message_ids or []
    chosen = [ids[0], *ids[3:]]
    assert client.agents.update(agent.id, extra_body={"message_ids": chosen}).message_ids == chosen
    client.agents.messages.create(agent.id, messages=user(reply_with(words[2])))
    (prompt,) = models.requests(words[2])
    assert words[1] in str(prompt) and words[0] not in str(prompt)
    path = f"/v1/agents/{agent.id}"
    assert "system message" in wire.refuse("PATCH", path, 400, {"message_ids": ids[1:]})
    assert NOBODY in wire.refuse("PATCH", path, 404, {"message_ids": [ids[0], NOBODY]})
    assert "regex" in wire.refuse("PATCH", path, 422, {"message_ids": ["nope"]})


def test_the_system_prompt_is_made_anew_and_kept(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    agent = make_agent()
    client.agents.blocks.update("human", agent_id=agent.id, value="Name: Eve")

    def kept() -> str:
        return only(client.agents.messages.list(agent.id).items, "system_message").content

    assert "Eve" in client.agents.recompile(agent.id, dry_run=True) and "Eve" not in kept()
    assert json.loads(client.agents.recompile(agent.id, update_timestamp=True)) == kept()
    assert wire.post(f"/v1/agents/{agent.id}/system-prompt/recompile") == kept()
    assert "Eve" in kept()
