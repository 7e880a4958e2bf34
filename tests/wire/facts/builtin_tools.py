"""Makes builtin_tools.json anew: `python -m tests.wire.facts.builtin_tools URL`, of a genuine server 0.16.8.

Of each tool that it brings: type, tags, what else tells it from others, and its arguments without their descriptions.
"""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEPT = (
    "tool_type",
    "source_type",
    "tags",
    "return_char_limit",
    "default_requires_approval",
    "enable_parallel_execution",
)


def fact(tool: dict[str, Any]) -> dict[str, Any]:
    """What clients rely on."""
    schema = tool["json_schema"]
    return {**{name: tool[name] for name in KEPT}, "name": schema["name"], "parameters": plain(schema["parameters"])}


def plain(schema: Any) -> Any:
    """A schema without its words, its required names in order."""
    if isinstance(schema, list):
        return sorted(schema, key=str)
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "object":
        fields = {name: plain(field) for name, field in sorted(schema["properties"].items())}
        return {"type": "object", "properties": fields, "required": sorted(schema["required"])}
    return {name: plain(inner) for name, inner in sorted(schema.items()) if name != "description"}


def main(url: str) -> None:
    """Ask, and write."""
    with urllib.request.urlopen(f"{url}/v1/tools/?limit=200") as answer:
        tools = [tool for tool in json.load(answer) if tool["tool_type"].startswith("letta_")]
    facts = {tool["name"]: fact(tool) for tool in sorted(tools, key=lambda tool: tool["name"])}
    (HERE / "builtin_tools.json").write_text(json.dumps(facts, separators=(",", ":"), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
