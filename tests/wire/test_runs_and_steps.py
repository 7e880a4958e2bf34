"""What an agent did: runs and steps, by the official client and by HTTP; and traces against what the model was sent."""

import json
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import ModelServer
from tests.system.talk import ANTHROPIC, OPENAI, REHEARSED, insert_into, mark, reply_with, wait_run
from tests.wire.conftest import MakeAgent
from tests.wire.reading import user
from tests.wire.wire import Wire

UNKNOWN_RUN = "run-00000000-0000-4000-8000-000000000000"
UNKNOWN_STEP = "step-00000000-0000-4000-8000-000000000000"
SLOW = "openai/slow-2000"


def talk(client: Letta, agent_id: str, text: str) -> str:
    """One turn; its run."""
    answer = client.agents.messages.create(agent_id, messages=user(text))
    runs = {one.run_id for one in answer.messages}
    assert len(runs) == 1
    return str(runs.pop())


def test_a_run_with_a_tool_has_two_steps(client: Letta, wire: Wire, make_agent: MakeAgent, model: str) -> None:
    """Goal: the records of one turn. Method: a memory tool and an answer, on each kind of model."""
    agent = make_agent(model)
    word = mark("tea")
    run_id = talk(client, agent.id, insert_into("human", word))
    first, second = client.runs.steps.list(run_id, order="asc")
    assert (first.status, first.stop_reason, second.status, second.stop_reason) == (
        "success", None, "success", "end_turn",
    )  # fmt: skip
    assert {first.run_id, second.run_id} == {run_id} and {first.agent_id, second.agent_id} == {agent.id}
    assert first.to_dict()["model_handle"] == model
    assert [one.id for one in client.runs.steps.list(run_id)] == [second.id, first.id]
    assert [one.id for one in client.runs.steps.list(run_id, after=second.id)] == [first.id]
    usage = client.runs.usage.retrieve(run_id)
    assert usage.total_tokens == sum(one.total_tokens or 0 for one in (first, second)) > 0
    measured = wire.get(f"/v1/runs/{run_id}/metrics")
    tool = next(iter(client.tools.list(name="memory_insert"))).id
    assert (measured["num_steps"], measured["tools_used"], measured["agent_id"]) == (2, [tool], agent.id)
    assert measured["run_ns"] > 0
    spans = client.runs.trace.retrieve(run_id)
    assert [span["span_name"] for span in spans] == ["root", "agent_step", "tool_execution", "agent_step"]
    assert len(client.runs.trace.retrieve(run_id, limit=2)) == 2


def test_a_step_is_read_measured_and_has_its_messages(client: Letta, make_agent: MakeAgent) -> None:
    """The first step has what the client sent as well."""
    agent = make_agent()
    run_id = talk(client, agent.id, insert_into("human", mark()))
    first, second = client.runs.steps.list(run_id, order="asc")
    assert client.steps.retrieve(first.id).to_dict() == first.to_dict()
    measured = client.steps.metrics.retrieve(first.id)
    assert (measured.run_id, measured.agent_id, measured.id) == (run_id, agent.id, first.id)
    assert 0 < (measured.llm_request_ns or 0) <= (measured.step_ns or 0)
    assert (measured.tool_execution_ns or 0) > 0 and client.steps.metrics.retrieve(second.id).tool_execution_ns is None
    kinds = [one.message_type for one in client.steps.messages.list(first.id)]
    assert kinds[0] == "user_message" and kinds[-2:] == ["tool_call_message", "tool_return_message"]
    assert [one.message_type for one in client.steps.messages.list(second.id)][-1] == "assistant_message"
    whole = [one.to_dict() for one in client.runs.messages.list(run_id)]
    parts = [one.to_dict() for step in (first, second) for one in client.steps.messages.list(step.id)]
    assert whole == parts


@pytest.mark.parametrize("model", [OPENAI, ANTHROPIC])
def test_a_trace_is_what_the_model_was_sent(
    client: Letta, wire: Wire, models: ModelServer, make_agent: MakeAgent, model: str
) -> None:
    """Goal: byte for byte the request, and the reply's content. Method: the model server keeps what it was sent."""
    agent = make_agent(model)
    word = mark("trace")
    talk(client, agent.id, reply_with(mark()))
    run_id = talk(client, agent.id, insert_into("human", word))
    sent = models.requests(word)
    steps = list(client.runs.steps.list(run_id, order="asc"))
    assert len(sent) == len(steps) == 2
    for step, body in zip(steps, sent, strict=True):
        trace = client.steps.trace.retrieve(step.id)
        assert trace is not None and trace.request_json == body
        assert wire.get(f"/v1/telemetry/{step.id}") == wire.get(f"/v1/steps/{step.id}/trace")
    told = client.steps.trace.retrieve(steps[0].id)
    assert told is not None and "memory_insert" in json.dumps(told.response_json)


def test_a_trace_stays_as_it_was_when_the_agent_changes(
    client: Letta, models: ModelServer, make_agent: MakeAgent
) -> None:
    """System prompt, blocks, tools and time zone change; the trace of an older step does not."""
    agent = make_agent(OPENAI, timezone="Asia/Tokyo")
    word = mark("old")
    talk(client, agent.id, insert_into("human", mark()))
    run_id = talk(client, agent.id, reply_with(word))
    (step,) = client.runs.steps.list(run_id)
    client.agents.update(agent.id, system="Be another one.", timezone="Europe/Berlin")
    client.agents.blocks.update("human", agent_id=agent.id, value="Name: Grace")
    for tool in client.agents.tools.list(agent.id):
        client.agents.tools.detach(tool.id, agent_id=agent.id)
    talk(client, agent.id, reply_with(mark()))
    (sent,) = [body for body in models.requests(word) if word in str(body["messages"][-1])]
    trace = client.steps.trace.retrieve(step.id)
    assert trace is not None and trace.request_json == sent
    assert "JST+0900" in str(sent["messages"]), "tools tell their times as the agent's people do"


def test_a_failed_step_says_why(client: Letta, make_agent: MakeAgent) -> None:
    """The provider's words, in the step, in its trace and in the run."""
    agent = make_agent("openai/fault-400")
    with pytest.raises(letta_client.APIStatusError):
        client.agents.messages.create(agent.id, messages=user("x"))
    (run,) = client.runs.list(agent_id=agent.id)
    (step,) = client.runs.steps.list(run.id)
    assert (run.status, step.status, step.stop_reason) == ("failed", "failed", "llm_api_error")
    assert "400" in str((step.error_data or {})["message"])
    trace = client.steps.trace.retrieve(step.id)
    assert trace is not None and trace.request_json["model"] == "fault-400"
    assert "400" in json.dumps(trace.response_json)


def test_people_say_what_they_think_of_a_step(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Feedback, tags, transaction; and lists by them."""
    agent = make_agent()
    (one,) = client.runs.steps.list(talk(client, agent.id, "hi"))
    (other,) = client.runs.steps.list(talk(client, agent.id, "ho"))
    tag = mark("tag")
    assert client.steps.feedback.create(one.id, feedback="positive", tags=[tag]).feedback == "positive"
    assert client.steps.retrieve(one.id).tags == [tag]
    assert wire.patch(f"/v1/steps/{one.id}/transaction/tx-1")["tid"] == "tx-1"
    assert wire.get(f"/v1/steps/{one.id}")["tid"] == "tx-1"

    def listed(**query: Any) -> list[str]:
        return [step.id for step in client.steps.list(agent_id=agent.id, **query)]

    assert listed() == [other.id, one.id]
    assert listed(order="asc") == [one.id, other.id]
    assert [one.id for one in client.steps.list(agent_id=agent.id, limit=1).items] == [other.id]
    assert listed(after=other.id) == [one.id]
    assert listed(before=one.id) == [other.id]
    assert listed(feedback="positive") == listed(has_feedback=True) == listed(tags=[tag]) == [one.id]
    assert listed(has_feedback=False) == [other.id]
    assert listed(feedback="negative") == listed(model="nobody") == listed(trace_ids=["t"]) == []
    assert len(listed(model=REHEARSED)) == len(listed(start_date="2020-01-01T00:00:00Z")) == 2
    assert listed(end_date="2020-01-01T00:00:00-08:00") == []
    assert client.steps.feedback.create(one.id, feedback=None).feedback is None
    assert one.id in [step["id"] for step in wire.get("/v1/steps/", limit=50)]


def test_runs_of_all_agents_are_listed_and_filtered(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """With and without agents, by status, in both orders, page by page."""
    ann, bob = make_agent(), make_agent()
    runs = [talk(client, agent.id, "hi") for agent in (ann, bob, ann)]
    newest = [run.id for run in client.runs.list(limit=3)][:3]
    assert newest == runs[::-1]
    assert [run["id"] for run in wire.get("/v1/runs/", agent_id=ann.id)] == [runs[2], runs[0]]
    assert [run["id"] for run in wire.get("/v1/runs/", agent_ids=[ann.id, bob.id])] == runs[::-1]
    assert [run["id"] for run in wire.get("/v1/runs/", agent_ids=[ann.id, bob.id], order="asc", limit=2)] == runs[:2]
    assert [run["id"] for run in wire.get("/v1/runs/", agent_id=ann.id, after=runs[1])] == [runs[0]]
    assert [run["id"] for run in wire.get("/v1/runs/", after=runs[2], limit=1)] == [runs[1]]
    assert wire.get("/v1/runs/", agent_id=ann.id, statuses=["failed"]) == []
    assert len(wire.get("/v1/runs/", agent_id=ann.id, statuses=["failed", "completed"], stop_reason="end_turn")) == 2
    assert len(wire.get("/v1/runs/", agent_id=ann.id, conversation_id="default")) == 2
    assert wire.get("/v1/runs/", agent_id=ann.id, background=True) == []
    wire.refuse("GET", "/v1/runs/", 422, stop_reason="nonsense")
    wire.refuse("GET", "/v1/runs/", 422, before="nonsense")
    wire.refuse("GET", "/v1/runs/", 404, before=UNKNOWN_RUN)


def test_a_running_run_is_active_and_tells_its_pending_step(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Then it is cancelled, and its step says so."""
    agent = make_agent(SLOW)
    run = client.agents.messages.create_async(agent.id, messages=user("hi"))
    assert [one["id"] for one in wire.get("/v1/runs/active", agent_id=agent.id)] == [run.id]
    assert run.id in [one["id"] for one in wire.get("/v1/runs/active", background=True)]
    assert [one["id"] for one in wire.get("/v1/runs/", agent_id=agent.id, active=True)] == [run.id]
    (step,) = client.runs.steps.list(run.id)
    assert step.status == "pending"
    assert "cancel it first" in wire.refuse("DELETE", f"/v1/runs/{run.id}", 409)
    client.agents.messages.cancel(agent.id, run_ids=[run.id])
    assert wait_run(wire.http, run.id)["status"] == "cancelled"
    (step,) = client.runs.steps.list(run.id)
    assert (step.status, step.stop_reason) == ("cancelled", "cancelled")
    assert wire.get("/v1/runs/active", agent_id=agent.id) == []


def test_a_run_is_deleted_and_what_was_said_stays(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """With its steps; a second time it is not there."""
    agent = make_agent()
    run_id = talk(client, agent.id, "hi")
    (step,) = client.runs.steps.list(run_id)
    said = len(list(client.agents.messages.list(agent.id)))
    wire.delete(f"/v1/runs/{run_id}")
    for path in (f"/v1/runs/{run_id}", f"/v1/runs/{run_id}/steps", f"/v1/steps/{step.id}"):
        wire.refuse("GET", path, 404)
    wire.refuse("DELETE", f"/v1/runs/{run_id}", 404)
    assert wire.get("/v1/runs/", agent_id=agent.id) == wire.get("/v1/steps/", agent_id=agent.id) == []
    assert len(list(client.agents.messages.list(agent.id))) == said


def test_runs_are_found_by_steps_tools_and_duration(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """The list for dashboards."""
    agent = make_agent("openai/slow-400")
    long = talk(client, agent.id, insert_into("human", mark()))
    short = talk(client, agent.id, "hi")

    def listed(**query: Any) -> list[str]:
        return [run["id"] for run in wire.get("/v1/_internal_runs/", agent_id=agent.id, **query)]

    tool = next(iter(client.tools.list(name="memory_insert"))).id
    assert listed() == [short, long]
    assert listed(run_id=long) == listed(step_count=2) == listed(tools_used=[tool]) == [long]
    assert listed(tools_used=["memory_insert"]) == listed(step_count=2, step_count_operator="gte") == [long]
    assert listed(order_by="duration") == [long, short] == listed(order_by="duration", order="desc")
    assert listed(order_by="duration", order="asc") == [short, long]
    assert listed(duration_percentile=100) == [long]
    assert listed(duration_value=600_000_000, duration_operator="gt") == [long]
    assert listed(start_date="2020-01-01T00:00:00Z", limit=1) == [short]
    assert listed(end_date="2020-01-01T00:00:00Z") == listed(project_id="p") == listed(run_id=UNKNOWN_RUN) == []
    wire.refuse("GET", "/v1/_internal_runs/", 400, duration_value=1)
    wire.refuse("GET", "/v1/_internal_runs/", 422, start_date="yesterday")


@pytest.mark.parametrize("path", ["", "/metrics", "/trace", "/messages"])
def test_unknown_steps_and_runs_are_404_and_other_forms_422(wire: Wire, path: str) -> None:
    """Every path that names one."""
    wire.refuse("GET", f"/v1/steps/{UNKNOWN_STEP}{path}", 404)
    wire.refuse("GET", f"/v1/steps/nope{path}", 422)
    wire.refuse("GET", f"/v1/runs/{UNKNOWN_RUN}{path}", 404)
