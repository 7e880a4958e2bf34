"""What the command line tool asks of the hosted service is answered, or says why it is not there."""

import sys
from pathlib import Path

from letta_client import Letta

from tests.system.talk import REHEARSED, mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire


def test_the_catalog_has_every_model_and_one_default(client: Letta, wire: Wire) -> None:
    shown = wire.get("/v1/models/catalog")["models"]
    assert [one["handle"] for one in shown] == [one.handle for one in client.models.list()]
    assert len([one for one in shown if one["isDefault"]]) == 1
    first = next(one for one in shown if one["handle"] == REHEARSED)
    assert first["maxContextWindow"] >= first["contextWindow"] > first["maxOutputTokens"] > 0
    assert (first["id"], first["brand"], first["label"]) == (REHEARSED, "kelpie", "rehearsed")


def test_who_asks_is_the_one_user(wire: Wire) -> None:
    assert wire.get("/v1/metadata/user") == {
        "id": "user-00000000-0000-4000-8000-000000000000",
        "name": "default_user",
    }


def test_the_secrets_of_an_agent_are_given_with_their_values(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    agent = make_agent(secrets={"TOKEN": "t0", "USER": "u"})
    path = f"/v1/agents/{agent.id}/secrets"
    assert {one["key"]: one["value"] for one in wire.get(path)} == {"TOKEN": "t0", "USER": "u"}
    client.agents.update(agent.id, secrets={"TOKEN": "t1"})
    assert {one["key"]: one["value"] for one in wire.get(path)} == {"TOKEN": "t1"}
    wire.refuse("GET", "/v1/agents/agent-00000000-0000-4000-8000-000000000000/secrets", 404)


def test_the_tool_servers_of_an_agent_are_those_that_it_has_tools_of(
    client: Letta, wire: Wire, make_agent: MakeAgent
) -> None:
    program = str(Path(__file__).parents[1] / "unit" / "tools" / "tool_server.py")
    config = {"mcp_server_type": "stdio", "command": sys.executable, "args": [program, "stdio"]}
    server = client.mcp_servers.create(server_name=mark("mcp"), config=config)  # type: ignore[arg-type]
    try:
        tools = {one.name: one.id for one in client.mcp_servers.tools.list(server.id)}
        path = f"/v1/agents/{make_agent(tool_ids=[tools['repeat']]).id}/mcp-servers"
        assert wire.get(path) == [server.to_dict()]
        assert [one["id"] for one in wire.get(f"{path}/{server.id}/tools")] == list(tools.values())
        ran = wire.post(f"{path}/{server.id}/tools/{tools['repeat']}/run", {"args": {"text": "a", "times": 2}})
        assert (ran["status"], ran["func_return"]) == ("success", "a a")
        assert wire.get(f"/v1/agents/{make_agent().id}/mcp-servers") == []
        wire.refuse("GET", "/v1/agents/agent-00000000-0000-4000-8000-000000000000/mcp-servers", 404)
    finally:
        client.mcp_servers.delete(server.id)


def test_the_document_has_two_readable_forms(wire: Wire) -> None:
    pages = [wire.raw("GET", path, query={}) for path in ("/docs", "/redoc")]
    assert [one.status_code for one in pages] == [200, 200]
    assert pages[0].text == pages[1].text and "/v1/agents/" in pages[0].text
    assert wire.get("/openapi.json")["openapi"].startswith("3.")
    assert "Letta" in wire.raw("GET", "/", query={}).text
