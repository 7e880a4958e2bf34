"""Has a retired server write agent files: `python -m tests.wire.genuine.agent_files --base http://127.0.0.1:8294`.

An agent with folders (one of them empty) and a helper in the background; one that leads a group, a member of which
leads another; one with the tool of a tool server, which comes in by a file, for that server reaches no other one here.
"""

import argparse
import gzip
import json
import time
from pathlib import Path
from typing import Any

from tests.wire.genuine.fill import EMBEDDING, MODEL, Life

FIXTURES = Path(__file__).parent / "fixtures"
LOG = "".join(f"Day {day}: wind from the west, sea calm, all well on board.\n" for day in range(1, 60))
OPEN = 'Call the open_files tool with file_requests [{"file_name": "logbook/log.txt", "offset": 10, "length": 5}]'


def steer(life: Life) -> str:
    """The agent with folders and a helper; its id."""
    body = {"name": "logbook", "description": "Of the ship", "instructions": "Read it first", "metadata": {"shelf": 3}}
    folder = life.call("POST", "/v1/folders/", {**body, "embedding": EMBEDDING})
    drawer = life.call("POST", "/v1/folders/", {"name": "drawer", "embedding": EMBEDDING})
    for name, text in (("log.txt", LOG), ("crew.md", "# Crew\n\nIda steers.\nJon cooks.")):
        life.call("POST", f"/v1/folders/{folder['id']}/upload", files={"file": (name, text.encode(), "text/plain")})
    for _ in range(60):
        files = life.call("GET", f"/v1/folders/{folder['id']}/files")
        if all(one["processing_status"] in ("completed", "error") for one in files):
            break
        time.sleep(1)
    agent_id = _agent(life, "ida", enable_sleeptime=True)
    for one in (folder, drawer):
        life.call("PATCH", f"/v1/agents/{agent_id}/folders/attach/{one['id']}")
    life.call("PATCH", f"/v1/agents/{agent_id}/files/{files[0]['id']}/close")
    life.say(agent_id, f"{OPEN} then reply with the message 'Read.'")
    return agent_id


def watch(life: Life) -> str:
    """The agent that leads a group, whose members share a block; its id."""
    jon, kim, lea = [_agent(life, name) for name in ("jon", "kim", "lea")]
    deck = life.call("POST", "/v1/blocks/", {"label": "deck", "value": "Wet."})
    for leader, members, rule in (
        (kim, [lea], {"manager_type": "supervisor"}),
        (jon, [kim, lea], {"manager_type": "dynamic", "termination_token": "ENOUGH", "max_turns": 3}),
    ):
        body = {"agent_ids": members, "description": "watch", "manager_config": {**rule, "manager_agent_id": leader}}
        life.call("POST", "/v1/groups/", {**body, "shared_block_ids": [deck["id"]] if leader == jon else []})
    return jon


def forecast(life: Life, file: Any) -> str:
    """The agent with a tool of a tool server, made of another agent's file; its id."""
    schema = {"name": "af_weather", "description": "The weather.", "parameters": {"type": "object", "properties": {}}}
    agent = {**file["agents"][0], "group_ids": [], "tool_ids": ["tool-0"], "name": "mcp-af"}
    tool = {"id": "tool-0", "tool_type": "external_mcp", "name": schema["name"], "json_schema": schema}
    server = {"id": "mcp_server-0", "server_type": "streamable_http", "server_name": "af-remote"}
    given = {
        **file,
        "agents": [agent],
        "groups": [],
        "blocks": [block for block in file["blocks"] if block["id"] in agent["block_ids"]],
        "tools": [{**tool, "source_type": "json", "metadata_": {"mcp": {"server_name": "af-remote"}}}],
        "mcp_servers": [{**server, "server_url": "https://mcp.example.com/mcp"}],
    }
    made = life.call("POST", "/v1/agents/import", files={"file": ("a.af", json.dumps(given).encode())})
    return made["agent_ids"][0]


def _agent(life: Life, name: str, **more: Any) -> str:
    blocks = [{"label": "persona", "value": name}]
    body = {"name": name, "model": MODEL, "embedding": EMBEDDING, "memory_blocks": blocks, "include_base_tools": False}
    return life.call("POST", "/v1/agents/", {**body, **more})["id"]


def _keep(life: Life, name: str, agent_id: str) -> Any:
    file = life.call("GET", f"/v1/agents/{agent_id}/export")
    (FIXTURES / f"{name}.af.gz").write_bytes(gzip.compress(json.dumps(file).encode(), mtime=0))
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="http://127.0.0.1:8294")
    one = Life(parser.parse_args().base)
    _keep(one, "ida", steer(one))
    _keep(one, "weather", forecast(one, _keep(one, "jon", watch(one))))
    print("\n".join(one.left_out) or "nothing was left out")
