"""Tool servers of other people: by the official client, by the older paths, and in a turn of an agent."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import letta_client
import pytest
from letta_client import Letta

from tests.system.talk import REHEARSED
from tests.wire.wire import Wire

PROGRAM = str(Path(__file__).parents[1] / "unit" / "tools" / "tool_server.py")
LOGIN_PROGRAM = str(Path(PROGRAM).with_name("login_server.py"))
STDIO: dict[str, Any] = {
    "mcp_server_type": "stdio", "command": sys.executable, "args": [PROGRAM, "stdio"], "env": {"MARK": "here"},
}  # fmt: skip
TOOLS = ["count", "repeat", "environment", "fail", "linger", "leave"]
UNKNOWN = "mcp_server-123e4567-e89b-42d3-a456-426614174000"
OLDER = {"server_name": "older", "type": "stdio", "command": sys.executable, "args": [PROGRAM, "stdio"]}


@pytest.fixture
def added(client: Letta) -> Iterator[Any]:
    """A server that is a program, with its tools, removed after the test."""
    server = client.mcp_servers.create(server_name="tests", config=STDIO)  # type: ignore[arg-type]
    yield server
    try:
        client.mcp_servers.delete(server.id)
    except letta_client.NotFoundError:
        pass  # the test removed it


@pytest.fixture
def login_server() -> Iterator[str]:
    """The URL of a tool server that wants OAuth."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, LOGIN_PROGRAM, str(port)])
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def test_a_server_is_added_with_its_tools_listed_changed_and_removed(client: Letta, added: Any) -> None:
    assert (added.server_name, added.command, added.env) == ("tests", sys.executable, {"MARK": "here"})
    assert [server.id for server in client.mcp_servers.list()] == [added.id]
    assert client.mcp_servers.retrieve(added.id) == added
    tools = client.mcp_servers.tools.list(added.id)
    assert [tool.name for tool in tools] == TOOLS
    assert {tool.tool_type for tool in tools} == {"external_mcp"}
    assert client.mcp_servers.tools.retrieve(tools[0].id, mcp_server_id=added.id).name == "count"
    changed = client.mcp_servers.update(
        added.id,
        server_name="renamed",
        config={**STDIO, "env": {"MARK": "there"}},  # type: ignore[arg-type]
    )
    assert (changed.server_name, changed.env) == ("renamed", {"MARK": "there"})  # type: ignore[union-attr]
    run = client.mcp_servers.tools.run(tools[2].id, mcp_server_id=added.id, args={"name": "MARK"})
    assert (run.status, run.func_return) == ("success", "there")
    client.mcp_servers.delete(added.id)
    assert client.mcp_servers.list() == []
    assert client.tools.list(name="repeat").items == []


def test_a_tool_is_run_and_what_is_wrong_with_a_call_is_told(client: Letta, added: Any) -> None:
    tools = {tool.name: tool.id for tool in client.mcp_servers.tools.list(added.id)}
    said = client.mcp_servers.tools.run(tools["repeat"], mcp_server_id=added.id, args={"text": "a", "times": 2})
    assert (said.status, said.func_return) == ("success", "a a")
    failed = client.mcp_servers.tools.run(tools["fail"], mcp_server_id=added.id, args={"reason": "no luck"})
    assert failed.status == "error" and "no luck" in str(failed.func_return)
    with pytest.raises(letta_client.BadRequestError, match="text"):
        client.mcp_servers.tools.run(tools["repeat"], mcp_server_id=added.id, args={})
    with pytest.raises(letta_client.InternalServerError, match="could not call"):
        client.mcp_servers.tools.run(tools["leave"], mcp_server_id=added.id)
    again = client.mcp_servers.tools.run(tools["count"], mcp_server_id=added.id)
    assert str(again.func_return).startswith("call 1 of"), "a program that ended is started again"


def test_an_agent_calls_a_tool_of_a_server(client: Letta, added: Any, make_agent: Any) -> None:
    """It is attached by id, offered to the model, called in a turn, and its answer reaches the model."""
    tool = next(tool for tool in client.mcp_servers.tools.list(added.id) if tool.name == "repeat")
    agent = make_agent(REHEARSED, tool_ids=[tool.id])
    reply = client.agents.messages.create(agent.id, input="Call the repeat tool with text 'hey' and times 3")
    returned = [message for message in reply.messages if message.message_type == "tool_return_message"]
    assert [(one.status, one.tool_return) for one in returned] == [("success", "hey hey hey")]


def test_a_refresh_says_what_it_changed(client: Letta, wire: Wire, added: Any) -> None:
    """A server that lost a tool and describes one anew; then one that has it again."""
    nothing = {"deleted": [], "updated": [], "added": [], "refused": []}
    assert wire.patch(f"/v1/mcp-servers/{added.id}/refresh") == nothing
    client.mcp_servers.update(added.id, config={**STDIO, "args": [PROGRAM, "stdio", "changed"]})  # type: ignore[arg-type]
    assert wire.patch(f"/v1/mcp-servers/{added.id}/refresh") == {**nothing, "deleted": ["fail"], "updated": ["count"]}
    assert [tool.description for tool in client.mcp_servers.tools.list(added.id)][0] == "Changed."
    client.mcp_servers.update(added.id, config=STDIO)  # type: ignore[arg-type]
    assert client.mcp_servers.refresh(added.id) == {**nothing, "added": ["fail"], "updated": ["count"]}


def test_a_server_that_does_not_answer_is_kept_and_says_so(client: Letta, wire: Wire) -> None:
    config: Any = {"mcp_server_type": "streamable_http", "server_url": "http://127.0.0.1:9/mcp", "auth_token": "t"}
    server = client.mcp_servers.create(server_name="away", config=config)
    try:
        assert client.mcp_servers.tools.list(server.id) == []
        assert "could not connect" in wire.refuse("PATCH", f"/v1/mcp-servers/{server.id}/refresh", 503)
        events = list(_events(wire, f"/v1/mcp-servers/connect/{server.id}"))
        assert [event["event"] for event in events] == ["connection_attempt", "error"]
    finally:
        client.mcp_servers.delete(server.id)


def test_what_is_wrong_with_a_server_is_refused(client: Letta, wire: Wire, added: Any) -> None:
    for config, status in [
        ({"mcp_server_type": "streamable_http", "server_url": "http://10.0.0.1/mcp"}, 400),
        ({"mcp_server_type": "streamable_http", "server_url": "not a url"}, 400),
        ({"mcp_server_type": "stdio", "args": []}, 422),
        ({"mcp_server_type": "carrier_pigeon"}, 422),
        ({"mcp_server_type": "stdio", "command": "x", "args": [], "colour": 1}, 422),
    ]:
        wire.refuse("POST", "/v1/mcp-servers/", status, {"server_name": "wrong", "config": config})
    wire.refuse("POST", "/v1/mcp-servers/", 409, {"server_name": "tests", "config": STDIO})
    wire.refuse("POST", "/v1/mcp-servers/", 400, {"server_name": " ", "config": STDIO})
    wire.refuse("GET", "/v1/mcp-servers/tests", 422)
    for method in ("GET", "DELETE"):
        wire.refuse(method, f"/v1/mcp-servers/{UNKNOWN}", 404)
    wire.refuse("GET", f"/v1/mcp-servers/{added.id}/tools/tool-123e4567-e89b-42d3-a456-426614174000", 404)


def test_the_older_paths_do_the_same_by_name(wire: Wire) -> None:
    all_servers = "/v1/tools/mcp/servers"
    assert [server["server_name"] for server in wire.put(all_servers, OLDER)] == ["older"]
    try:
        assert list(wire.get(all_servers)) == ["older"]
        offered = wire.get(f"{all_servers}/older/tools")
        assert [tool["name"] for tool in offered] == TOOLS
        assert offered[1]["inputSchema"]["required"] == ["text"]
        assert wire.post(f"{all_servers}/older/repeat")["name"] == "repeat"
        assert wire.post(f"{all_servers}/older/resync")["added"] == []
        done = wire.post(f"{all_servers}/older/tools/repeat/execute", {"args": {"text": "x"}})
        assert done == {"result": "x", "success": True}
        config = {**OLDER, "env": {"MARK": "m"}}
        assert wire.patch(f"{all_servers}/older", {"stdio_config": config})["env"] == {"MARK": "m"}
        assert "no tool" in wire.refuse("POST", f"{all_servers}/older/nothing", 400)
        wire.refuse("POST", f"{all_servers}/older/tools/nothing/execute", 404, {"args": {}})
        wire.refuse("GET", f"{all_servers}/other/tools", 404)
    finally:
        assert wire.delete(f"{all_servers}/older") == []


def test_a_server_is_tried_before_it_is_added(wire: Wire) -> None:
    tried = wire.post("/v1/tools/mcp/servers/test", {**OLDER, "server_name": "tried"})
    assert (tried["status"], [tool["name"] for tool in tried["tools"]]) == ("success", TOOLS)
    events = wire.stream("/v1/tools/mcp/servers/connect", {**OLDER, "server_name": "tried"})
    assert [event["event"] for event in events] == ["connection_attempt", "success"]
    assert wire.get("/v1/tools/mcp/servers") == {}


def test_a_person_logs_in_once(client: Letta, wire: Wire, login_server: str) -> None:
    """Connecting tells the login page; the browser comes back; the tools are there, now and for later calls."""
    config = {"server_name": "behind", "type": "streamable_http", "server_url": login_server}
    assert wire.put("/v1/tools/mcp/servers", config)[0]["server_name"] == "behind"
    server = client.mcp_servers.list()[0]
    try:
        assert client.mcp_servers.tools.list(server.id) == [], "nobody logged in yet"
        events: list[Any] = []
        with wire.http.stream("GET", f"/v1/mcp-servers/connect/{server.id}") as answer:
            for line in answer.iter_lines():
                if not line.startswith("data: "):
                    continue
                events.append(json.loads(line.removeprefix("data: ")))
                if events[-1]["event"] == "authorization_url":
                    page = httpx2.get(events[-1]["url"])  # a browser would follow the redirect
                    back = wire.http.get(page.headers["location"])
                    assert back.json()["status"] == "success"
        assert [event["event"] for event in events] == [
            "connection_attempt", "oauth_required", "authorization_url", "waiting_for_auth", "success",
        ]  # fmt: skip
        assert [tool["name"] for tool in events[-1]["tools"]] == ["greet"]
        assert client.mcp_servers.refresh(server.id)["added"] == ["greet"]  # type: ignore[index]
        tool = client.mcp_servers.tools.list(server.id)[0]
        client.mcp_servers.update(server.id, config={"mcp_server_type": "streamable_http", "server_url": login_server})
        said = client.mcp_servers.tools.run(tool.id, mcp_server_id=server.id, args={"name": "Ada"})
        assert said.func_return == "Hello, Ada", "a new connection uses what was kept"
    finally:
        client.mcp_servers.delete(server.id)


def test_a_login_that_nobody_began_is_refused(wire: Wire) -> None:
    wire.refuse("GET", "/v1/tools/mcp/oauth/callback", 404, code="c", state="unknown")
    assert wire.get("/v1/tools/mcp/oauth/callback", code="c")["status"] == "error"


def _events(wire: Wire, path: str) -> Iterator[Any]:
    answer = wire.raw("GET", path, query={})
    for line in answer.text.split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))
