"""Agents as a file: gathered from the store, numbered, and written as whatever file they came from had it."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from kelpie.agent.origin import ORIGINS
from kelpie.agent.settings import read_settings
from kelpie.agent.state import CONVERSATIONS, STATES
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.agent.view import AgentView
from kelpie.api.letta.agent_file.likeness import restore
from kelpie.api.letta.agent_file.rows import show_row, show_time
from kelpie.api.letta.agent_file.shapes import AgentFile, Entity, Numbers
from kelpie.api.letta.agent_shapes import show_agent
from kelpie.api.letta.block_shapes import show_block
from kelpie.api.letta.house import House
from kelpie.api.letta.tools import show_tool
from kelpie.errors import NotFound
from kelpie.ids import AgentId, ConversationId
from kelpie.limits import GET_KEYS_MAX
from kelpie.memory.history import StoredMessage
from kelpie.tools.tool import Tool

FOLDERS_LEFT_OUT = "the agent's folders do not go along: attach them to the agents that are made of this"
FORM = "1c28e167b74f"  # the last revision of the retired server's schema, which is what the file's form goes by


class Gathered(Struct, frozen=True, kw_only=True):
    """One agent, and what it is made of."""

    view: AgentView
    tools: tuple[Tool, ...]
    messages: tuple[StoredMessage, ...]


class Options(Struct, frozen=True, kw_only=True):
    """What of an agent is written."""

    conversation_id: str | None = None  # its messages instead of those of the agent's default thread
    scrub_messages: bool = False
    skills: tuple[Entity, ...] = ()


async def write_file(house: House, agent_id: AgentId, options: Options) -> AgentFile:
    """The file. Raises NotFound."""
    one = await gather(house, agent_id, options)
    numbers = Numbers()
    file = AgentFile(agents=[], groups=[], blocks=[], files=[], sources=[], tools=[], mcp_servers=[])
    file.agents.append(await show_agent_entity(house, one, numbers))
    file.tools = [show_tool_entity(tool, numbers) for tool in sorted(one.tools, key=lambda tool: tool.name)]
    file.blocks = [
        show_block_entity(block, numbers) for block in sorted(one.view.blocks, key=lambda block: block.label)
    ]
    await liken(house, file, agent_id, numbers)
    file.skills = [*options.skills]
    file.metadata = {"revision_id": FORM}
    file.created_at = show_time(house.world.wall.now_us())
    return file


async def what_is_left_out(house: House, agent_id: AgentId) -> str | None:
    """A sentence for who asked for the file, where it has not all of the agent. Raises NotFound."""
    return FOLDERS_LEFT_OUT if (await house.roster.get_settings(agent_id)).folders else None


async def gather(house: House, agent_id: AgentId, options: Options) -> Gathered:
    """The agent as it is now. Raises NotFound."""
    view = await house.roster.get(agent_id)
    messages: tuple[StoredMessage, ...] = ()
    if not options.scrub_messages:
        thread = Thread(agent_id=agent_id)
        if options.conversation_id is not None:
            thread = await _thread_of(house, agent_id, options.conversation_id)
        messages = await _window(house, thread)
    tools = await house.tools.present(view.settings.tools)
    return Gathered(view=view, tools=tools, messages=messages)


async def show_agent_entity(house: House, one: Gathered, numbers: Numbers) -> Entity:
    """The agent, its ids made short."""
    out = await show_agent(house, one.view)
    numbers.of("agent", out.id)
    for message in one.messages:
        numbers.of("message", message.id)
    secrets = {one["key"]: "" for one in msgspec.to_builtins(out.secrets)}  # what they are stays here
    compaction = one.view.settings.compaction.wire
    return {
        "name": out.name,
        "memory_blocks": [],
        "tools": [],
        "tool_ids": [numbers.of("tool", tool.id) for tool in one.tools],
        "source_ids": [],
        "folder_ids": None,
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
        "metadata": msgspec.json.decode(one.view.settings.metadata),
        "llm_config": msgspec.to_builtins(out.llm_config),
        "embedding_config": msgspec.to_builtins(out.embedding_config),
        "model": None,
        "embedding": None,
        "model_settings": None,
        "compaction_settings": msgspec.json.decode(compaction),
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
        "messages": [show_row(message, numbers.given) for message in one.messages],
        "files_agents": [],
        "group_ids": [],
    }


def show_tool_entity(tool: Tool, numbers: Numbers) -> Entity:
    """A tool, its id made short."""
    shown: Entity = msgspec.json.decode(msgspec.json.encode(show_tool(tool)))
    return {**shown, "id": numbers.of("tool", tool.id)}


def show_block_entity(block: Any, numbers: Numbers) -> Entity:
    """A block, its id made short."""
    shown: Entity = msgspec.json.decode(msgspec.json.encode(show_block(block)))
    del shown["created_by_id"], shown["last_updated_by_id"]
    return {**shown, "tags": shown["tags"] or None, "id": numbers.of("block", block.id)}


async def liken(house: House, file: AgentFile, agent_id: AgentId, numbers: Numbers) -> None:
    """Write what has not changed since it came in a file as that file had it."""
    long = {short: id for id, short in numbers.given.items()}
    for entities in (file.agents, file.tools, file.blocks, *[agent["messages"] for agent in file.agents]):
        entities[:] = await _likened(house, agent_id, entities, long)


async def _likened(house: House, agent_id: AgentId, entities: Sequence[Entity], long: dict[str, str]) -> list[Entity]:
    likened: list[Entity] = []
    for start in range(0, len(entities), GET_KEYS_MAX):
        some = entities[start : start + GET_KEYS_MAX]
        origins = await house.records.get_all([ORIGINS.at(agent_id, long[entity["id"]]) for entity in some])
        likened += [
            restore(entity, None if origin is None else origin.value)
            for entity, origin in zip(some, origins, strict=True)
        ]
    return likened


async def _thread_of(house: House, agent_id: AgentId, conversation_id: str) -> Thread:
    found = await house.records.get(CONVERSATIONS.at(conversation_id))
    if found is None or found.value.agent_id != agent_id:
        raise NotFound(f"Conversation with id '{conversation_id[:80]}' not found", id=conversation_id[:80])
    return Thread(agent_id=agent_id, conversation_id=ConversationId(conversation_id))


async def _window(house: House, thread: Thread) -> tuple[StoredMessage, ...]:
    """The messages that the model sees."""
    await read_settings(house.records, thread)
    state = await house.records.get(STATES.at(thread.id))
    if state is None:
        raise thread_not_found(thread.id)
    return tuple(await house.history.get_many(thread.id, [entry.seq for entry in state.value.window]))
