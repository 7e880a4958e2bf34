"""The first form of agent files: one agent, everything inside it, nothing with an id. Turned into the second and back.

What the first form says and the second does not (when a block was made, the server's version) goes along under the key
`first_form`, so that a file which comes in the first form goes out in it as it was.
"""

from typing import Any

from kelpie.api.letta.agent_file.rows import show_time
from kelpie.api.letta.agent_file.shapes import AgentFile, Entity
from kelpie.errors import InvalidInput

EXTRA = "first_form"
VERSION = "0.16.8"
ONLY_THERE = ("created_at", "updated_at", "version", "multi_agent_group")
MESSAGE_FIELDS = "created_at group_id model name role content tool_call_id tool_calls tool_returns".split()
TOOL_FIELDS = (
    "args_json_schema description json_schema name return_char_limit source_code source_type tags tool_type metadata_"
).split()
AGENT_FIELDS = (
    "agent_type description embedding_config llm_config message_buffer_autoclear name system tool_rules timezone"
    " response_format"
).split()


def is_first_form(file: Entity) -> bool:
    """Whether it says what the first form says."""
    return isinstance(file.get("core_memory"), list) and isinstance(file.get("messages"), list)


def to_second(file: Entity) -> AgentFile:
    """The same in the second form. Raises InvalidInput."""
    if not is_first_form(file):
        raise InvalidInput("Corrupted agent file format: there is neither 'agents' nor 'core_memory'", field="file")
    try:
        return _to_second(file)
    except (KeyError, TypeError, IndexError) as error:
        raise InvalidInput(f"Corrupted agent file format: {error}", field="file") from None


def to_first(file: AgentFile, at_us: int) -> Entity:
    """The same in the first form: the file's first agent. Dates that are not known are those of the writing."""
    agent = file.agents[0]
    now = show_time(at_us)
    blocks = {block["id"]: block for block in file.blocks}
    tools = {tool["id"]: tool for tool in file.tools}
    places = {message["id"]: at for at, message in enumerate(agent["messages"])}
    variables = agent["tool_exec_environment_variables"] or {}
    extra = agent.get(EXTRA) or {}
    described = extra.get("variables") or {}
    return {
        **{name: agent.get(name) for name in AGENT_FIELDS},
        "core_memory": [_block_out(blocks[id], now) for id in agent["block_ids"]],
        "created_at": now,
        "in_context_message_indices": [places[id] for id in agent["in_context_message_ids"]],
        "messages": [_message_out(message) for message in agent["messages"]],
        "metadata_": agent["metadata"],
        "multi_agent_group": None,
        "tags": [{"tag": tag} for tag in agent["tags"]],
        "tool_exec_environment_variables": [
            {
                "created_at": now,
                "description": None,
                "key": key,
                "updated_at": now,
                "value": "",
                **described.get(key, {}),
            }
            for key in variables
        ],
        "tools": [_tool_out(tools[id], now) for id in agent["tool_ids"]],
        "updated_at": now,
        "version": VERSION,
        **{name: value for name, value in extra.items() if name != "variables"},
    }


def without_extras(file: AgentFile) -> AgentFile:
    """The second form without what only the first one says."""
    for entities in (file.agents, file.blocks, file.tools, *[agent["messages"] for agent in file.agents]):
        for entity in entities:
            entity.pop(EXTRA, None)
    return file


def _to_second(file: Entity) -> AgentFile:
    blocks = [_block_in(block, at) for at, block in enumerate(file["core_memory"])]
    tools = [_tool_in(tool, at) for at, tool in enumerate(file.get("tools") or [])]
    messages = [_message_in(message, at) for at, message in enumerate(file["messages"])]
    variables = file.get("tool_exec_environment_variables") or []
    known = {*AGENT_FIELDS, "core_memory", "tools", "messages", "tags", "metadata_", "in_context_message_indices"}
    extra = {name: value for name, value in file.items() if name not in known | {"tool_exec_environment_variables"}}
    agent = {
        **{name: file[name] for name in AGENT_FIELDS if name in file},
        "id": "agent-0",
        "block_ids": [block["id"] for block in blocks],
        "tool_ids": [tool["id"] for tool in tools],
        "messages": messages,
        "in_context_message_ids": [messages[at]["id"] for at in file["in_context_message_indices"]],
        "metadata": file.get("metadata_"),
        "tags": [one["tag"] for one in file.get("tags") or []],
        "tool_exec_environment_variables": {one["key"]: one.get("value") or "" for one in variables},
        EXTRA: {**extra, "variables": {one["key"]: {**one, "value": ""} for one in variables}},
    }
    return AgentFile(agents=[agent], groups=[], blocks=blocks, files=[], sources=[], tools=tools, mcp_servers=[])


def _block_in(block: Entity, at: int) -> Entity:
    fields = {name: value for name, value in block.items() if name not in ("metadata_", *ONLY_THERE)}
    return {**fields, "metadata": block.get("metadata_") or {}, "id": f"block-{at}", EXTRA: _extra(block)}


def _block_out(block: Entity, now: str) -> Entity:
    names = ("description", "is_template", "label", "limit", "template_name", "value")
    fields: dict[str, Any] = {name: block.get(name) for name in names}
    return {"created_at": now, **fields, "metadata_": block["metadata"], "updated_at": now, **(block.get(EXTRA) or {})}


def _tool_in(tool: Entity, at: int) -> Entity:
    fields = {name: value for name, value in tool.items() if name not in ONLY_THERE}
    return {**fields, "id": f"tool-{at}", EXTRA: _extra(tool)}


def _tool_out(tool: Entity, now: str) -> Entity:
    fields = {name: tool.get(name) for name in TOOL_FIELDS}
    return {"created_at": now, **fields, "updated_at": now, **(tool.get(EXTRA) or {})}


def _message_in(message: Entity, at: int) -> Entity:
    fields = {name: value for name, value in message.items() if name != "updated_at"}
    extra = {"updated_at": message["updated_at"]} if "updated_at" in message else {}
    return {**fields, "id": f"message-{at}", EXTRA: extra}


def _message_out(message: Entity) -> Entity:
    fields = {name: message.get(name) for name in MESSAGE_FIELDS}
    fields["tool_calls"] = fields["tool_calls"] or []
    return {**fields, "updated_at": message["created_at"], **(message.get(EXTRA) or {})}


def _extra(entity: Entity) -> Entity:
    return {name: entity[name] for name in ONLY_THERE if name in entity}
