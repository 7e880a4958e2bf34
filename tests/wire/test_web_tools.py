"""The built-in tools that reach out, as an agent uses them: search, pages, code."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from letta_client import Letta

from tests.system.server import ModelServer, running_kelpie
from tests.system.talk import REHEARSED
from tests.wire.conftest import MakeAgent
from tests.wire.reading import only, user
from tests.wire.wire import Wire

PAGE = b"<!doctype html><html><head><title>T</title></head><body><h1>Tea</h1><script>x()</script><p>Green &amp; black."


class Site(BaseHTTPRequestHandler):
    """A page, and a search provider that finds it and says which key it was given."""

    def do_GET(self) -> None:
        self._answer(PAGE, "text/html")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        hit = {"url": "http://tea/", "title": self.headers["x-api-key"], "highlights": [asked["query"]]}
        self._answer(json.dumps({"results": [hit]}).encode(), "application/json")

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_an_agent_reads_a_page_and_runs_code(client: Letta, make_agent: MakeAgent, site: str) -> None:
    """As the command line tool makes its agents: with these tools by name. In a turn, and by hand."""
    agent = make_agent(REHEARSED, include_base_tools=False, tools=["web_search", "fetch_webpage", "run_code"])
    assert {tool.tool_type for tool in agent.tools} == {"letta_builtin"}
    said = f"Call the fetch_webpage tool with url '{site}/tea' then reply with the message 'read'"
    returned = only(client.agents.messages.create(agent.id, messages=user(said)).messages, "tool_return_message")
    assert (returned.status, "Green & black." in returned.tool_return) == ("success", True)
    assert "x()" not in returned.tool_return
    ran = client.agents.tools.run("run_code", agent_id=agent.id, args={"code": "print(1)\n6 * 7", "language": "python"})
    expected = {"results": ["42"], "logs": {"stdout": ["1\n"], "stderr": []}}
    assert (ran.status, json.loads(str(ran.func_return))) == ("success", expected)
    ran = client.agents.tools.run("run_code", agent_id=agent.id, args={"code": "console.log(3)", "language": "js"})
    assert json.loads(str(ran.func_return))["logs"]["stdout"] == ["3\n"]
    failed = client.agents.tools.run("fetch_webpage", agent_id=agent.id, args={"url": "http://10.0.0.1/"})
    assert (failed.status, "not allowed" in str(failed.func_return)) == ("error", True)
    keyless = client.agents.tools.run("web_search", agent_id=agent.id, args={"query": "tea"})
    assert (keyless.status, "EXA_API_KEY" in str(keyless.func_return)) == ("error", True)


def test_the_web_is_searched_with_the_agents_key_or_the_servers(
    tmp_path_factory: pytest.TempPathFactory, models: ModelServer, site: str
) -> None:
    """The agent's own secret weighs more."""
    environ = {"EXA_API_KEY": "the-servers", "EXA_BASE_URL": site}
    with running_kelpie(tmp_path_factory.mktemp("searching"), models, **environ) as server:
        with Letta(base_url=server.url, api_key="anything") as client:
            for secrets, key in (({}, "the-servers"), ({"EXA_API_KEY": "its-own"}, "its-own")):
                agent = client.agents.create(model=REHEARSED, tools=["web_search"], secrets=secrets)
                ran = client.agents.tools.run("web_search", agent_id=agent.id, args={"query": "tea"})
                hit = {"title": key, "url": "http://tea/", "highlights": ["tea"]}
                assert json.loads(str(ran.func_return)) == {"query": "tea", "results": [hit]}


def test_a_server_that_runs_no_foreign_code_says_so(
    tmp_path_factory: pytest.TempPathFactory, models: ModelServer
) -> None:
    """Sources are still read, pages too; nothing that people or models write runs."""
    with running_kelpie(tmp_path_factory.mktemp("closed"), models, KELPIE_TOOL_CODE="off") as server:
        with Letta(base_url=server.url, api_key="anything") as client:
            tool = client.tools.create(source_code='def f():\n    """D."""\n    return 1\n')
            agent = client.agents.create(model=REHEARSED, tool_ids=[tool.id], tools=["run_code"])
            for name, args in (("f", {}), ("run_code", {"code": "1", "language": "python"})):
                with pytest.raises(Exception, match="KELPIE_TOOL_CODE") as refused:
                    client.agents.tools.run(name, agent_id=agent.id, args=args)
                assert getattr(refused.value, "status_code", None) == 403
            said = user("Call the f tool then reply with the message 'done'")
            returned = only(client.agents.messages.create(agent.id, messages=said).messages, "tool_return_message")
            assert (returned.status, "KELPIE_TOOL_CODE" in returned.tool_return) == ("error", True)


def test_the_tools_that_every_agent_may_be_given(wire: Wire) -> None:
    """By the types that clients know them under."""
    listed = {tool["name"]: tool["tool_type"] for tool in wire.post("/v1/tools/add-base-tools")}
    assert listed.items() >= {
        "send_message": "letta_core",
        "conversation_search": "letta_core",
        "archival_memory_insert": "letta_core",
        "archival_memory_search": "letta_core",
        "core_memory_append": "letta_memory_core",
        "core_memory_replace": "letta_memory_core",
        "memory_apply_patch": "letta_memory_core",
        "memory_insert": "letta_sleeptime_core",
        "memory_replace": "letta_sleeptime_core",
        "memory_rethink": "letta_sleeptime_core",
        "memory_finish_edits": "letta_sleeptime_core",
        "rethink_user_memory": "letta_voice_sleeptime_core",
        "finish_rethinking_memory": "letta_voice_sleeptime_core",
        "web_search": "letta_builtin",
        "fetch_webpage": "letta_builtin",
        "run_code": "letta_builtin",
        "open_files": "letta_files_core",
        "grep_files": "letta_files_core",
        "semantic_search_files": "letta_files_core",
    }.items()  # fmt: skip
