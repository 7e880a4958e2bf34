"""What agents have around them, as a file has it: folders and files, groups, tool servers. Pure but for the models."""

from typing import Any

import msgspec

from kelpie.agent.file_desk import AgentFile as HeldFile
from kelpie.agent.file_desk import view_lines
from kelpie.agent.groups import Group, Pattern
from kelpie.agent.state import AgentSettings
from kelpie.api.letta.agent_file.rows import show_time
from kelpie.api.letta.agent_file.shapes import Entity, Numbers
from kelpie.api.letta.folder_shapes import show_file, show_known_folder
from kelpie.api.letta.house import House
from kelpie.memory.folders import Folder
from kelpie.tools.mcp_servers import HttpPlace, McpServer, StdioPlace
from kelpie.tools.tool import Tool

SERVER_TAG = "mcp"  # the key of a tool's metadata under which its server is
SHARED = "shared_blocks"
RULES: dict[Pattern, tuple[str, ...]] = {
    "round_robin": ("max_turns",),
    "supervisor": ("manager_agent_id",),
    "dynamic": ("manager_agent_id", "termination_token", "max_turns"),
    "sleeptime": ("manager_agent_id", "sleeptime_agent_frequency"),
    "voice_sleeptime": ("manager_agent_id", "max_message_buffer_length", "min_message_buffer_length"),
}  # what is said of each


async def show_folder_entity(house: House, folder: Folder, numbers: Numbers) -> Entity:
    """A folder, its id made short."""
    config = (await show_known_folder(house, folder)).embedding_config
    return {
        "name": folder.name,
        "description": folder.description,
        "instructions": folder.instructions,
        "metadata": msgspec.json.decode(folder.metadata),
        "embedding": None,
        "embedding_chunk_size": None,
        "embedding_config": msgspec.to_builtins(config),
        "id": numbers.of("source", folder.id),
    }


def show_file_entity(held: HeldFile, text: str, numbers: Numbers) -> Entity:
    """A file with its text, as it is when it is embedded: what is under way here is done again elsewhere."""
    shown = msgspec.to_builtins(show_file(held.file, text or None, folder_name=held.folder.name))
    for field in ("organization_id", "created_at", "updated_at"):
        shown.pop(field)
    if held.file.status == "embedding":
        shown |= {"processing_status": "completed", "chunks_embedded": held.file.chunks}
    return {
        **shown,
        "id": numbers.of("file", held.file.id),
        "source_id": numbers.of("source", held.folder.id),
    }


def show_held_entity(held: HeldFile, text: str, settings: AgentSettings, numbers: Numbers) -> Entity:
    """A file as an agent has it, open or not."""
    return {
        "agent_id": numbers.of("agent", settings.id),
        "file_id": numbers.of("file", held.file.id),
        "source_id": numbers.of("source", held.folder.id),
        "file_name": f"{held.folder.name}/{held.file.name}",
        "is_open": held.state.is_open,
        "visible_content": view_lines(text, held.state, settings.file_view, held.file),
        "last_accessed_at": show_time(held.state.accessed_at_us),
        "start_line": held.state.first_line,
        "end_line": held.state.last_line,
        "id": held.id,
    }


def show_group_entity(group: Group, numbers: Numbers) -> Entity:
    """A group, the ids in it made short. A block that none of its agents has any more is not shared.

    The retired server says nothing of shared blocks in its files, and takes no short ids where it would: they stand in
    a field of our own.
    """
    shared = [numbers.given[id] for id in group.block_ids if id in numbers.given]
    fields = {
        "manager_agent_id": None if group.manager_id is None else numbers.of("agent", group.manager_id),
        "max_turns": group.max_turns,
        "termination_token": group.termination_token,
        "sleeptime_agent_frequency": group.frequency,
        "max_message_buffer_length": group.buffer_max,
        "min_message_buffer_length": group.buffer_min,
    }
    return {
        "agent_ids": [numbers.of("agent", id) for id in group.agent_ids],
        "description": group.description,
        "manager_config": {"manager_type": group.pattern, **{name: fields[name] for name in RULES[group.pattern]}},
        "project_id": group.lineage.project_id,
        "shared_block_ids": [],
        **({SHARED: shared} if shared else {}),
        "hidden": group.hidden,
        "id": numbers.of("group", group.id),
    }


def show_server_entity(server: McpServer, numbers: Numbers) -> Entity:
    """A tool server without its secrets."""
    shown: dict[str, Any] = {"server_url": None, "stdio_config": None}
    match server.place:
        case StdioPlace() as place:
            kind, command = "stdio", {"server_name": server.name, "type": "stdio", "command": place.command}
            shown["stdio_config"] = {**command, "args": list(place.args)}
        case HttpPlace() as place:
            kind, shown["server_url"] = "sse" if place.sse else "streamable_http", place.url
    return {
        "id": numbers.of("mcp_server", server.id),
        "server_type": kind,
        "server_name": server.name,
        **shown,
        "metadata_": None,
    }


def with_server(entity: Entity, tool: Tool, server: McpServer | None) -> Entity:
    """A tool as a file has it, with its server in its metadata."""
    if tool.remote is None or server is None:
        return entity
    about = {"server_name": server.name, "server_id": server.id}
    if tool.remote.name != tool.name:
        about["tool_name"] = tool.remote.name
    return {**entity, "metadata_": {**(entity.get("metadata_") or {}), SERVER_TAG: about}}
