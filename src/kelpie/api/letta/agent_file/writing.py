"""Agents as a file: numbered, and written as whatever file they came from had it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from kelpie.agent.moments import zone_of
from kelpie.agent.origin import ORIGINS
from kelpie.api.letta.agent_file.gathering import Company, Gathered, Options, gather
from kelpie.api.letta.agent_file.likeness import restore
from kelpie.api.letta.agent_file.rows import show_row, show_time
from kelpie.api.letta.agent_file.shapes import AgentFile, Entity, Numbers, lists
from kelpie.api.letta.agent_file.surroundings import (
    show_file_entity,
    show_folder_entity,
    show_group_entity,
    show_held_entity,
    show_server_entity,
    with_server,
)
from kelpie.api.letta.agent_shapes import show_agent
from kelpie.api.letta.block_shapes import show_block
from kelpie.api.letta.house import House
from kelpie.api.letta.tools import show_tool
from kelpie.ids import AgentId
from kelpie.limits import GET_KEYS_MAX
from kelpie.tools.tool import Tool

FORM = "1c28e167b74f"  # the last revision of the retired server's schema, which is what the file's form goes by


async def write_file(house: House, agent_id: AgentId, options: Options) -> AgentFile:
    """The file. Raises NotFound, LimitExceeded."""
    company = await gather(house, [agent_id], options)
    numbers = Numbers()
    file = await show_company(house, company, numbers)
    await liken(house, file, owners(company), numbers)
    file.skills = [*options.skills]
    file.metadata = {"revision_id": FORM}
    file.created_at = show_time(house.world.wall.now_us())
    return file


async def show_company(house: House, company: Company, numbers: Numbers) -> AgentFile:
    """These agents with all that they are made of, as this server has it, each thing once."""
    members = company.members
    for server in company.servers.values():
        numbers.of("mcp_server", server.id)
    agents = [await show_agent_entity(house, one, company, numbers) for one in members]
    tools = {tool.id: tool for one in members for tool in one.tools}
    blocks = {block.id: block for one in members for block in one.view.blocks}
    folders = {folder.id: folder for one in members for folder in one.folders}
    files = {held.file.id: held for one in members for held in one.files}
    return AgentFile(
        agents=agents,
        groups=[show_group_entity(group, numbers) for one in members for group in one.groups],
        blocks=[show_block_entity(one, numbers) for one in sorted(blocks.values(), key=lambda one: one.label)],
        files=[show_file_entity(held, company.texts[id], numbers) for id, held in files.items()],
        sources=[await show_folder_entity(house, folder, numbers) for folder in folders.values()],
        tools=[show_tool_entity(tool, company, numbers) for tool in sorted(tools.values(), key=lambda tool: tool.name)],
        mcp_servers=[show_server_entity(server, numbers) for server in company.servers.values()],
    )


def owners(company: Company) -> dict[str, list[AgentId]]:
    """Of each thing the agents that it belongs to."""
    found: dict[str, list[AgentId]] = {}
    for one in company.members:
        servers = [tool.remote.server_id for tool in one.tools if tool.remote is not None]
        parts = (*one.messages, *one.tools, *one.view.blocks, *one.folders, *one.files, *one.groups)
        files = [held.file.id for held in one.files]
        for id in (one.view.settings.id, *[part.id for part in parts], *files, *dict.fromkeys(servers)):
            found.setdefault(id, []).append(one.view.settings.id)
    return found


async def show_agent_entity(house: House, one: Gathered, company: Company, numbers: Numbers) -> Entity:
    """The agent, its ids made short."""
    out = await show_agent(house, one.view)
    numbers.of("agent", out.id)
    for message in one.messages:
        numbers.of("message", message.id)
    secrets = {one["key"]: "" for one in msgspec.to_builtins(out.secrets)}  # what they are stays here
    settings = one.view.settings
    return {
        "name": out.name,
        "memory_blocks": [],
        "tools": [],
        "tool_ids": [numbers.of("tool", tool.id) for tool in one.tools],
        "source_ids": [numbers.of("source", folder.id) for folder in one.folders],
        "folder_ids": None if one.folder_ids is None else list(one.folder_ids),
        "block_ids": [numbers.of("block", block.id) for block in one.view.blocks],
        "tool_rules": msgspec.to_builtins(out.tool_rules),
        "tags": list(out.tags),
        "system": out.system,
        "agent_type": out.agent_type,
        "initial_message_sequence": None,
        "include_base_tools": False,
        "include_multi_agent_tools": False,
        "include_base_tool_rules": False,
        "include_default_source": False,
        "description": out.description,
        "metadata": msgspec.json.decode(settings.metadata),
        "llm_config": msgspec.to_builtins(out.llm_config),
        "embedding_config": msgspec.to_builtins(out.embedding_config),
        "model": None,
        "embedding": None,
        "model_settings": None,
        "compaction_settings": msgspec.json.decode(settings.compaction.wire),
        "context_window_limit": None,
        "embedding_chunk_size": None,
        "max_tokens": None,
        "max_reasoning_tokens": None,
        "enable_reasoner": False,
        "reasoning": None,
        "from_template": None,
        "template": False,
        "project": None,
        "tool_exec_environment_variables": secrets,
        "secrets": secrets or None,
        "memory_variables": None,
        "project_id": None,
        "template_id": None,
        "base_template_id": None,
        "identity_ids": None,
        "message_buffer_autoclear": out.message_buffer_autoclear,
        "enable_sleeptime": False,
        "response_format": msgspec.to_builtins(out.response_format),
        "timezone": out.timezone,
        "max_files_open": out.max_files_open,
        "per_file_view_window_char_limit": out.per_file_view_window_char_limit,
        "hidden": out.hidden,
        "parallel_tool_calls": None,
        "id": numbers.of("agent", out.id),
        "in_context_message_ids": [numbers.of("message", message.id) for message in one.messages],
        "messages": [show_row(message, numbers.given, zone_of(settings.timezone)) for message in one.messages],
        "files_agents": [show_held_entity(held, company.texts[held.file.id], settings, numbers) for held in one.files],
        "group_ids": [numbers.of("group", group.id) for group in one.groups],
    }


def show_tool_entity(tool: Tool, company: Company, numbers: Numbers) -> Entity:
    """A tool, its id made short."""
    shown: Entity = msgspec.json.decode(msgspec.json.encode(show_tool(tool)))
    if tool.remote is not None:
        shown = with_server(shown, tool, company.servers.get(tool.remote.server_id))
    return {**shown, "id": numbers.of("tool", tool.id)}


def show_block_entity(block: Any, numbers: Numbers) -> Entity:
    """A block, its id made short."""
    shown: Entity = msgspec.json.decode(msgspec.json.encode(show_block(block)))
    del shown["created_by_id"], shown["last_updated_by_id"]
    return {**shown, "tags": shown["tags"] or None, "id": numbers.of("block", block.id)}


async def liken(house: House, file: AgentFile, owners: Mapping[str, Sequence[AgentId]], numbers: Numbers) -> None:
    """Write what has not changed since it came in a file as that file had it."""
    long = numbers.long()
    for entities in lists(file):
        for start in range(0, len(entities), GET_KEYS_MAX):
            shorts = [str(one["id"]) for one in entities[start : start + GET_KEYS_MAX]]
            ids = [long.get(short, short) for short in shorts]
            origins = await house.records.get_all([ORIGINS.at(owners[id][0], id) for id in ids])
            for at, origin in enumerate(origins, start):
                entities[at] = restore(entities[at], None if origin is None else origin.value)
