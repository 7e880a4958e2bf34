"""Jobs: runs in the background, by HTTP, for clients that know no others."""

from letta_client import Letta

from tests.system.talk import wait_for
from tests.wire.conftest import MakeAgent
from tests.wire.reading import user
from tests.wire.wire import Wire

UNKNOWN = "job-00000000-0000-4000-8000-000000000000"


def begun(client: Letta, agent_id: str) -> str:
    """The job of a message that is answered later."""
    run = client.agents.messages.create_async(agent_id, messages=user("hi"))
    return f"job-{run.id.removeprefix('run-')}"


def test_what_is_answered_later_is_a_job_until_it_is_deleted(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Listed in both orders, page by page; read; deleted."""
    agent = make_agent()
    client.agents.messages.create(agent.id, messages=user("no job"))
    jobs = [begun(client, agent.id) for _ in range(2)]
    for job in jobs:
        done = wait_for(lambda job=job: wire.get(f"/v1/jobs/{job}"), lambda shown: shown["status"] == "completed")
        assert (done["id"], done["agent_id"], done["stop_reason"]) == (job, agent.id, "end_turn")
        assert (done["job_type"], done["background"]) == ("run", True)
    assert [one["id"] for one in wire.get("/v1/jobs/", limit=2)] == jobs[::-1]
    assert [one["id"] for one in wire.get("/v1/jobs/", limit=1, after=jobs[1])] == [jobs[0]]
    assert [one["id"] for one in wire.get("/v1/jobs/", order="asc", after=jobs[0])] == [jobs[1]]
    assert wire.get("/v1/jobs/", source_id="source-1") == []
    assert wire.delete(f"/v1/jobs/{jobs[0]}")["id"] == jobs[0]
    wire.refuse("GET", f"/v1/jobs/{jobs[0]}", 404)


def test_a_running_job_is_active_until_it_is_cancelled(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """It is not deleted while it runs; cancelling it twice changes nothing."""
    job = begun(client, make_agent("openai/slow-2000").id)
    assert job in [one["id"] for one in wire.get("/v1/jobs/active")]
    assert job in [one["id"] for one in wire.get("/v1/jobs/", active=True)]
    wire.refuse("DELETE", f"/v1/jobs/{job}", 409)
    for _ in range(2):
        assert wire.patch(f"/v1/jobs/{job}/cancel")["status"] == "cancelled"
    assert job not in [one["id"] for one in wire.get("/v1/jobs/active", ascending=False)]


def test_only_background_runs_are_jobs(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """404 for a run that was waited for and for unknown ids, 422 for other forms."""
    agent = make_agent()
    client.agents.messages.create(agent.id, messages=user("hi"))
    (run,) = client.runs.list(agent_id=agent.id)
    for job in (UNKNOWN, f"job-{run.id.removeprefix('run-')}"):
        assert job in wire.refuse("GET", f"/v1/jobs/{job}", 404)
        wire.refuse("PATCH", f"/v1/jobs/{job}/cancel", 404)
        wire.refuse("DELETE", f"/v1/jobs/{job}", 404)
    wire.refuse("GET", f"/v1/jobs/{run.id}", 422)
    wire.refuse("GET", "/v1/jobs/", 422, after=run.id)
