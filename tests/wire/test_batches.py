"""Batches of messages, by HTTP: sent at once, answered later, watched, read and cancelled."""

from typing import Any

from letta_client import Letta

from tests.system.talk import mark, reply_with, wait_for
from tests.wire.conftest import MakeAgent
from tests.wire.reading import user
from tests.wire.wire import Wire

UNKNOWN = "job-00000000-0000-4000-8000-000000000000"
UNKNOWN_AGENT = "agent-00000000-0000-4000-8000-000000000000"


def request(agent_id: str, text: str) -> dict[str, Any]:
    """One request of a batch."""
    return {"agent_id": agent_id, "messages": user(text)}


def ended(wire: Wire, batch_id: str) -> dict[str, Any]:
    """The batch once its last run has ended."""
    look = lambda: wire.get(f"/v1/messages/batches/{batch_id}")  # noqa: E731
    return wait_for(look, lambda shown: shown["status"] != "running")


def test_a_batch_is_answered_later(wire: Wire, make_agent: MakeAgent) -> None:
    """Two agents, three requests; its messages, of all and of one, in both orders, page by page."""
    ann, bob = make_agent().id, make_agent().id
    word = mark("batch")
    requests = [request(ann, reply_with(f"{word}-1")), request(bob, reply_with(f"{word}-2")), request(ann, "x")]
    made = wire.post("/v1/messages/batches", {"requests": requests})
    assert (made["job_type"], len(made["metadata"]["run_ids"])) == ("batch", 3)
    done = ended(wire, made["id"])
    assert (done["status"], done["metadata"]["completed"]) == ("completed", 3)
    assert done["completed_at"] is not None and done["total_duration_ns"] > 0
    path = f"/v1/messages/batches/{made['id']}/messages"
    said = wire.get(path, order="asc")["messages"]
    assert [one["role"] for one in said].count("assistant") == 3
    texts = [one["content"][0]["text"] for one in said if one["role"] == "assistant"]
    assert {f"{word}-1", f"{word}-2"} <= set(texts)
    assert wire.get(path)["messages"] == said[::-1]
    assert wire.get(path, agent_id=bob, order="asc")["messages"] == [one for one in said if one["agent_id"] == bob]
    assert wire.get(path, order="asc", after=said[0]["id"], limit=2)["messages"] == said[1:3]
    listed = wire.get("/v1/messages/batches", limit=1)
    assert [one["id"] for one in listed] == [made["id"]]


def test_a_batch_is_cancelled(wire: Wire, make_agent: MakeAgent) -> None:
    """What has not ended of it."""
    agent = make_agent("openai/slow-2000").id
    made = wire.post("/v1/messages/batches", {"requests": [request(agent, "a"), request(agent, "b")]})
    assert made["status"] == "running"
    wire.patch(f"/v1/messages/batches/{made['id']}/cancel")
    done = ended(wire, made["id"])
    assert (done["status"], done["metadata"]["cancelled"]) == ("cancelled", 2)


def test_a_batch_that_cannot_be_sent_whole_is_not_sent(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """The second of three is for nobody: the first is taken back."""
    agent = make_agent("openai/slow-2000").id
    requests = [request(agent, "a"), request(UNKNOWN_AGENT, "b"), request(agent, "c")]
    wire.refuse("POST", "/v1/messages/batches", 404, {"requests": requests})
    assert [run.status for run in client.runs.list(agent_id=agent)] == ["cancelled"]
    wire.refuse("POST", "/v1/messages/batches", 422, {"requests": []})
    wire.refuse("POST", "/v1/messages/batches", 400, {"requests": [request("nope", "x")]})
    wire.refuse("POST", "/v1/messages/batches", 400, {"requests": requests, "callback_url": "http://x"})


def test_a_repeat_under_the_same_key_begins_no_further_runs(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """A client that lost the answer asks again."""
    agent = make_agent().id
    body, headers = {"requests": [request(agent, "a"), request(agent, "b")]}, {"Idempotency-Key": mark("key")}
    first, second = [wire.ask("POST", "/v1/messages/batches", body, query={}, headers=headers) for _ in range(2)]
    assert first["metadata"]["run_ids"] == second["metadata"]["run_ids"]
    ended(wire, first["id"])
    assert len(list(client.runs.list(agent_id=agent))) == 2


def test_unknown_batches_are_404_and_other_forms_422(wire: Wire) -> None:
    """Every path that names one."""
    for method, path in (("GET", ""), ("GET", "/messages"), ("PATCH", "/cancel")):
        wire.refuse(method, f"/v1/messages/batches/{UNKNOWN}{path}", 404)
        wire.refuse(method, f"/v1/messages/batches/nope{path}", 422)
