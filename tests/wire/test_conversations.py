"""Conversations through the official client: each its own talk with the same agent; forks, streams, cancels, lists."""

import json
from collections.abc import Callable
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import ModelServer
from tests.system.talk import OPENAI, REHEARSED, insert_into, mark, reply_with, wait_for
from tests.wire.conftest import MakeAgent
from tests.wire.reading import kinds, only, user
from tests.wire.wire import Wire

MakeTalk = Callable[..., Any]


@pytest.fixture
def talk(client: Letta, make_agent: MakeAgent) -> Any:
    """A conversation of a new agent."""
    return client.conversations.create(agent_id=make_agent().id, summary="s1")


def said(client: Letta, conversation_id: str, text: str, **fields: Any) -> list[Any]:
    """The answer to a message, read to its end."""
    return list(client.conversations.messages.create(conversation_id, messages=user(text), **fields))


def test_one_is_made_read_changed_and_deleted(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    made = client.conversations.create(
        agent_id=agent.id,
        summary="s1",
        model=OPENAI,
        model_settings={"provider_type": "openai", "temperature": 0.5},
        context_window_limit=9_000,
        description="about",
        extra_body={"isolated_block_labels": ["human"]},
    )
    assert (made.agent_id, made.summary, made.description) == (agent.id, "s1", "about")
    assert (made.model, made.context_window_limit, made.archived) == (OPENAI, 9_000, False)
    assert made.api_model_settings is not None and made.api_model_settings.temperature == 0.5
    assert len(made.in_context_message_ids or []) == 1
    (isolated,) = made.to_dict()["isolated_block_ids"]
    assert client.blocks.retrieve(isolated).value == "Name: Ada"
    assert client.conversations.retrieve(made.id) == made
    changed = client.conversations.update(made.id, summary="s2", archived=True, last_message_at="2026-01-02T03:04:05Z")
    assert (changed.summary, changed.archived, changed.model) == ("s2", True, OPENAI)
    assert changed.archived_at is not None and changed.last_message_at is not None
    client.conversations.delete(made.id)
    for call in (client.conversations.retrieve, client.conversations.delete):
        with pytest.raises(letta_client.NotFoundError, match=made.id):
            call(made.id)
    with pytest.raises(letta_client.NotFoundError):
        client.blocks.retrieve(isolated)


def test_they_are_listed(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    talks = [client.conversations.create(agent_id=agent.id, summary=f"talk {at}").id for at in range(3)]
    said(client, talks[0], reply_with("x"))

    def listed(**query: Any) -> list[int]:
        return [talks.index(one.id) for one in client.conversations.list(agent_id=agent.id, **query)]

    assert listed() == [2, 1, 0]
    assert listed(order="asc", limit=2) == [0, 1]
    assert listed(after=talks[2]) == [1, 0]
    assert listed(summary_search="TALK 1") == [1]
    assert listed(order_by="last_message_at", limit=1) == listed(order_by="last_run_completion", limit=1) == [0]
    client.conversations.update(talks[1], archived=True)
    assert (listed(archive_status="archived"), listed(archive_status="all")) == ([1], [2, 1, 0])
    assert talks[2] in [one.id for one in client.conversations.list(limit=1_000)]


def test_each_has_its_own_talk_and_the_agents_memory(client: Letta, make_agent: MakeAgent, models: ModelServer) -> None:
    agent = make_agent(OPENAI)
    one, two = (client.conversations.create(agent_id=agent.id).id for _ in range(2))
    first, second, fact = mark(), mark(), mark("fact")
    said(client, one, reply_with(first))
    said(client, one, insert_into("human", fact))
    said(client, two, reply_with(second))
    (prompt,) = models.requests(second)
    assert fact in str(prompt) and first not in str(prompt)
    messages = client.conversations.messages.list(one).items
    assert kinds(messages)[-3:] == ["assistant_message", "user_message", "system_message"]
    assert [one.content for one in client.conversations.messages.list(two, order="asc", limit=2).items[1:]] == [
        reply_with(second)
    ]
    ids = [message.id for message in messages]
    assert [one.id for one in client.conversations.messages.list(one, before=ids[0], limit=1).items] == ids[1:2]
    assert [one.id for one in client.conversations.messages.list(one, after=ids[2]).items] == ids[:2]


def test_an_agents_messages_are_those_of_all_its_threads_or_of_one(client: Letta, make_agent: MakeAgent) -> None:
    agent, words = make_agent(), [mark() for _ in range(2)]
    talk = client.conversations.create(agent_id=agent.id).id
    client.agents.messages.create(agent.id, messages=user(reply_with(words[0])))
    said(client, talk, reply_with(words[1]))

    def told(**query: Any) -> list[str]:
        listed = client.agents.messages.list(agent.id, include_return_message_types=["assistant_message"], **query)
        return [one.content for one in listed.items]

    assert told() == told(order="asc") == words
    assert told(conversation_id="default") == words[:1]
    assert told(conversation_id=talk) == words[1:]
    newest = client.agents.messages.list(agent.id, limit=1).items[0]
    assert told(before=newest.id) == words[:1]
    other = client.conversations.create(agent_id=make_agent().id).id
    with pytest.raises(letta_client.NotFoundError):
        told(conversation_id=other)


def test_it_streams_unless_that_is_refused(client: Letta, talk: Any) -> None:
    word = mark()
    stream = list(client.conversations.messages.create(talk.id, messages=user(reply_with(word))))
    assert [one.message_type for one in stream] == ["ping", "assistant_message", "stop_reason", "usage_statistics"]
    assert stream[1].content == word
    run = client.runs.retrieve(stream[0].run_id)
    assert (run.conversation_id, run.status) == (talk.id, "completed")


def test_default_and_an_agents_id_mean_its_own_thread(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    agent, words = make_agent(), [mark() for _ in range(2)]
    said(client, "default", reply_with(words[0]), agent_id=agent.id)
    said(client, agent.id, reply_with(words[1]))
    for path, query in ((agent.id, {}), ("default", {"agent_id": agent.id})):
        listed = client.conversations.messages.list(path, order="asc", **query).items
        assert [one.content for one in listed if one.message_type == "assistant_message"] == words
        assert "Name: Ada" in client.conversations.recompile(path, dry_run=True, **query)
        assert client.conversations.cancel(path, **query) == {}
        assert len(client.conversations.fork(path, **query).in_context_message_ids or []) == 5
    assert len(client.agents.retrieve(agent.id).message_ids or []) == 5
    assert "agent_id" in wire.refuse("GET", "/v1/conversations/default/messages", 400)
    assert "pattern" in wire.refuse("GET", "/v1/conversations/nope/messages", 422)
    assert "pattern" in wire.refuse("GET", f"/v1/conversations/{agent.id}", 422)
    assert "required" in wire.refuse("POST", "/v1/conversations/", 422, {})


def test_a_fork_shares_messages_under_their_ids(client: Letta, talk: Any) -> None:
    said(client, talk.id, reply_with("one"))
    said(client, talk.id, reply_with("two"))
    before = [one.id for one in client.conversations.messages.list(talk.id, order="asc").items]
    fork = client.conversations.fork(talk.id, message_id=before[2])
    said(client, fork.id, reply_with("three"))
    assert [one.id for one in client.conversations.messages.list(talk.id, order="asc").items] == before
    after = [one.id for one in client.conversations.messages.list(fork.id, order="asc").items]
    assert (after[1:3], len(after)) == (before[1:3], 5)


def test_a_run_is_found_again_by_its_id_its_otid_or_because_it_runs(
    client: Letta, make_agent: MakeAgent, models: ModelServer, wire: Wire
) -> None:
    agent, word, otid = make_agent("openai/slow-20000"), mark(), mark("otid")
    talk = client.conversations.create(agent_id=agent.id)
    body = {"messages": user(reply_with(word), otid=otid), "background": True}
    with wire.http.stream("POST", f"/v1/conversations/{talk.id}/messages", json=body):
        wait_for(lambda: models.requests(word), len)
        with client.conversations.messages.stream(talk.id) as events:  # left to the collector it locks the pool up
            run_id = next(events).run_id
    assert run_id is not None
    assert client.conversations.cancel(talk.id) == {run_id: "cancelled"}
    for given in ({"run_id": run_id}, {"otid": otid}):
        again = list(client.conversations.messages.stream(talk.id, **given))
        assert [one.message_type for one in again] == ["ping", "stop_reason", "usage_statistics"]
        assert again[0].run_id == run_id
    path = f"/v1/conversations/{talk.id}/stream"
    assert wire.refuse("POST", path, 400, {}) == "INVALID_ARGUMENT: No active runs found for this conversation."
    assert "otid" in wire.refuse("POST", path, 404, {"otid": "nobody's"})


def test_a_background_stream_of_tokens_is_taken_up_at_any_number(
    client: Letta, make_agent: MakeAgent, models: ModelServer
) -> None:
    agent, word = make_agent("openai/drip-40"), mark()
    talk = client.conversations.create(agent_id=agent.id)
    asked = {"messages": user(reply_with(f"{word} in many pieces")), "background": True, "stream_tokens": True}
    seen = list(client.conversations.messages.create(talk.id, **asked))
    pieces = [one for one in seen if one.message_type == "assistant_message"]
    assert len(pieces) > 1 and len({one.id for one in pieces}) == 1
    assert "".join(one.content for one in pieces) == f"{word} in many pieces"
    numbered = [one for one in seen if getattr(one, "seq_id", None) is not None]
    assert [one.seq_id for one in numbered] == list(range(1, len(numbered) + 1))
    rest = list(client.runs.messages.stream(seen[0].run_id, starting_after=2))
    assert rest == seen[2:]
    assert list(client.conversations.messages.stream(talk.id, run_id=seen[0].run_id, starting_after=2)) == seen[2:]


def test_a_deleted_agent_takes_its_conversations_along(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent(REHEARSED)
    talk = client.conversations.create(agent_id=agent.id).id
    said(client, talk, reply_with("x"))
    client.agents.delete(agent.id)
    with pytest.raises(letta_client.NotFoundError):
        client.conversations.retrieve(talk)
    with pytest.raises(letta_client.NotFoundError):
        client.conversations.create(agent_id=agent.id)
    assert talk not in [one.id for one in client.conversations.list(limit=1_000)]


def test_a_prompt_is_made_anew_and_kept(client: Letta, talk: Any) -> None:
    client.agents.blocks.update("human", agent_id=talk.agent_id, value="Name: Eve")

    def kept() -> str:
        return only(client.conversations.messages.list(talk.id).items, "system_message").content

    assert "Eve" in client.conversations.recompile(talk.id, dry_run=True)
    assert "Eve" not in kept()
    assert json.loads(client.conversations.recompile(talk.id)) == kept()
    assert "Eve" in kept()
