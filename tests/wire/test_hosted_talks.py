"""Conversations are found by what they are called, and begun without an agent, as the command line tool asks."""

from typing import Any

from letta_client import Letta

from tests.system.talk import OPENAI, REHEARSED, mark, reply_with
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire


def test_conversations_are_found_by_what_they_are_called(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    agent, other, word = make_agent(), make_agent(), mark("needle")
    both = client.conversations.create(agent_id=agent.id, summary=f"{word} and haystack")
    described = client.conversations.create(agent_id=agent.id, summary="s", extra_body={"description": word})
    client.conversations.create(agent_id=agent.id, summary="nothing of it")
    elsewhere = client.conversations.create(agent_id=other.id, summary=word)
    found = wire.post("/v1/conversations/search", {"query": f"{word} haystacks", "agent_id": agent.id})
    assert [one["conversation"]["id"] for one in found] == [both.id, described.id]
    assert [one["embedded_text"] for one in found] == [f"{word} and haystack", word]
    assert found[0]["rrf_score"] == 1 > found[1]["rrf_score"] > 0
    by_summary = wire.post("/v1/conversations/search", {"query": word, "search_target": "summary", "limit": 2})
    assert [one["conversation"]["id"] for one in by_summary] == [elsewhere.id, both.id], "of all agents, newest first"
    assert wire.post("/v1/conversations/search", {"query": "!?", "agent_id": agent.id}) == []
    wire.refuse("POST", "/v1/conversations/search", 422, {"query": ""})


def test_a_conversation_begins_without_an_agent(client: Letta, wire: Wire) -> None:
    word = mark()
    made = wire.post("/v1/conversations/ephemeral", {"model": REHEARSED, "system": "Be brief."})
    try:
        agent = client.agents.retrieve(made["agent_id"])
        assert (agent.system, agent.hidden, agent.blocks, agent.tools) == ("Be brief.", True, [], [])
        reply = wire.post(
            f"/v1/conversations/{made['id']}/messages",
            {"messages": [{"role": "user", "content": reply_with(word)}], "streaming": False},
        )
        assert only_text(reply) == word
        wire.refuse("POST", "/v1/conversations/ephemeral", 404, {"model": "openai/nope-9", "system": ""})
    finally:
        client.agents.delete(made["agent_id"])


def test_messages_are_summed_up_by_the_model_that_there_is(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    talk, title = client.conversations.create(agent_id=make_agent().id), mark("title")
    body = {"prompt": "Give it a title.", "messages": [{"role": "user", "content": reply_with(title)}]}
    path = f"/v1/conversations/{talk.id}/summarize"
    for model in ({}, {"model": OPENAI}, {"model": "nobody/auto"}):
        assert wire.post(path, {**body, **model}) == {"summary": title}
    assert client.conversations.messages.list(talk.id).items[1:] == [], "nothing is stored"
    wire.refuse("POST", path, 422, {**body, "messages": []})


def only_text(reply: dict[str, Any]) -> str:
    """The text of the one assistant message of a reply."""
    (said,) = (one["content"] for one in reply["messages"] if one["message_type"] == "assistant_message")
    return said
