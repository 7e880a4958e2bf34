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
    _runs(call)
    _approval(call)
    _settings(call)
    _memory(call)
    _people(call)
    _conversations(call)
    _house(call)
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
    call("UNTIL ENDED", "/v1/runs/{run}")
    call("GET", f"/v1/runs/run-{MISSING}")
    call("POST", f"{path}/cancel", {})
    call("PATCH", "/v1/agents/{plain}/reset-messages", {})
    call("GET", "/v1/agents/{plain}/messages")
    call("GET", path, order="asc", limit=9, keep={"first": "0.id", "third": "2.id", "step": "2.step_id"})
    for order in ({}, {"order": "asc"}, {"order": "desc"}):
        call("GET", path, after="{third}", limit=2, **order)
        call("GET", path, before="{third}", limit=1, **order)
    call("GET", path, include_return_message_types="assistant_message", limit=3)
    call("GET", path, after=f"message-{MISSING}")
    call("GET", path, after="nonsense")
    call("GET", path, limit=-1)
    call("GET", path, order="sideways")
    call("GET", "/v1/messages/{third}")
    call("GET", f"/v1/messages/message-{MISSING}")
    call("PATCH", f"{path}/{{third}}", {"message_type": "assistant_message", "content": "x"})
    call("POST", f"{path}/stream", {"messages": [{"role": "user", "content": "Reply with the message 's'"}]})
    call("POST", f"{path}/stream", {**say, "stream_tokens": True, "include_pings": False})
    call("POST", path, {**say, "streaming": True})
    call("POST", path, {"messages": [{"role": "user", "content": "x"}], "max_steps": 0})
    call("POST", path, {"messages": [{"role": "system", "content": "Reply with the message 'sys'"}]})
    call("POST", path, {**say, "include_return_message_types": ["reasoning_message"]})
    call("POST", path, {"messages": [{"role": "user", "content": []}]})
    call("POST", path, {"messages": [{"role": "user", "content": "Call the memory_insert tool with label 'none'"}]})
    call("POST", f"{path}/preview-raw-payload", say)


def _runs(call: Any) -> None:
    call("GET", "/v1/runs/", agent_id="{agent}", limit=2)
    call("GET", "/v1/runs/", agent_id="{agent}", limit=2, order="asc")
    call("GET", "/v1/runs/", agent_id=f"agent-{MISSING}")
    call("GET", "/v1/runs/", agent_id="{agent}", statuses="failed")
    call("GET", "/v1/runs/active", agent_id="{agent}")
    for part in ("messages", "steps", "usage", "metrics"):
        call("GET", f"/v1/runs/{{run}}/{part}")
        call("GET", f"/v1/runs/run-{MISSING}/{part}")
    call("GET", "/v1/steps/{step}")
    for part in ("messages", "metrics"):
        call("GET", f"/v1/steps/{{step}}/{part}")
    call("PATCH", "/v1/steps/{step}/feedback", {"feedback": "positive"})
    call("PATCH", "/v1/steps/{step}/feedback", {"feedback": "so so"})
    call("GET", f"/v1/steps/step-{MISSING}")
    call("GET", "/v1/steps/nonsense")
    call("DELETE", "/v1/runs/{run}")
    call("GET", "/v1/runs/{run}")
    call("GET", f"/v1/jobs/job-{MISSING}")
    call("GET", "/v1/jobs/nonsense")


def _approval(call: Any) -> None:
    path = "/v1/agents/{asker}/messages"
    ask = {"messages": [{"role": "user", "content": "Call the shout tool with text 'please'"}]}
    asked = {"asked": "messages.0.tool_call.tool_call_id"}
    base = {"model": "{model}", "embedding": "openai/text-embedding-3-small", "memory_blocks": []}
    call("POST", "/v1/agents/", {**base, "name": "asker", "tool_ids": ["{tool}"]}, keep={"asker": "id"})
    call("PATCH", "/v1/agents/{asker}/tools/approval/shout", {"requires_approval": True})
    call("POST", path, ask, keep=asked)
    call("POST", path, {"messages": [{"role": "user", "content": "and?"}]})
    call("GET", "/v1/agents/{asker}", include="agent.pending_approval")

    def answer(**fields: Any) -> None:
        call("POST", path, {"messages": [{"type": "approval", "approvals": [{"type": "approval", **fields}]}]})

    answer(tool_call_id="wrong", approve=True)
    answer(tool_call_id="{asked}", approve=False, reason="not now")
    answer(tool_call_id="{asked}", approve=True)
    call("POST", path, ask, keep=asked)
    answer(tool_call_id="{asked}", approve=True)
    call("PATCH", "/v1/agents/{asker}/tools/approval/none", {"requires_approval": True})
    call("GET", path, order="asc", limit=20)
    call("DELETE", "/v1/agents/{asker}")


def _settings(call: Any) -> None:
    one = "/v1/agents/{plain}"
    call("PATCH", one, {"tool_rules": [{"type": "exit_loop", "tool_name": "memory_insert"}]})
    call("PATCH", one, {"tool_rules": [{"type": "no_rule", "tool_name": "memory_insert"}]})
    call("PATCH", one, {"model_settings": {"provider_type": "openai", "temperature": 0.2, "max_output_tokens": 500}})
    call("PATCH", one, {"response_format": {"type": "json_object"}})
    call("PATCH", one, {"context_window_limit": 9_000})
    call("PATCH", one, {"compaction_settings": {"model": "{model}", "sliding_window_percentage": 0.4}})
    call("PATCH", one, {"message_ids": []})
    call("PATCH", one, {"timezone": "Nowhere/None"})
    call("PATCH", one, {"surprise": 1})
    call("PATCH", one, {"block_ids": [f"block-{MISSING}"]})
    call("PATCH", one, {"tags": []})
    call("PATCH", one, {"description": ""})
    call("PATCH", f"{one}/core-memory/blocks/persona", {"value": "p" * 12, "limit": 10})
    call("PATCH", f"{one}/core-memory/blocks/none", {"value": "x"})
    call("PATCH", f"{one}/core-memory/blocks/attach/block-{MISSING}")
    call("PATCH", f"{one}/core-memory/blocks/detach/{{block}}")
    call("GET", "/v1/agents/count")
    call("GET", "/v1/agents/", query_text="plain", include="agent.tools")
    call("GET", "/v1/agents/", match_all_tags=True, tags=["z", "none"])
    call("GET", "/v1/agents/", limit=1, order="asc", order_by="updated_at", name="plain")
    call("GET", "/v1/agents/", include="agent.moods")
    call("POST", f"{one}/summarize")
    call("POST", f"{one}/recompile")
    call("PATCH", "/v1/tools/{tool}", {"source_code": TOOL.replace("shout", "cry")})
    call("PATCH", "/v1/tools/{tool}", {"source_code": TOOL, "name": "shout"})
    call("POST", "/v1/tools/", {"source_code": TOOL})
    call("GET", "/v1/tools/count")
    call("GET", "/v1/tools/", search="shou", tool_types="custom")
    call("GET", "/v1/tools/", tool_types="wooden")
    call("POST", "/v1/tools/search", {"query": "shout"})


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
    call(
        "PUT",
        "/v1/identities/",
        {**body, "name": "Ann B.", "properties": [{"key": "k", "value": "v", "type": "string"}]},
        keep={"identity": "id"},
    )
    call("PUT", "/v1/identities/{identity}/properties", [{"key": "k", "value": 2, "type": "number"}])
    call("POST", "/v1/identities/", {**body, "identity_type": "ghost"})
    call("GET", "/v1/identities/count")
    call("GET", "/v1/identities/{identity}/agents")
    call("DELETE", "/v1/identities/{identity}")
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
    call("POST", "/v1/conversations/{conversation}/messages", {**body, "streaming": True})
    call("GET", "/v1/conversations/{conversation}/messages", order="desc", limit=2)
    call("GET", "/v1/conversations/default/messages", agent_id="{agent}", limit=2)
    call("POST", "/v1/conversations/{conversation}/cancel")
    call("POST", "/v1/conversations/{conversation}/compact", {})
    call("POST", f"/v1/conversations/conv-{MISSING}/messages", body)
    call("POST", "/v1/conversations/", {}, agent_id=f"agent-{MISSING}")
    call("DELETE", "/v1/conversations/{conversation}")
    call("GET", "/v1/conversations/{conversation}")


def _house(call: Any) -> None:
    key = {"name": "spare", "provider_type": "openai", "api_key": "k", "base_url": "http://127.0.0.1:8390/v1"}
    call("POST", "/v1/providers/", key, keep={"provider": "id"})
    call("POST", "/v1/providers/", key)
    call("GET", "/v1/providers/{provider}")
    call("PATCH", "/v1/providers/{provider}", {"api_key": "other"})
    call("POST", "/v1/providers/", {**key, "provider_type": "sea shells"})
    call("DELETE", "/v1/providers/{provider}")
    call("DELETE", "/v1/providers/{provider}")
    call("POST", "/v1/providers/check", {"provider_type": "openai", "api_key": "k", "base_url": key["base_url"]})
    call("GET", "/v1/mcp-servers/")
    call("GET", f"/v1/mcp-servers/mcp_server-{MISSING}")
    config = {"mcp_server_type": "streamable_http", "server_url": "https://example.com/mcp"}
    call("POST", "/v1/mcp-servers/", {"server_name": "far", "config": config}, keep={"server": "id"})
    call("GET", "/v1/mcp-servers/{server}")
    call("DELETE", "/v1/mcp-servers/{server}")
    call("GET", "/v1/sandbox-config/")
    call("GET", "/v1/sandbox-config/", sandbox_type="wooden")
    call("GET", "/v1/admin/users/", limit=1)
    call("GET", "/v1/admin/orgs/", limit=1)
    call("GET", "/v1/nowhere")
    call("PUT", "/v1/agents/{agent}", {})


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
