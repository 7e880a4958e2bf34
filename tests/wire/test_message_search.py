"""Search over messages: what was said is found, with the official client where it has a method."""

import letta_client
import pytest
from letta_client import Letta

from tests.system.talk import REHEARSED, mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

NOBODY = "agent-00000000-0000-4000-8000-000000000000"


def test_what_was_said_is_found(client: Letta, make_agent: MakeAgent) -> None:
    """In every mode, of all agents or of one, within times."""
    word = mark("quokka")
    ann, bob = make_agent(), make_agent()
    for agent, text in ((ann, f"I saw a {word} today"), (ann, "the weather is fine"), (bob, f"no {word} here")):
        client.agents.messages.create(agent.id, input=text)
    for mode in ("vector", "fts", "hybrid"):
        found = client.messages.search(query=f"a {word} today", agent_id=ann.id, search_mode=mode)
        assert found[0].message_type == "user_message" and found[0].content == f"I saw a {word} today", mode
        assert (found[0].agent_id, found[0].conversation_id) == (ann.id, "default")
    said = {(one.agent_id, one.message_type) for one in client.messages.search(query=word, search_mode="fts")}
    assert {(ann.id, "user_message"), (bob.id, "user_message")} <= said
    assert client.messages.search(query=word, agent_id=ann.id, end_date="2020-01-01") == []
    assert len(client.messages.search(query=word, agent_id=ann.id, limit=1)) == 1
    assert client.messages.search(query=word, agent_id=ann.id, start_date="2020-01-01T00:00:00Z")


def test_a_search_may_be_about_one_conversation(client: Letta, make_agent: MakeAgent) -> None:
    """Of the agent's default thread, or of another; a word is found only where it was said."""
    word = mark("quokka")
    agent = make_agent()
    talk = client.conversations.create(agent_id=agent.id)
    client.conversations.messages.create(talk.id, messages=[{"role": "user", "content": word}], streaming=False)
    client.agents.messages.create(agent.id, input="something else")

    def found(conversation_id: str) -> set[str | None]:
        asked = {"query": word, "agent_id": agent.id, "conversation_id": conversation_id}
        return {one.conversation_id for one in client.messages.search(**asked)}

    assert found(talk.id) == {talk.id}
    assert found("default") == {"default"}
    assert client.messages.search(query=word, agent_id=agent.id, search_mode="fts")[0].conversation_id == talk.id


def test_messages_are_found_as_they_are_stored(wire: Wire, client: Letta, make_agent: MakeAgent) -> None:
    """With their ranks, by role; without a query the newest."""
    word = mark("quokka")
    agent = make_agent()
    client.agents.messages.create(agent.id, input=f"Reply with the message 'about the {word}'")
    path, asked = "/v1/agents/messages/search", {"query": word, "agent_id": agent.id}
    hits = wire.post(path, asked)
    assert {hit["message"]["role"] for hit in hits} == {"user", "assistant"}
    assert all(hit["rrf_score"] > 0 and hit["fts_rank"] and hit["vector_rank"] for hit in hits)
    (answered,) = wire.post(path, asked | {"roles": ["assistant"]})
    assert answered["embedded_text"] == f"about the {word}"
    assert answered["message"]["content"][0]["text"] == f"about the {word}"
    (prompt,) = wire.post(path, {"agent_id": agent.id, "roles": ["system"]})
    assert (prompt["message"]["role"], prompt["rrf_score"]) == ("system", 0.0)
    newest = wire.post(path, {"agent_id": agent.id, "limit": 1})
    assert newest[0]["message"]["role"] == "assistant"
    assert wire.post(path, asked | {"roles": []}) == []
    assert "project" in wire.refuse("POST", path, 400, asked | {"project_id": "p"})
    wire.refuse("POST", path, 422, asked | {"search_mode": "psychic"})
    wire.refuse("POST", path, 422, asked | {"limit": 101})


def test_who_is_not_there_said_nothing(client: Letta, make_agent: MakeAgent) -> None:
    """An unknown agent is not found; a conversation of somebody else holds nothing of this one."""
    with pytest.raises(letta_client.NotFoundError):
        client.messages.search(query="x", agent_id=NOBODY)
    ann, bob = make_agent(REHEARSED), make_agent(REHEARSED)
    talk = client.conversations.create(agent_id=ann.id)
    assert client.messages.search(query="x", agent_id=bob.id, conversation_id=talk.id) == []


def test_the_index_can_be_warmed(wire: Wire) -> None:
    """And says that it is ready; nothing else can be warmed."""
    warmed = wire.post("/v1/_internal_search/cache-warm", {"collection": "messages", "scope": {}})
    assert warmed == {"collection": "messages", "status": "ok", "warmed": True}
    wire.refuse("POST", "/v1/_internal_search/cache-warm", 422, {"collection": "teapots", "scope": {}})
