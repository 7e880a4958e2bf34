"""Writes script.json: the calls, in order.

An id that an answer gave has a name, `{agent}`; `keep` says where in the answer it stands.
"""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOOL = (
    'def shout(text: str) -> str:\n    """\n    Say it loud.\n\n    Args:\n        text (str): What.\n\n    Returns:\n'
    '        str: Loud.\n    """\n    return text.upper()\n'
)
MISSING = "00000000-0000-4000-8000-000000000000"


def main() -> None:
    """Everything, kind by kind."""
    calls: list[dict[str, Any]] = []

    def call(method: str, path: str, body: Any = None, *, keep: dict[str, str] | None = None, **query: Any) -> None:
        calls.append({"method": method, "path": path, "body": body, "query": query, "keep": keep or {}})

    _blocks(call)
    _tools(call)
    _agents(call)
    _messages(call)
    _memory(call)
    _people(call)
    _conversations(call)
    _ends(call)
    lines = ",\n".join(json.dumps(one) for one in calls)
    (HERE / "script.json").write_text(f"[\n{lines}\n]\n")
    print(len(calls), "calls")


def _blocks(call: Any) -> None:
    call("GET", "/v1/health/")
    call("POST", "/v1/blocks/", {"label": "human", "value": "Ada"}, keep={"block": "id"})
    call(
        "POST",
        "/v1/blocks/",
        {"label": "rules", "value": "Be kind.", "read_only": True, "limit": 100},
        keep={"rules": "id"},
    )
    call("POST", "/v1/blocks/", {"label": "", "value": "x"})
    call("POST", "/v1/blocks/", {"value": "x"})
    call("POST", "/v1/blocks/", {"label": "x"})
    call("GET", "/v1/blocks/{block}")
    call("PATCH", "/v1/blocks/{block}", {"value": "Ada L.", "description": "who"})
    call("PATCH", "/v1/blocks/{block}", {"limit": 2})
    call("GET", "/v1/blocks/", label="human", limit=3)
    call("GET", "/v1/blocks/count")
    call("GET", f"/v1/blocks/block-{MISSING}")
    call("GET", "/v1/blocks/nonsense")
    call("PATCH", f"/v1/blocks/block-{MISSING}", {"value": "x"})
    call("GET", "/v1/blocks/{block}/agents")


def _tools(call: Any) -> None:
    call("PUT", "/v1/tools/", {"source_code": TOOL}, keep={"tool": "id"})
    call("POST", "/v1/tools/", {"source_code": "def nameless():\n    return 1\n"})
    call("POST", "/v1/tools/", {"source_code": "this is no python"})
    call("POST", "/v1/tools/", {})
    call("GET", "/v1/tools/{tool}")
    call("GET", "/v1/tools/", name="shout")
    call("PATCH", "/v1/tools/{tool}", {"tags": ["a"], "return_char_limit": 777})
    call("GET", f"/v1/tools/tool-{MISSING}")
    call("GET", "/v1/tools/nonsense")
    call("POST", "/v1/tools/run", {"source_code": TOOL, "args": {"text": "hi"}, "name": "shout"})


def _agents(call: Any) -> None:
    base = {"model": "{model}", "embedding": "openai/text-embedding-3-small"}
    named = {"name": "diff", "description": "d", "tags": ["x", "y"], "metadata": {"a": 1}, "system": "Be brief."}
    call(
        "POST", "/v1/agents/", {**base, **named, "block_ids": ["{block}"], "tool_ids": ["{tool}"]}, keep={"agent": "id"}
    )
    call(
        "POST",
        "/v1/agents/",
        {**base, "name": "plain", "memory_blocks": [{"label": "persona", "value": "p"}]},
        keep={"plain": "id"},
    )
    for kind in ("memgpt_agent", "memgpt_v2_agent", "react_agent", "workflow_agent", "sleeptime_agent"):
        call("POST", "/v1/agents/", {**base, "name": kind, "agent_type": kind}, keep={kind: "id"})
        call("GET", f"/v1/agents/{{{kind}}}/tools", limit=50)
        call("DELETE", f"/v1/agents/{{{kind}}}")
    call("POST", "/v1/agents/", {"name": "nothing"})
    call("POST", "/v1/agents/", {**base, "model": "{model}-none"})
    call("POST", "/v1/agents/", {**base, "agent_type": "toaster"})
    call("POST", "/v1/agents/", {**base, "block_ids": [f"block-{MISSING}"]})
    call("POST", "/v1/agents/", {**base, "tool_ids": [f"tool-{MISSING}"]})
    call("GET", "/v1/agents/{agent}")
    call("GET", "/v1/agents/{agent}", include="agent.tags")
    call("GET", "/v1/agents/", name="diff")
    call("GET", "/v1/agents/", tags="x", limit=2)
    call("GET", f"/v1/agents/agent-{MISSING}")
    call("GET", "/v1/agents/nonsense")
    call("PATCH", "/v1/agents/{agent}", {"name": "diff2", "tags": ["z"]})
    call("PATCH", "/v1/agents/{agent}", {"metadata": {"b": 2}, "timezone": "Europe/Berlin"})
    call("PATCH", f"/v1/agents/agent-{MISSING}", {"name": "x"})
    for path in ("tools", "core-memory/blocks", "core-memory", "core-memory/blocks/human", "core-memory/blocks/none"):
        call("GET", f"/v1/agents/{{agent}}/{path}")
    call("PATCH", "/v1/agents/{agent}/core-memory/blocks/attach/{rules}")
    call("PATCH", "/v1/agents/{agent}/core-memory/blocks/attach/{rules}")
    call("PATCH", "/v1/agents/{agent}/core-memory/blocks/human", {"value": "Ada Lovelace"})
    call("PATCH", "/v1/agents/{agent}/core-memory/blocks/detach/{rules}")
    call("PATCH", "/v1/agents/{agent}/tools/detach/{tool}")
    call("PATCH", "/v1/agents/{agent}/tools/attach/{tool}")
    call("PATCH", f"/v1/agents/{{agent}}/tools/attach/tool-{MISSING}")
    call("GET", "/v1/agents/{agent}/context")
    call("GET", "/v1/tags/")


def _messages(call: Any) -> None:
    path = "/v1/agents/{agent}/messages"
    say = {"messages": [{"role": "user", "content": "Reply with the message 'ahoy'"}]}
    call("POST", path, say)
    call("POST", path, {"input": "Reply with the message 'input'"})
    call("POST", path, {"messages": [{"role": "user", "content": "Call the shout tool with text 'hi'"}]})
    call(
        "POST",
        path,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Reply with the message 'p'"}]}]},
    )
    call("POST", path, {"messages": []})
    call("POST", path, {})
    call("POST", path, {"input": "x", "messages": [{"role": "user", "content": "x"}]})
    call("POST", path, {"messages": [{"role": "ghost", "content": "x"}]})
    call("POST", path, {"messages": [{"role": "user", "content": "x"}], "max_steps": 1})
    call("POST", f"/v1/agents/agent-{MISSING}/messages", say)
    call("GET", path, limit=4)
    call("GET", path, order="asc", limit=3)
    call("POST", f"{path}/async", say, keep={"run": "id"})
    call("GET", "/v1/runs/{run}")
    call("GET", f"/v1/runs/run-{MISSING}")
    call("POST", f"{path}/cancel", {})
    call("PATCH", "/v1/agents/{plain}/reset-messages", {})
    call("GET", "/v1/agents/{plain}/messages")


def _memory(call: Any) -> None:
    path = "/v1/agents/{agent}/archival-memory"
    call("POST", path, {"text": "Tea is stored in the galley.", "tags": ["tea"]}, keep={"passage": "0.id"})
    call("GET", path)
    call("GET", f"{path}/search", query="tea")
    call("DELETE", f"{path}/{{passage}}")
    call(
        "POST",
        "/v1/archives/",
        {"name": "charts", "embedding": "openai/text-embedding-3-small"},
        keep={"archive": "id"},
    )
    call("GET", "/v1/archives/{archive}")
    call("PATCH", "/v1/archives/{archive}", {"description": "of the sea"})
    call("POST", "/v1/archives/{archive}/passages", {"text": "Rocks north.", "tags": ["rocks"]})
    call("PATCH", "/v1/agents/{plain}/archives/attach/{archive}")
    call("PATCH", "/v1/agents/{agent}/archives/attach/{archive}")
    call("GET", "/v1/archives/{archive}/agents")
    call("GET", f"/v1/archives/archive-{MISSING}")
    call("DELETE", "/v1/archives/{archive}")


def _people(call: Any) -> None:
    body = {"identifier_key": "ann", "name": "Ann", "identity_type": "user"}
    call("POST", "/v1/identities/", body, keep={"identity": "id"})
    call("POST", "/v1/identities/", body)
    call("GET", "/v1/identities/{identity}")
    call("PATCH", "/v1/identities/{identity}", {"name": "Anna"})
    call("PATCH", "/v1/agents/{agent}/identities/attach/{identity}")
    call("GET", "/v1/identities/", identifier_keys="ann")
    call("DELETE", "/v1/identities/{identity}")
    call("GET", "/v1/identities/{identity}")
    call("POST", "/v1/groups/", {"agent_ids": ["{agent}", "{plain}"], "description": "g"}, keep={"group": "id"})
    call("GET", "/v1/groups/{group}")
    call("GET", "/v1/groups/count")
    call("DELETE", "/v1/groups/{group}")
    call(
        "POST", "/v1/folders/", {"name": "f-diff", "embedding": "openai/text-embedding-3-small"}, keep={"folder": "id"}
    )
    call("GET", "/v1/folders/{folder}")
    call("PATCH", "/v1/folders/{folder}", {"description": "d"})
    call("GET", "/v1/folders/{folder}/files")
    call("PATCH", "/v1/agents/{agent}/folders/attach/{folder}")
    call("GET", "/v1/agents/{agent}/folders")
    call("DELETE", "/v1/folders/{folder}")


def _conversations(call: Any) -> None:
    call("POST", "/v1/conversations/", {"summary": "of the sea"}, keep={"conversation": "id"}, agent_id="{agent}")
    call("GET", "/v1/conversations/{conversation}")
    call("GET", "/v1/conversations/", agent_id="{agent}")
    body = {"messages": [{"role": "user", "content": "Reply with the message 'deep'"}], "streaming": False}
    call("POST", "/v1/conversations/{conversation}/messages", body)
    call("GET", "/v1/conversations/{conversation}/messages", order="asc")
    call("PATCH", "/v1/conversations/{conversation}", {"summary": "of tea"})
    call("POST", "/v1/conversations/{conversation}/fork", {}, keep={"fork": "id"})
    call("DELETE", "/v1/conversations/{fork}")
    call("GET", f"/v1/conversations/conv-{MISSING}")


def _ends(call: Any) -> None:
    call("GET", "/v1/agents/{agent}/export")
    call("DELETE", "/v1/agents/{plain}")
    call("DELETE", "/v1/agents/{plain}")
    call("DELETE", "/v1/agents/{agent}")
    call("DELETE", "/v1/tools/{tool}")
    call("DELETE", "/v1/tools/{tool}")
    call("DELETE", "/v1/blocks/{block}")
    call("DELETE", "/v1/blocks/{block}")
    call("DELETE", "/v1/blocks/{rules}")


if __name__ == "__main__":
    main()
