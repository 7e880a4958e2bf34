"""Groups by HTTP: made, changed, talking, gone; helpers in the background; a killed server goes on where they stood."""

import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from letta_client import Letta

from tests.system.server import ModelServer, running_kelpie
from tests.system.talk import create_agent, history, mark, message_body, reply_with, wait_for
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

PATH = "/v1/groups/"
NOBODY = "agent-00000000-0000-4000-8000-000000000000"
SLOW = "openai/slow-250"


def said(text: str) -> dict[str, Any]:
    """A request with one message."""
    return {"messages": [{"role": "user", "content": text}]}


def test_a_group_is_made_read_listed_changed_and_removed(wire: Wire, make_agent: MakeAgent) -> None:
    one, two, boss = make_agent(), make_agent(), make_agent()
    before = wire.get(f"{PATH}count")
    made = wire.post(PATH, {"agent_ids": [one.id, two.id], "description": "d"})
    assert (made["manager_type"], made["agent_ids"], made["max_turns"]) == ("round_robin", [one.id, two.id], None)
    assert wire.get(f"{PATH}count") == before + 1
    where = f"{PATH}{made['id']}"
    assert wire.get(where) == made
    how = {"manager_type": "dynamic", "manager_agent_id": boss.id}
    led = wire.post(PATH, {"agent_ids": [one.id], "description": "led", "manager_config": how})
    assert (led["manager_agent_id"], led["termination_token"]) == (boss.id, "DONE!")
    assert led in wire.get(PATH, manager_type="dynamic", order="desc") and made in wire.get(PATH, order="desc")
    assert [one["id"] for one in wire.get(f"/v1/agents/{one.id}/groups")] == [led["id"], made["id"]]
    assert wire.get(f"/v1/agents/{boss.id}")["managed_group"] == led
    changed = wire.patch(where, {"description": "e", "manager_config": {"manager_type": "round_robin", "max_turns": 7}})
    assert (changed["description"], changed["max_turns"]) == ("e", 7)
    assert "Cannot change group pattern" in wire.refuse("PATCH", where, 400, {"manager_config": how})
    assert wire.patch(where, {"agent_ids": [two.id]})["agent_ids"] == [two.id]
    assert NOBODY in wire.refuse("POST", PATH, 404, {"agent_ids": [NOBODY], "description": "d"})
    wire.refuse("POST", PATH, 422, {"agent_ids": [], "description": "d", "manager_config": {"manager_type": "swarm"}})
    assert wire.delete(where) == {"message": f"Group id={made['id']} successfully deleted"}
    wire.delete(f"{PATH}{led['id']}")
    wire.refuse("GET", where, 404)
    wire.refuse("DELETE", where, 404)
    assert wire.get(f"/v1/agents/{boss.id}")["managed_group"] is None


def test_a_group_shares_blocks(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    one, two = make_agent(), make_agent()
    block = client.blocks.create(label=mark("shared"), value="v")
    made = wire.post(PATH, {"agent_ids": [one.id], "description": "d"})
    where = f"{PATH}{made['id']}"
    assert wire.patch(f"{where}/blocks/attach/{block.id}") is None
    assert wire.get(where)["shared_block_ids"] == [block.id]
    wire.patch(where, {"agent_ids": [one.id, two.id]})
    assert client.agents.blocks.retrieve(block.label or "", agent_id=two.id).value == "v"
    assert wire.patch(f"{where}/blocks/detach/{block.id}") is None
    assert [one.id for one in client.blocks.agents.list(block.id)] == []
    wire.delete(where)


def test_a_group_talks(wire: Wire, make_agent: MakeAgent) -> None:
    """The members answer in their order; what was said is listed, and forgotten when that is asked for."""
    one, two = make_agent(name="One"), make_agent(name="Two")
    made = wire.post(PATH, {"agent_ids": [one.id, two.id], "description": "d"})
    where = f"{PATH}{made['id']}/messages"
    answer = wire.post(where, said(reply_with("hello")))
    assert [one["content"] for one in answer["messages"]] == ["hello", "hello"]
    assert answer["usage"]["step_count"] == 2
    events = wire.stream(f"{where}/stream", said(reply_with("again")))
    assert [one["message_type"] for one in events] == ["assistant_message"] * 2 + ["stop_reason", "usage_statistics"]
    listed = wire.get(where, order="asc", limit=50)
    assert [one["message_type"] for one in listed] == ["user_message", "assistant_message", "assistant_message"] * 2
    assert wire.get(where, limit=1)[0]["id"] == listed[-1]["id"]
    wire.refuse("PATCH", f"{where}/{listed[0]['id']}", 405, {"message_type": "user_message", "content": "x"})
    assert wire.patch(f"{PATH}{made['id']}/reset-messages") is None
    assert wire.get(where) == []


def test_a_group_is_asked_as_an_agent_is_or_says_why_not(wire: Wire, make_agent: MakeAgent) -> None:
    """What is shown can be chosen; what is one agent's to answer for is refused before anything is said."""
    where = f"{PATH}{wire.post(PATH, {'agent_ids': [make_agent().id], 'description': 'd'})['id']}/messages"
    for field, value in (
        ("override_model", "kelpie/rehearsed"),
        ("override_system", "Be brief."),
        ("client_tools", [{"name": "f", "parameters": {"type": "object", "properties": {}}}]),
        ("client_skills", [{"name": "n", "description": "d", "location": "l"}]),
        ("return_logprobs", True),
        ("return_token_ids", True),
    ):
        assert field in wire.refuse("POST", where, 400, {**said("x"), field: value})
        assert field in wire.refuse("POST", f"{where}/stream", 400, {**said("x"), field: value})
    assert wire.get(where) == []
    nothing: dict[str, Any] = {"include_return_message_types": ["tool_call_message"]}
    assert wire.post(where, {**said(reply_with("hello")), **nothing})["messages"] == []
    events = wire.stream(f"{where}/stream", {**said(reply_with("again")), **nothing})
    assert [one["message_type"] for one in events] == ["stop_reason", "usage_statistics"]


def test_a_second_agent_comes_and_goes_with_its_first(client: Letta, wire: Wire) -> None:
    """`enable_sleeptime` makes it; what the agent is given it has too; removing the agent removes it."""
    body = {"model": "kelpie/rehearsed", "enable_sleeptime": True, "memory_blocks": [{"label": "human", "value": "H"}]}
    agent = wire.post("/v1/agents/", body)
    group = agent["managed_group"]
    assert (group["manager_type"], group["sleeptime_agent_frequency"], agent["multi_agent_group"]) == (
        "sleeptime", 5, group,
    )  # fmt: skip
    (helper,) = group["agent_ids"]
    block = client.blocks.create(label=mark("new"), value="v")
    client.agents.blocks.attach(block.id, agent_id=agent["id"])
    assert block.label in [one.label for one in client.agents.blocks.list(helper)]
    assert wire.get(f"/v1/agents/{helper}/groups") == [group]
    wire.patch(f"/v1/agents/{agent['id']}", {"enable_sleeptime": False})
    assert wire.patch(f"/v1/agents/{agent['id']}", {"enable_sleeptime": True})["managed_group"]["id"] == group["id"]
    wire.delete(f"/v1/agents/{agent['id']}")
    wire.refuse("GET", f"/v1/agents/{helper}", 404)
    wire.refuse("GET", f"{PATH}{group['id']}", 404)


def test_a_talk_outlives_a_killed_server(tmp_path: Path, models: ModelServer) -> None:
    """Killed in the middle of it, several times: each agent speaks as often as the rule says, and hears all once."""
    word = mark("word")
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            one, two = (create_agent(http, model=SLOW)["id"] for _ in range(2))
            how = {"manager_type": "round_robin", "max_turns": 6}
            body = {"agent_ids": [one, two], "description": "d", "manager_config": how}
            group = http.post(PATH, json=body).json()["id"]
            with pytest.raises(httpx2.TimeoutException):
                http.post(f"{PATH}{group}/messages", json=message_body(reply_with(word)), timeout=0.3)
        for _ in range(3):
            server.kill()
            server.start()
            time.sleep(0.5)
        with server.client() as http:
            texts = wait_for(lambda: spoken(http, group), lambda seen: len(seen) >= 6, 60)
            assert len(texts) == 6 and texts[:2] == [word] * 2
            for agent in (one, two):
                heard = [
                    str(each["content"]) for each in history(http, agent) if each["message_type"] == "user_message"
                ]
                assert sum(reply_with(word) in each for each in heard) == 1, json.dumps(heard)


def spoken(http: Any, group: str) -> list[str]:
    """What the members have said in the group, oldest first."""
    answer = http.get(f"{PATH}{group}/messages", params={"order": "asc", "limit": 100})
    return [one["content"] for one in answer.json() if one["message_type"] == "assistant_message"]
