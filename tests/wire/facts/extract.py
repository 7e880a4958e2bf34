"""Makes the facts anew: `python -m tests.wire.facts.extract DIRECTORY`, the directory being that of the recordings.

Users have no recordings, so what the tests need of them is kept here:

    recorded.json    requests, and the shapes of the answers
    surface.json     of the retired server's OpenAPI document: every operation with the names and defaults of what it
                     takes and the schemas of what it answers, without their descriptions
    endpoints.json   every operation that the server, its SDK or the command line tool knows, and who calls it
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

from tests.wire.facts.shapes import shape, stream_events

HERE = Path(__file__).parent
NAMES = (
    "health ready models embedding_models blk_get blk_agents blk_404 blk_badid agent_create_letta_v1_agent"
    " agent_create_default agent_nomodel agent_badmodel agent_get agent_patch agents_list agents_count agent_tools"
    " agent_blocks agent_block_get agent_block_404 agent_block_attach agent_block_attach_dup agent_block_detach"
    " agent_messages0 msg_sync msg_input msg_empty msg_both msg_none msg_stream_steps msg_stream_tokens msg_stream_bg"
    " msg_tool_memory msg_tool_memory_stream msg_override_model msgs_asc msgs_filter msg_async run_messages cancel_none"
    " tags reset sys_recompile agent_msg_patch_404 agent_delete_letta_v1_agent"
).split()
EVENTS = "LettaMessageUnion LettaPing LettaStopReason LettaUsageStatistics LettaErrorMessage".split()
FURTHER = "Memory UsageStatistics ContextWindowOverview AgentFileSchema".split()
PARAMETERS = {  # the list of endpoints leaves out the names of some
    "/v1/agents/{}/": "/v1/agents/{agent_id}/",
    "/v1/conversations/{}/": "/v1/conversations/{conversation_id}/",
}


def main(recordings: Path) -> None:
    """Write all files."""
    lines = (recordings / "recorded-0.16.8.jsonl").read_text().splitlines()
    found = {one["name"]: one for one in map(json.loads, lines)}
    _write("recorded.json", [_fact(found[name]) for name in NAMES])
    document = json.loads((recordings / "openapi-0.16.8.json").read_text())
    _write("surface.json", _surface(document))
    _write("endpoints.json", _endpoints(recordings / "endpoints.tsv"))


def _fact(recorded: dict[str, Any]) -> dict[str, Any]:
    answer = recorded["resp"]
    if recorded["content_type"].startswith("text/event-stream"):
        answer = stream_events(answer)
    kept = {name: recorded[name] for name in ("name", "method", "path", "params", "json", "status", "content_type")}
    return kept | {"shape": shape(answer)}


def _surface(document: dict[str, Any]) -> dict[str, Any]:
    components = document["components"]["schemas"]
    operations = {
        f"{method.upper()} {path}": _operation(operation, components)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    wanted = [*EVENTS, *FURTHER, *(name for one in operations.values() for name in _refs(one["answers"]))]
    return {"operations": dict(sorted(operations.items())), "schemas": _schemas(components, wanted)}


def _operation(operation: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """What it takes, by name, and what it answers, by status."""
    query = {
        one["name"]: one["schema"].get("default") for one in operation.get("parameters", []) if one["in"] == "query"
    }
    bodies = operation.get("requestBody", {}).get("content", {})
    body = sorted({name for one in bodies.values() for name in _fields(one["schema"], components)})
    answers = {
        status: _bare(answer.get("content", {}).get("application/json", {}).get("schema"))
        for status, answer in operation["responses"].items()
        if status < "300"
    }
    streams = any("text/event-stream" in answer.get("content", {}) for answer in operation["responses"].values())
    return {"query": query, "body": body, "answers": answers, "streams": streams}


def _fields(schema: dict[str, Any], components: dict[str, Any]) -> list[str]:
    """The names of the fields of a body, of all kinds that it may be."""
    if "$ref" in schema:
        return _fields(components[schema["$ref"].rpartition("/")[2]], components)
    below = [
        name
        for kind in ("anyOf", "oneOf", "allOf")
        for one in schema.get(kind, [])
        for name in _fields(one, components)
    ]
    return [*schema.get("properties", {}), *below]


def _endpoints(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [_endpoint(row) for row in csv.DictReader(file, delimiter="\t")]


def _endpoint(row: dict[str, str]) -> dict[str, str]:
    """One operation: whether the retired server has it (y, n, hidden: not in its document), what the SDK calls it."""
    where = row["path"]
    for short, full in PARAMETERS.items():
        where = where.replace(short, full)
    sdk = [word.removeprefix("sdk:") for word in row["note"].split() if word.startswith("sdk:")]
    return {
        "method": row["method"],
        "path": where,
        "server": row["in_server_0.16.8"],
        "sdk": sdk[0] if sdk else "",
        "cli": row["used_by_letta_code"],
        "tag": row["tag"],
    }


def _schemas(components: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """The wanted schemas and all that they refer to."""
    wanted, kept = list(names), {}
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = _bare(components[name])
            wanted += _refs(kept[name])
    return dict(sorted(kept.items()))


def _bare(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    words = {name: value for name, value in schema.items() if name not in ("description", "title", "examples")}
    if "properties" in schema:
        words["properties"] = {name: _bare(value) for name, value in schema["properties"].items()}
    return {name: value if name == "properties" else _bare(value) for name, value in words.items() if name != "default"}


def _refs(schema: Any) -> list[str]:
    """The names of the schemas that this one refers to."""
    if isinstance(schema, list):
        return [ref for one in schema for ref in _refs(one)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"].rpartition("/")[2]] if isinstance(schema.get("$ref"), str) else []
    return own + [ref for name, one in schema.items() if name != "discriminator" for ref in _refs(one)]


def _write(name: str, facts: Any) -> None:
    (HERE / name).write_text(json.dumps(facts, separators=(",", ":"), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
