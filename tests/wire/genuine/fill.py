"""Lives in a retired server through its REST API: `python -m tests.wire.genuine.fill --base http://127.0.0.1:8294`.

One of everything that people keep there: agents of several types, shared and read-only blocks, messages with tool
calls, an approval that waits, conversations, archives with vectors, folders with files, tools from source, secrets,
identities, groups, providers, runs and steps. What a release does not know yet is named and left out.
"""

import argparse
import time
from typing import Any

import httpx2

MODEL, EMBEDDING = "openai-proxy/scripted", "openai/text-embedding-3-small"
OLDER_MODEL = {
    "model": "scripted",
    "model_endpoint_type": "openai",
    "model_endpoint": "http://127.0.0.1:8390/v1",
    "context_window": 32_000,
    "handle": MODEL,
}
OLDER_EMBEDDING = {
    "embedding_model": "text-embedding-3-small",
    "embedding_endpoint_type": "openai",
    "embedding_endpoint": "http://127.0.0.1:8390/v1",
    "embedding_dim": 1_536,
    "handle": EMBEDDING,
}
TOOL = '''def shout(text: str, times: int = 1) -> str:
    """
    Say it loud.

    Args:
        text (str): What to say.
        times (int): How often.

    Returns:
        str: The text in capitals.
    """
    return " ".join([text.upper()] * times)
'''
TOOL_SECRET = '''def whisper(text: str) -> str:
    """
    Say it softly.

    Args:
        text (str): What to say.

    Returns:
        str: The text in small letters.
    """
    import os
    return text.lower() + os.environ.get("WHISPER_END", "")
'''
TURN_S = 0.4


class Life:
    """One REST API, and what it did not know."""

    def __init__(self, base: str) -> None:
        self.http = httpx2.Client(base_url=base, timeout=400, follow_redirects=True)
        self.left_out: list[str] = []
        self.embedding: dict[str, Any] = {"embedding": EMBEDDING}

    def call(self, method: str, path: str, json: Any = None, **more: Any) -> Any:
        """The decoded answer; None and a note where this release has no such thing."""
        answer = self.http.request(method, path, json=json, **more)
        if answer.status_code >= 400:
            self.left_out.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer.json() if answer.content else None

    def say(self, agent_id: str, text: str, **more: Any) -> Any:
        """One turn of an agent."""
        body = {"messages": [{"role": "user", "content": text}], **more}
        return self.call("POST", f"/v1/agents/{agent_id}/messages", body)


def live(life: Life) -> None:
    """Everything, in order."""
    tools = make_tools(life)
    blocks = [
        life.call("POST", "/v1/blocks/", block)
        for block in (
            {"label": "company", "value": "Acme. Makes anvils.", "limit": 4_000, "description": "Who we work for"},
            {"label": "rules", "value": "Be kind.", "read_only": True, "metadata": {"origin": "handbook"}},
            {"label": "unused", "value": "a template", "is_template": True, "template_name": "t"},
        )
    ]
    ada = make_agent(life, "ada", "letta_v1_agent", tools, blocks)
    bob = make_agent(life, "bob", "memgpt_v2_agent", tools[:1], blocks)
    cleo = make_agent(life, "cleo", "memgpt_agent", [], blocks[:1], include_base_tools=True)
    dan = make_agent(life, "dan", "react_agent", tools[:1], [])
    eve = make_agent(life, "eve", "sleeptime_agent", [], blocks[:1])
    talk(life, ada, bob, dan)
    people(life, ada, bob, blocks)
    remember(life, ada, bob)
    files(life, ada, bob)
    groups(life, ada, bob, cleo, dan)
    conversations(life, ada, blocks)
    operate(life, ada)
    wait_for_approval(life, eve, tools)
    life.call("PATCH", f"/v1/blocks/{blocks[0]['id']}", {"value": "Acme. Makes anvils and rockets."})


def make_tools(life: Life) -> list[str]:
    """Two tools from source; their ids."""
    shout = life.call("PUT", "/v1/tools/", {"source_code": TOOL, "tags": ["voice"], "return_char_limit": 5_000})
    whisper = life.call(
        "PUT", "/v1/tools/", {"source_code": TOOL_SECRET, "pip_requirements": [{"name": "six", "version": "1.16.0"}]}
    )
    return [tool["id"] for tool in (shout, whisper)]


def make_agent(life: Life, name: str, kind: str, tools: list[str], blocks: list[Any], **more: Any) -> str:
    """An agent of that type; its id."""
    body = {
        "name": name,
        "agent_type": kind,
        "model": MODEL,
        "embedding": EMBEDDING,
        "memory_blocks": [{"label": "human", "value": f"Name: friend of {name}"}, {"label": "persona", "value": name}],
        "block_ids": [block["id"] for block in blocks[:2]],
        "tool_ids": tools,
        "tags": ["crew", name],
        "description": f"{name} of the crew",
        "metadata": {"rank": len(name), "nested": {"a": [1, 2.5, None, True]}},
        "tool_exec_environment_variables": {"WHISPER_END": "...", "TOKEN": f"sk-{name}"},
        "timezone": "Europe/Berlin" if name == "ada" else "UTC",
        **more,
    }
    agent = life.call("POST", "/v1/agents/", body)
    if agent is None:  # older releases lack one type, and do not find models by their handle
        life.embedding = {"embedding_config": OLDER_EMBEDDING}
        older = "memgpt_v2_agent" if kind == "letta_v1_agent" else kind
        named = {"agent_type": older, "model": None, "embedding": None, "llm_config": OLDER_MODEL}
        agent = life.call("POST", "/v1/agents/", {**body, **named, **life.embedding})
    assert agent is not None, life.left_out
    return agent["id"]


def talk(life: Life, ada: str, bob: str, dan: str) -> None:
    """Turns with and without tools, one of them several steps long, one that fails."""
    life.say(ada, "Reply with the message 'Hello, I am Ada.'")
    life.say(ada, "Call the shout tool with text 'ahoy', times=2 then reply with the message 'Done shouting.'")
    life.say(ada, "Call the memory_insert tool with label 'human' and new_string 'Likes tea'")
    life.say(ada, "Call the shout tool with times='what' then reply with the message 'It did not work.'")
    life.say(ada, "Umlaute äöü, 漢字 and an emoji \U0001f980: reply with the message 'äöü 漢字 \U0001f980'")
    life.say(bob, "Call the send_message tool with message 'Hi, Bob here'")
    life.say(dan, "Reply with the message 'Dan says hi.'")
    image = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    parts = [{"type": "text", "text": "Reply with the message 'A red pixel.'"}, {"type": "image", "source": image}]
    life.call("POST", f"/v1/agents/{ada}/messages", {"messages": [{"role": "user", "content": parts}]})
    life.call("POST", f"/v1/agents/{ada}/messages/async", {"messages": [{"role": "user", "content": "In peace"}]})
    time.sleep(4 * TURN_S)


def people(life: Life, ada: str, bob: str, blocks: list[Any]) -> None:
    """Identities of three types, with agents, blocks and properties."""
    properties = [{"key": "seat", "value": 7, "type": "number"}, {"key": "vip", "value": True, "type": "boolean"}]
    for key, kind, agents in (("ann@acme", "user", [ada]), ("acme", "org", [ada, bob]), ("other", "other", [])):
        body = {"identifier_key": key, "name": key.title(), "identity_type": kind, "agent_ids": agents}
        life.call("POST", "/v1/identities/", {**body, "properties": properties, "block_ids": [blocks[0]["id"]]})


def remember(life: Life, ada: str, bob: str) -> None:
    """Passages of agents, and an archive that two share."""
    for text, tags in (("The harbour opens at dawn.", ["harbour"]), ("Tea is stored in the galley.", ["tea", "food"])):
        life.call("POST", f"/v1/agents/{ada}/archival-memory", {"text": text, "tags": tags})
    archive = life.call("POST", "/v1/archives/", {"name": "charts", "description": "of the sea", **life.embedding})
    if archive is not None:
        life.call("PATCH", f"/v1/agents/{bob}/archives/attach/{archive['id']}")
        body = {"text": "Rocks north of the cape.", "tags": ["rocks"], "metadata": {"sheet": 4}}
        life.call("POST", f"/v1/archives/{archive['id']}/passages", body)
    life.call("POST", f"/v1/agents/{bob}/archival-memory", {"text": "The cape is windy."})


def files(life: Life, ada: str, bob: str) -> None:
    """A folder with two files, one of them open, and an empty folder."""
    body = {"name": "handbook", "description": "How we work", "instructions": "Look here", **life.embedding}
    folder = life.call("POST", "/v1/folders/", body)
    life.call("POST", "/v1/folders/", {"name": "empty", **life.embedding})
    for name, text in (
        ("anvils.txt", "Anvils are heavy.\nLift with the knees.\n" * 20),
        ("tea.md", "# Tea\n\nAt four."),
    ):
        life.call("POST", f"/v1/folders/{folder['id']}/upload", files={"file": (name, text.encode(), "text/plain")})
    for _ in range(60):
        listed = life.call("GET", f"/v1/folders/{folder['id']}/files")
        if all(each["processing_status"] in ("completed", "error") for each in listed):
            break
        time.sleep(TURN_S)
    for agent in (ada, bob):
        life.call("PATCH", f"/v1/agents/{agent}/folders/attach/{folder['id']}")
    life.call("PATCH", f"/v1/agents/{ada}/files/{listed[0]['id']}/open")


def groups(life: Life, ada: str, bob: str, cleo: str, dan: str) -> None:
    """Groups of three kinds."""
    for members, manager in (
        ([ada, bob], {"manager_type": "round_robin", "max_turns": 2}),
        ([bob, dan], {"manager_type": "supervisor", "manager_agent_id": cleo}),
        ([dan], {"manager_type": "dynamic", "manager_agent_id": cleo, "termination_token": "ENOUGH", "max_turns": 3}),
    ):
        body = {"agent_ids": members, "description": manager["manager_type"], "manager_config": manager}
        life.call("POST", "/v1/groups/", body)


def conversations(life: Life, ada: str, blocks: list[Any]) -> None:
    """Two conversations, one of them a fork."""
    talk_of_sea = life.call("POST", f"/v1/conversations/?agent_id={ada}", {"summary": "of the sea"})
    if talk_of_sea is None:
        return
    body = {"messages": [{"role": "user", "content": "Reply with the message 'The sea is wide.'"}], "streaming": False}
    life.call("POST", f"/v1/conversations/{talk_of_sea['id']}/messages", body)
    life.call("POST", f"/v1/conversations/{talk_of_sea['id']}/fork")
    apart = {"summary": "apart", "isolated_block_labels": ["human"], "model": MODEL}
    life.call("POST", f"/v1/conversations/?agent_id={ada}", apart)


def operate(life: Life, ada: str) -> None:
    """A provider with a key, a sandbox configuration with variables, MCP servers, feedback on a step."""
    provider = {"name": "mine", "provider_type": "openai", "api_key": "sk-of-mine"}
    life.call("POST", "/v1/providers/", {**provider, "base_url": "http://127.0.0.1:8390/v1"})
    sandbox = life.call("POST", "/v1/sandbox-config/", {"config": {"sandbox_dir": "/tmp/sandbox", "use_venv": False}})
    if sandbox is not None:
        variable = {"key": "EVERYWHERE", "value": "seen by all tools", "description": "for all"}
        life.call("POST", f"/v1/sandbox-config/{sandbox['id']}/environment-variable", variable)
    remote = {"mcp_server_type": "streamable_http", "server_url": "https://mcp.example.com/mcp"}
    config = {**remote, "auth_token": "Bearer t0k3n", "auth_header": "Authorization"}
    life.call("POST", "/v1/mcp-servers/", {"server_name": "remote", "config": config})
    steps = life.call("GET", "/v1/steps/?limit=1")
    if steps:
        life.call("PATCH", f"/v1/steps/{steps[0]['id']}/feedback", {"feedback": "positive", "tags": ["good"]})


def wait_for_approval(life: Life, agent: str, tools: list[str]) -> None:
    """A tool call that nobody has decided on."""
    life.call("PATCH", f"/v1/agents/{agent}/tools/attach/{tools[0]}")
    life.call("PATCH", f"/v1/agents/{agent}/tools/approval/shout", {"requires_approval": True})
    life.say(agent, "Call the shout tool with text 'may I'")


PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="http://127.0.0.1:8294")
    one = Life(parser.parse_args().base)
    live(one)
    print("\n".join(one.left_out) or "nothing was left out")
