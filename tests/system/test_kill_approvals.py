"""kill -9 around calls that wait for a client: what waits stays, an answer is taken once, an allowed call runs once.

Method: a real server, killed after each acknowledged step of the talk, and while answers are under way.
"""

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.server import KelpieServer, ModelServer, running_kelpie
from tests.system.talk import OPENAI, REHEARSED, blocks_of, create_agent, insert_into, mark, say, wait_for

WAITS = {"tool_rules": [{"type": "requires_approval", "tool_name": "memory_insert"}]}


def answer_body(call_id: str, *, approve: bool) -> dict[str, Any]:
    approval = {"type": "approval", "tool_call_id": call_id, "approve": approve}
    return {"messages": [{"type": "approval", "approvals": [approval]}]}


def restart(server: KelpieServer) -> None:
    server.kill()
    server.start()


def pending(http: httpx2.Client, agent_id: str) -> Any:
    return http.get(f"/v1/agents/{agent_id}", params={"include": "agent.pending_approval"}).json()["pending_approval"]


@pytest.mark.parametrize("model", [OPENAI, REHEARSED])
@pytest.mark.parametrize("approve", [True, False])
def test_what_waits_survives_and_is_answered_once(
    tmp_path: Path, models: ModelServer, model: str, approve: bool
) -> None:
    """Killed with the request waiting, and again behind the answer; the repeat of the answer gets the first run."""
    with running_kelpie(tmp_path, models) as server:
        fact = mark("fact")
        with server.client() as http:
            agent_id = create_agent(http, model=model, **WAITS)["id"]
            asked = say(http, agent_id, insert_into("human", fact))
        assert asked["stop_reason"]["stop_reason"] == "requires_approval"
        restart(server)
        with server.client() as http:
            waits = pending(http, agent_id)
            call_id = waits["tool_call"]["tool_call_id"]
            assert fact in waits["tool_call"]["arguments"]
            assert http.post(f"/v1/agents/{agent_id}/messages", json={"input": "hello"}).status_code == 409
            answer = answer_body(call_id, approve=approve)
            run = http.post(f"/v1/agents/{agent_id}/messages/async", json=answer)
            assert run.status_code == 200, run.text
        restart(server)
        with server.client() as http:
            again = http.post(f"/v1/agents/{agent_id}/messages", json=answer)
            assert again.status_code == 200, again.text
            assert {one["run_id"] for one in again.json()["messages"]} == {run.json()["id"]}
            done = wait_for(
                lambda: http.get(f"/v1/runs/{run.json()['id']}").json(), lambda one: one["status"] == "completed", 60
            )
            assert done["stop_reason"] == "end_turn" and pending(http, agent_id) is None
            assert blocks_of(http, agent_id)["human"].count(fact) == (1 if approve else 0)
