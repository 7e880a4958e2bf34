"""Agents with all that they are made of, read from the store to be written into a file."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from kelpie.agent.file_desk import AgentFile as HeldFile
from kelpie.agent.groups import Group
from kelpie.agent.settings import read_settings
from kelpie.agent.state import CONVERSATIONS, STATES
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.agent.view import AgentView
from kelpie.api.letta.agent_file.shapes import Entity
from kelpie.api.letta.house import House
from kelpie.errors import LimitExceeded, NotFound
from kelpie.ids import AgentId, ConversationId, FileId, FolderId, McpServerId
from kelpie.limits import AGENT_FILE_AGENTS_MAX, AGENT_FILE_TEXT_CHARS_MAX
from kelpie.memory.folders import Folder
from kelpie.memory.history import StoredMessage
from kelpie.tools.mcp_servers import McpServer
from kelpie.tools.tool import Tool


class Gathered(Struct, frozen=True, kw_only=True):
    """One agent, and what it is made of. `files` are those of its folders, the oldest first."""

    view: AgentView
    tools: tuple[Tool, ...]
    messages: tuple[StoredMessage, ...]
    folders: tuple[Folder, ...]
    files: tuple[HeldFile, ...]
    groups: tuple[Group, ...]  # that it leads
    folder_ids: tuple[FolderId, ...] | None  # its folders, where they are named only


class Company(Struct, frozen=True, kw_only=True):
    """The agents of a file, the one that was asked for first, and what is not one agent's alone."""

    members: tuple[Gathered, ...]
    texts: Mapping[FileId, str]
    servers: Mapping[McpServerId, McpServer]


class Options(Struct, frozen=True, kw_only=True):
    """What of an agent is written."""

    conversation_id: str | None = None  # its messages instead of those of the agent's default thread
    scrub_messages: bool = False
    folders_named: bool = False  # folders go along as the ids that they have here, not with their files
    skills: tuple[Entity, ...] = ()


async def gather(house: House, agent_ids: Sequence[AgentId], options: Options) -> Company:
    """These agents as they are now, and those of the groups that they lead. Raises NotFound, LimitExceeded."""
    waiting = list(agent_ids)
    members: list[Gathered] = []
    for agent_id in waiting:  # which grows while it is walked
        one = await _gather_one(house, agent_id, options)
        options = msgspec.structs.replace(options, conversation_id=None)  # it is one of the first agent's
        members.append(one)
        others = dict.fromkeys(id for group in one.groups for id in group.agent_ids)
        waiting += [id for id in others if id not in waiting]
        if len(waiting) > AGENT_FILE_AGENTS_MAX:
            raise LimitExceeded(
                f"the agent leads groups of more than {AGENT_FILE_AGENTS_MAX} agents in all: a file holds no more",
                limit="AGENT_FILE_AGENTS_MAX",
                maximum=AGENT_FILE_AGENTS_MAX,
            )
    return Company(members=tuple(members), texts=await _texts(house, members), servers=await _servers(house, members))


async def _gather_one(house: House, agent_id: AgentId, options: Options) -> Gathered:
    view = await house.roster.get(agent_id)
    messages: tuple[StoredMessage, ...] = ()
    if not options.scrub_messages:
        thread = Thread(agent_id=agent_id)
        if options.conversation_id is not None:
            thread = await _thread_of(house, agent_id, options.conversation_id)
        messages = await _window(house, thread)
    settings = view.settings
    return Gathered(
        view=view,
        tools=await house.tools.present(settings.tools),
        messages=messages,
        folders=() if options.folders_named else tuple(await house.files.folders_of(settings)),
        files=() if options.folders_named else tuple(reversed(await house.files.files_of(settings))),
        groups=tuple(await house.groups.all.get_many(await house.groups.managed.rights_of(agent_id))),
        folder_ids=settings.folders if options.folders_named else None,
    )


async def _texts(house: House, members: Sequence[Gathered]) -> dict[FileId, str]:
    """The text of each file that an agent has. Raises LimitExceeded when they are too much for one file."""
    files = {held.file.id: held.file for one in members for held in one.files}
    total = sum(file.text_chars for file in files.values())
    if total > AGENT_FILE_TEXT_CHARS_MAX:
        raise LimitExceeded(
            f"the files in the folders of the agent have {total} characters, and an agent file holds"
            f" {AGENT_FILE_TEXT_CHARS_MAX}: take some folders from the agent first",
            limit="AGENT_FILE_TEXT_CHARS_MAX",
            maximum=AGENT_FILE_TEXT_CHARS_MAX,
        )
    return {file.id: await house.folders.text(file) for file in files.values()}


async def _servers(house: House, members: Sequence[Gathered]) -> dict[McpServerId, McpServer]:
    """The servers of the agents' tools."""
    tools = [tool for one in members for tool in one.tools]
    ids = dict.fromkeys(tool.remote.server_id for tool in tools if tool.remote is not None)
    return {server.id: server for server in await house.servers.servers.get_many(list(ids))}


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
