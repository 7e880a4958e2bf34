"""Windows are compacted on request in every mode, looked into, and shown as the request that a model would be sent."""

import json
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import ModelServer
from tests.system.talk import ANTHROPIC, OPENAI, REHEARSED, mark, reply_with
from tests.wire.conftest import MakeAgent
from tests.wire.reading import kinds, only, user
from tests.wire.wire import Wire

TALKS = 6


def chat(client: Letta, agent_id: str) -> list[str]:
    words = [mark() for _ in range(TALKS)]
    for word in words:
        client.agents.messages.create(agent_id, messages=user(f"{reply_with(word)} {'and more ' * 50}"))
    return words


@pytest.mark.parametrize("mode", ["sliding_window", "all", "self_compact_sliding_window", "self_compact_all"])
def test_a_window_is_compacted_in_any_mode(
    client: Letta, make_agent: MakeAgent, models: ModelServer, mode: str
) -> None:
    agent = make_agent(OPENAI)
    words, told = chat(client, agent.id), mark("told")
    settings: Any = {"mode": mode, "prompt": f"Take notes, {told}", "prompt_acknowledgement": True}
    done = client.agents.messages.compact(agent.id, compaction_settings=settings)
    window = client.agents.retrieve(agent.id).message_ids or []
    assert (done.num_messages_before, done.num_messages_after) == (1 + 2 * TALKS, len(window))
    assert len(window) == 2 if "all" in mode else 2 < len(window) < 1 + 2 * TALKS
    summary = only(client.messages.retrieve(window[1]), "summary_message")
    assert (summary.summary, summary.run_id) == (done.summary, None)
    stats = summary.compaction_stats
    assert (stats.trigger, stats.messages_count_before, stats.messages_count_after) == (
        "requested",
        done.num_messages_before,
        done.num_messages_after,
    )
    assert stats.context_tokens_after < stats.context_tokens_before < stats.context_window
    (asked,) = models.requests(told)
    assert words[0] in str(asked)
    assert ("tools" in asked) == mode.startswith("self_compact"), "its own model is shown what it was shown before"
    after = mark()
    client.agents.messages.create(agent.id, messages=user(reply_with(after)))
    (prompt,) = models.requests(after)
    assert json.dumps(done.summary)[1:-1] in json.dumps(prompt) and reply_with(words[0]) not in str(prompt)


def test_a_conversation_is_compacted_by_itself(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent(REHEARSED)
    talk = client.conversations.create(agent_id=agent.id).id
    with pytest.raises(letta_client.BadRequestError, match="too few messages"):
        client.conversations.messages.compact(talk)
    for word in ("one", "two", "three"):
        list(client.conversations.messages.create(talk, messages=user(reply_with(word))))
    settings: Any = {"mode": "all", "clip_chars": 20, "model": "nobody/has-it"}
    done = client.conversations.messages.compact(talk, compaction_settings=settings)
    assert (done.num_messages_before, done.num_messages_after) == (7, 2)
    assert "clipped" in done.summary or len(done.summary) <= 20
    assert len(client.conversations.retrieve(talk).in_context_message_ids or []) == 2
    assert len(client.agents.retrieve(agent.id).message_ids or []) == 1
    assert kinds(client.conversations.messages.list(talk, limit=1).items) == ["summary_message"]
    with pytest.raises(letta_client.BadRequestError, match="too few messages"):
        client.conversations.messages.compact("default", agent_id=agent.id)


def test_who_asks_is_told_of_a_compaction_in_a_turn(make_agent: MakeAgent, wire: Wire) -> None:
    """By HTTP: the client's own streams know no such events."""
    agent = make_agent(OPENAI, include_base_tools=False, context_window_limit=4_000)
    asked: Any = {"include_compaction_messages": True, "streaming": True, "background": True}
    for at in range(30):
        body = {"messages": user(f"{reply_with(str(at))} {'and so on ' * 200}"), **asked}
        stream = wire.stream(f"/v1/agents/{agent.id}/messages", body)
        told = [one["message_type"] for one in stream]
        if "summary_message" in told:
            break
    assert told == ["ping", "event_message", "summary_message", "assistant_message", "stop_reason", "usage_statistics"]
    event, summary = stream[1], stream[2]
    assert (event["event_type"], event["event_data"]["trigger"]) == ("compaction", "context_window_exceeded")
    stats = summary["compaction_stats"]
    assert stats["messages_count_after"] < stats["messages_count_before"]
    assert [one["seq_id"] for one in stream[:4]] == [1, 2, 3, 4]


def test_settings_of_compaction_are_kept_and_used(client: Letta, make_agent: MakeAgent) -> None:
    settings: Any = {"mode": "all", "model": "letta/auto", "clip_chars": None, "sliding_window_percentage": 0.5}
    agent = make_agent(compaction_settings=settings)
    shown = agent.compaction_settings
    assert (shown.mode, shown.model, shown.clip_chars, shown.sliding_window_percentage) == (
        "all",
        "letta/auto",
        None,
        0.5,
    )
    chat(client, agent.id)
    assert client.agents.messages.compact(agent.id).num_messages_after == 2


def test_the_context_window_is_told_part_by_part(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    agent = make_agent(system="Be kind.")
    client.agents.messages.create(agent.id, messages=user(reply_with("x")))
    talk = client.conversations.create(agent_id=agent.id).id
    told = wire.get(f"/v1/agents/{agent.id}/context")
    assert (told["num_messages"], told["num_recall_memory"], told["num_archival_memory"]) == (3, 3, 0)
    assert told["system_prompt"] == "Be kind." and "Name: Ada" in told["core_memory"]
    assert [one["role"] for one in told["messages"]] == ["system", "user", "assistant"]
    names = [one["function"]["name"] for one in told["functions_definitions"]]
    assert "memory_insert" in names and told["num_tokens_functions_definitions"] > 0
    assert told["summary_memory"] is None and told["context_window_size_current"] < told["context_window_size_max"]
    assert wire.get(f"/v1/agents/{agent.id}/context", conversation_id=talk)["num_messages"] == 1
    client.agents.messages.compact(agent.id, compaction_settings={"mode": "all"})
    assert wire.get(f"/v1/agents/{agent.id}/context")["summary_memory"]
    assert "not found" in wire.refuse("GET", "/v1/agents/agent-00000000-0000-4000-8000-000000000000/context", 404)


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC, REHEARSED])
def test_a_request_is_shown_and_not_sent(
    client: Letta, make_agent: MakeAgent, models: ModelServer, wire: Wire, model: str
) -> None:
    agent, said, asked = make_agent(model), mark(), mark()
    talk = client.conversations.create(agent_id=agent.id, model=OPENAI).id
    client.agents.messages.create(agent.id, messages=user(reply_with(said)))
    before = len(models.requests())
    body = {"messages": user(asked)}
    shown = wire.post(f"/v1/agents/{agent.id}/messages/preview-raw-payload", body)
    assert shown["model"] == model.partition("/")[2]
    text = json.dumps(shown)
    assert said in text and "Name: Ada" in text and "memory_insert" in text
    assert asked in json.dumps(shown["messages"][-1])
    shown = wire.post(f"/v1/conversations/{talk}/messages/preview-raw-payload", body)
    assert shown["model"] == OPENAI.partition("/")[2]
    assert said not in json.dumps(shown) and asked in json.dumps(shown)
    assert len(models.requests()) == before
    assert len(client.agents.retrieve(agent.id).message_ids or []) == 3
