"""Makes the facts anew: `python -m tests.wire.facts.extract DIRECTORY`, the directory being that of the recordings.

Users have no recordings, so what the tests need of them is kept here: requests, and the shapes of the answers; and of
the retired server's OpenAPI document the schemas of these answers, without their descriptions.
"""

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
SCHEMAS = (
    "AgentState BlockResponse Tool Model EmbeddingModel Run LettaResponse LettaMessageUnion LettaPing LettaStopReason"
    " LettaUsageStatistics LettaErrorMessage Health Memory UsageStatistics ContextWindowOverview"
).split()


def main(recordings: Path) -> None:
    """Write both files."""
    lines = (recordings / "recorded-0.16.8.jsonl").read_text().splitlines()
    found = {one["name"]: one for one in map(json.loads, lines)}
    facts = [_fact(found[name]) for name in NAMES]
    _write("recorded.json", facts)
    document = json.loads((recordings / "openapi-0.16.8.json").read_text())
    _write("schemas.json", _schemas(document["components"]["schemas"]))


def _fact(recorded: dict[str, Any]) -> dict[str, Any]:
    answer = recorded["resp"]
    if recorded["content_type"].startswith("text/event-stream"):
        answer = stream_events(answer)
    kept = {name: recorded[name] for name in ("name", "method", "path", "params", "json", "status", "content_type")}
    return kept | {"shape": shape(answer)}


def _schemas(components: dict[str, Any]) -> dict[str, Any]:
    """The wanted schemas and all that they refer to."""
    wanted, kept = list(SCHEMAS), {}
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = _bare(components[name])
            wanted += [ref.rpartition("/")[2] for ref in _refs(kept[name])]
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
    if isinstance(schema, list):
        return [ref for one in schema for ref in _refs(one)]
    if not isinstance(schema, dict):
        return []
    own = [schema["$ref"]] if isinstance(schema.get("$ref"), str) else []
    return own + [ref for name, one in schema.items() if name != "discriminator" for ref in _refs(one)]


def _write(name: str, facts: Any) -> None:
    (HERE / name).write_text(json.dumps(facts, separators=(",", ":"), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
