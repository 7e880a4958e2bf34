"""The official Python client asks before tools run, and runs tools itself: requests, answers, refusals, streams."""

import json
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.talk import insert_into, mark, reply_with
from tests.wire.conftest import MakeAgent
from tests.wire.reading import kinds, only, user
from tests.wire.wire import Wire

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def careful_agent(client: Letta, make_agent: MakeAgent, model: str) -> Any:
    """An agent that asks before it inserts into its memory."""
    agent = make_agent(model)
    changed = client.agents.tools.update_approval("memory_insert", agent_id=agent.id, body_requires_approval=True)
    assert changed is not None
    rules = [rule.model_dump() for rule in changed.tool_rules or []]
    assert rules == [{"tool_name": "memory_insert", "prompt_template": None, "type": "requires_approval"}]
    return agent


def answer_of(*calls: str, approve: bool, **more: Any) -> list[dict[str, Any]]:
    approvals = [{"type": "approval", "tool_call_id": call, "approve": approve, **more} for call in calls]
    return [{"type": "approval", "approvals": approvals}]


def value_of(client: Letta, agent_id: str) -> str:
    return client.agents.blocks.retrieve("human", agent_id=agent_id).value


def test_a_tool_is_allowed(client: Letta, make_agent: MakeAgent, model: str) -> None:
    """The turn ends with the request, which is the agent's pending one; the answer runs the tool, once."""
    agent, fact = careful_agent(client, make_agent, model), mark("fact")
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("human", fact)))
    assert (
        reply.stop_reason.stop_reason == "requires_approval" and kinds(reply.messages)[-1] == "approval_request_message"
    )
    request = only(reply.messages, "approval_request_message")
    assert (request.otid, request.tool_call) == (request.id, request.tool_calls[0])
    assert fact not in value_of(client, agent.id)
    pending = client.agents.retrieve(agent.id, include=["agent.pending_approval"]).model_dump()["pending_approval"]
    assert pending["id"] == request.id and pending["tool_calls"][0]["tool_call_id"] == request.tool_call.tool_call_id
    answer = answer_of(request.tool_call.tool_call_id, approve=True)
    done = client.agents.messages.create(agent.id, messages=answer)
    assert kinds(done.messages) == ["tool_return_message", "assistant_message"]
    assert (done.stop_reason.stop_reason, done.usage.step_count) == ("end_turn", 1)
    assert only(done.messages, "tool_return_message").step_id == request.step_id
    again = client.agents.messages.create(agent.id, messages=answer)
    assert [one.id for one in again.messages] == [one.id for one in done.messages]
    assert value_of(client, agent.id).count(fact) == 1
    listed = kinds(client.agents.messages.list(agent.id, order="asc").items)
    at = listed.index("approval_request_message")
    assert listed[at:] == [
        "approval_request_message", "approval_response_message", "tool_return_message", "assistant_message",
    ]  # fmt: skip


def test_a_tool_is_denied_with_a_reason(client: Letta, make_agent: MakeAgent, model: str) -> None:
    agent, fact = careful_agent(client, make_agent, model), mark("fact")
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("human", fact)))
    call_id = only(reply.messages, "approval_request_message").tool_call.tool_call_id
    done = client.agents.messages.create(agent.id, messages=answer_of(call_id, approve=False, reason="too private"))
    result = only(done.messages, "tool_return_message")
    assert result.status == "error" and "too private" in result.tool_return
    assert fact not in value_of(client, agent.id)
    response = only(client.agents.messages.list(agent.id).items, "approval_response_message")
    assert (response.approve, response.reason) == (False, "too private")


def test_several_calls_are_answered_at_once_and_others_wait_with_them(client: Letta, make_agent: MakeAgent) -> None:
    """In the order of the calls, those that need no leave shown as calls."""
    agent, facts = careful_agent(client, make_agent, "openai/gpt-4o-mini"), [mark("fact"), mark("fact")]
    calls = " and ".join(insert_into("human", fact) for fact in facts)
    text = f"{calls} and call the conversation_search tool with query 'x' then {reply_with('done')}"
    reply = client.agents.messages.create(agent.id, messages=user(text))
    request = only(reply.messages, "approval_request_message")
    free = only(reply.messages, "tool_call_message")
    assert [call.name for call in free.tool_calls] == ["conversation_search"]
    ids = [call.tool_call_id for call in request.tool_calls]
    approvals = [
        {"type": "approval", "tool_call_id": ids[1], "approve": True},
        {"type": "approval", "tool_call_id": ids[0], "approve": False},
    ]
    done = client.agents.messages.create(agent.id, messages=[{"type": "approval", "approvals": approvals}])
    returns = only(done.messages, "tool_return_message").tool_returns
    assert [(one.tool_call_id in ids, one.status) for one in returns] == [
        (True, "error"), (True, "success"), (False, "success"),
    ]  # fmt: skip
    assert only(done.messages, "assistant_message").content == "done"
    assert facts[1] in value_of(client, agent.id) and facts[0] not in value_of(client, agent.id)


def test_what_else_is_sent_while_a_call_waits_is_refused(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    """In the words that clients look for; cancelling lets the agent go on."""
    agent = careful_agent(client, make_agent, "kelpie/rehearsed")
    path = f"/v1/agents/{agent.id}/messages"
    early = wire.refuse("POST", path, 400, {"messages": answer_of("call_x", approve=True)})
    assert "No tool call is currently awaiting approval" in early
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("human", "x")))
    with pytest.raises(letta_client.ConflictError, match="waiting for approval") as waits:
        client.agents.messages.create(agent.id, messages=user("hello"))
    told: Any = waits.value.body
    assert told["detail"]["code"] == "PENDING_APPROVAL"
    assert told["detail"]["pending_request_id"] == reply.messages[0].id
    wrong = wire.refuse("POST", path, 400, {"messages": answer_of("call_x", approve=True)})
    assert "invalid tool call ids" in wrong.lower()
    old = {"type": "approval", "approve": True, "approval_request_id": "message-x"}
    assert "Invalid approval request ID" in wire.refuse("POST", path, 400, {"messages": [old]})
    run_id = reply.messages[0].run_id
    assert client.agents.messages.cancel(agent.id) == {run_id: "cancelled"}
    assert client.agents.retrieve(agent.id).model_dump()["pending_approval"] is None
    word = mark()
    done = client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    assert only(done.messages, "assistant_message").content == word


def test_the_older_form_of_an_answer(client: Letta, make_agent: MakeAgent) -> None:
    agent, fact = careful_agent(client, make_agent, "kelpie/rehearsed"), mark("fact")
    reply = client.agents.messages.create(agent.id, messages=user(insert_into("human", fact)))
    request = only(reply.messages, "approval_request_message")
    old = {"type": "approval", "approve": True, "approval_request_id": request.id, "reason": "go on"}
    client.agents.messages.create(agent.id, messages=[old])
    assert fact in value_of(client, agent.id)
    response = only(client.agents.messages.list(agent.id).items, "approval_response_message")
    assert (response.approve, response.approval_request_id, response.reason) == (True, request.id, "go on")


def test_a_tool_of_the_client(client: Letta, make_agent: MakeAgent, model: str) -> None:
    """Its schema goes to the model, its call comes as a request, its return is what the client says."""
    agent = make_agent(model)
    text = "Call the get_weather tool with city 'Paris'"
    reply = client.agents.messages.create(agent.id, messages=user(text), client_tools=[WEATHER])
    assert reply.stop_reason.stop_reason == "requires_approval"
    call = only(reply.messages, "approval_request_message").tool_call
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    word = mark("sunny")
    returned = {"type": "tool", "tool_call_id": call.tool_call_id, "tool_return": word, "status": "success"}
    answer = [{"type": "approval", "approvals": [{**returned, "stdout": ["warm"]}]}]
    done = client.agents.messages.create(agent.id, messages=answer, client_tools=[WEATHER])
    result = only(done.messages, "tool_return_message")
    assert (result.name, result.tool_return, result.status, result.stdout) == ("get_weather", word, "success", ["warm"])
    assert word in only(done.messages, "assistant_message").content


def test_the_other_form_of_a_client_s_return(client: Letta, make_agent: MakeAgent, wire: Wire) -> None:
    """And a picture in it."""
    agent = make_agent("openai/gpt-4o-mini")
    text = "Call the get_weather tool with city 'Paris'"
    reply = client.agents.messages.create(agent.id, messages=user(text), client_tools=[WEATHER])
    call_id = only(reply.messages, "approval_request_message").tool_call.tool_call_id
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    parts = [{"type": "text", "text": "look"}, picture]
    returned = {"type": "tool", "tool_call_id": call_id, "tool_return": parts, "status": "error"}
    done = wire.post(
        f"/v1/agents/{agent.id}/messages", {"messages": [{"type": "tool_return", "tool_returns": [returned]}]}
    )
    result = done["messages"][0]
    assert (result["tool_return"], result["status"]) == ("look", "error")
    assert result["tool_returns"][0]["tool_return"][1]["source"]["data"] == "iVBORw0KGgo="


def test_requests_are_streamed_piece_by_piece(client: Letta, make_agent: MakeAgent, model: str) -> None:
    """With the tool's name on the first piece only, under one id; then stop reason and usage, without ids."""
    agent = make_agent(model)
    options = {"streaming": True, "stream_tokens": True, "client_tools": [WEATHER]}
    text = "Call the get_weather tool with city 'Paris'"
    with client.agents.messages.create(agent.id, messages=user(text), **options) as stream:
        events = list(stream)
    pieces = [event for event in events if event.message_type == "approval_request_message"]
    assert len({piece.id for piece in pieces}) == 1 and len({piece.otid for piece in pieces}) == 1
    calls = [piece.tool_call for piece in pieces]
    assert calls[0].name == "get_weather" and all(call.name is None for call in calls[1:])
    assert json.loads("".join(call.arguments or "" for call in calls)) == {"city": "Paris"}
    assert [piece.tool_calls for piece in pieces] == calls
    assert only(events, "stop_reason").stop_reason == "requires_approval"
    assert not hasattr(only(events, "usage_statistics"), "id")
    returned = {"type": "tool", "tool_call_id": calls[0].tool_call_id, "tool_return": "sunny", "status": "success"}
    answer = [{"type": "approval", "approvals": [returned]}]
    with client.agents.messages.create(agent.id, messages=answer, **options) as stream:
        assert "tool_return_message" in kinds(stream)


def test_skills_of_the_client_are_told_to_the_model(client: Letta, make_agent: MakeAgent, models: Any) -> None:
    """For this run, not for the next one."""
    agent, skill, word = make_agent("openai/gpt-4o-mini"), mark("skill"), mark()
    skills = [{"name": skill, "description": "How to knit.", "location": "skills/knit/SKILL.md"}]
    client.agents.messages.create(agent.id, messages=user(reply_with(word)), client_skills=skills)
    system = models.requests(word)[-1]["messages"][0]["content"]
    assert f"- {skill} (skills/knit/SKILL.md): How to knit." in system
    later = mark()
    client.agents.messages.create(agent.id, messages=user(reply_with(later)))
    assert skill not in models.requests(later)[-1]["messages"][0]["content"]


def test_approval_of_a_tool_that_the_agent_has_not_got(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    with pytest.raises(letta_client.NotFoundError):
        client.agents.tools.update_approval("no_such_tool", agent_id=agent.id, body_requires_approval=True)
    changed = client.agents.tools.update_approval("memory_insert", agent_id=agent.id, body_requires_approval=False)
    assert changed is not None and changed.tool_rules == []
