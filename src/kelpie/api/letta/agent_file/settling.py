"""What agents of a file have around them, planned and made: tool servers, folders with their files, groups.

Planning looks, and writes nothing; it adds to `made` the id of what each short id is to become. What a file's folder
is called here may be taken: then it gets a suffix, and goes out again under the name that the file has.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, get_args

import msgspec
from msgspec import Struct

from kelpie.agent.file_desk import OPEN_FILES, OpenFile
from kelpie.agent.groups import Group, Pattern
from kelpie.api.letta.agent_file.pen import Pen
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.api.letta.agent_file.shapes import AgentFile, Entity, convert, names
from kelpie.api.letta.agent_file.surroundings import SERVER_TAG, SHARED
from kelpie.api.letta.folder_shapes import FolderIn, read_changes
from kelpie.api.letta.group_shapes import GroupIn, read_group
from kelpie.api.letta.house import House
from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.ids import AgentId, BlockId, FileId, FolderId, McpServerId, new_id, new_uuid
from kelpie.limits import (
    FILE_CHUNK_TOKENS_DEFAULT,
    FILE_CHUNK_TOKENS_MAX,
    FILE_NAME_CHARS_MAX,
    FILE_TEXT_CHARS_MAX,
    FILES_PER_FOLDER_MAX,
    FOLDERS_PER_AGENT_MAX,
    GROUPS_PER_AGENT_MAX,
    MCP_SERVERS_MAX,
)
from kelpie.memory.folders import File, Folder, check_file_name, with_text
from kelpie.memory.lineage import Lineage, merge_lineage
from kelpie.tools.mcp_servers import Clear, McpServer
from kelpie.tools.tool import Remote

NO_TEXT = "its text was not in the agent file"
_LOOKED_AT = re.compile(r"\[Viewing lines (\d+) to (\d+|end) \(out of \d+ lines\)\]")  # what a view begins with


class FileIn(Struct, frozen=True, kw_only=True):
    """A file of a folder."""

    source_id: str
    file_name: str | None = None
    original_file_name: str | None = None
    file_type: str | None = None
    file_size: int | None = None
    error_message: str | None = None
    content: str | None = None


class HeldIn(Struct, frozen=True, kw_only=True):
    """A file as an agent has it."""

    file_id: str
    source_id: str
    is_open: bool = False
    visible_content: str | None = None
    last_accessed_at: str | None = None
    start_line: int | None = None
    end_line: int | None = None


class ServerIn(Struct, frozen=True, kw_only=True):
    """A tool server, without its secrets."""

    server_name: str
    server_type: str = "streamable_http"
    server_url: str | None = None
    stdio_config: dict[str, Any] | None = None


class NewFile(Struct, frozen=True, kw_only=True):
    """A file to be stored, with its text."""

    file: File
    text: str


async def plan_servers(house: House, file: AgentFile, made: dict[str, str]) -> list[McpServer]:
    """Those to be added: the others are here by name. Raises InvalidInput, LimitExceeded."""
    new: dict[str, McpServer] = {}
    for entity in file.mcp_servers:
        given = convert(entity, ServerIn, entity["id"])
        found = await house.servers.servers.find_named(given.server_name)
        if found is not None or given.server_name in new:
            made[entity["id"]] = new[given.server_name].id if found is None else found.value.id
            continue
        config = given.stdio_config or {}
        command, args = config.get("command"), config.get("args") or []
        if given.server_type not in ("stdio", "sse", "streamable_http") or not _is_texts(args):
            raise InvalidInput(f"Import failed: {entity['id']}: this is no tool server that is known", field="file")
        if given.server_type == "stdio":
            clear = Clear(command=str(command) if command else None, args=tuple(args))
        else:
            clear = Clear(url=given.server_url, sse=given.server_type == "sse")
        server = await house.servers.draft(given.server_name, clear)
        new[server.name] = server
        if await house.servers.servers.count() + len(new) > MCP_SERVERS_MAX:
            raise _too_many("mcp_servers: with those that are here", "MCP_SERVERS_MAX", MCP_SERVERS_MAX)
        made[entity["id"]] = server.id
    return list(new.values())


async def find_remote(house: House, entity: Entity, file: AgentFile, made: Mapping[str, str]) -> Remote | None:
    """Where a tool of another server is; None where nothing says so."""
    about = (entity.get("metadata_") or {}).get(SERVER_TAG)
    if entity.get("tool_type") != "external_mcp" or not isinstance(about, dict):
        return None
    name = str(about.get("server_name"))
    ids = [made[server["id"]] for server in file.mcp_servers if server.get("server_name") == name]
    if not ids:
        found = await house.servers.servers.find_named(name)
        ids = [] if found is None else [found.value.id]
    tool_name = about.get("tool_name") or entity.get("name")
    return Remote(server_id=McpServerId(ids[0]), name=str(tool_name)) if ids else None


async def plan_folders(
    house: House, file: AgentFile, made: dict[str, str], embedding: str | None, notes: list[str]
) -> dict[str, Folder]:
    """The folders by their short ids. Raises InvalidInput, LimitExceeded, NotFound (`embedding`)."""
    planned: dict[str, Folder] = {}
    for entity in _numbered(file.sources):
        given = convert({**entity, "embedding_chunk_size": None}, FolderIn, entity["id"])
        config = given.embedding_config or {}
        wanted = embedding or given.embedding or config.get("handle")
        find = house.embeddings.find if embedding is not None else house.embeddings.find_for_agent
        info = await find(wanted if isinstance(wanted, str) else None)
        if isinstance(wanted, str) and info.handle != wanted:
            notes.append(f"the files of {entity['id']} are embedded with {info.handle} here, which lacks their model")
        sizes = (entity.get("embedding_chunk_size"), config.get("embedding_chunk_size"), FILE_CHUNK_TOKENS_DEFAULT)
        tokens = next(size for size in sizes if size is not None)
        if not isinstance(tokens, int) or not 0 < tokens <= FILE_CHUNK_TOKENS_MAX:
            raise InvalidInput(
                f"Import failed: {entity['id']}: a chunk has 1 to {FILE_CHUNK_TOKENS_MAX} tokens", field="file"
            )
        taken = {folder.name for folder in planned.values()}
        free = given.name not in taken and await house.folders.all.find_named(given.name) is None
        name = given.name if free else f"{given.name}_{new_uuid(house.world.entropy)[:8]}"
        folder = house.folders.draft(name, info.handle, tokens, read_changes(given))
        planned[entity["id"]] = folder
        made[entity["id"]] = folder.id
    return planned


def plan_files(
    house: House, file: AgentFile, made: dict[str, str], folders: Mapping[str, Folder]
) -> tuple[NewFile, ...]:
    """The files, in their order. Raises InvalidInput, LimitExceeded."""
    planned: list[NewFile] = []
    taken: dict[str, set[str]] = {folder.id: set() for folder in folders.values()}
    now_us = house.world.wall.now_us()
    for at, entity in enumerate(_numbered(file.files)):
        given, short = convert(entity, FileIn, entity["id"]), entity["id"]
        folder = folders[given.source_id]
        name = (given.file_name or given.original_file_name or short).rpartition("/")[2]
        check_file_name(name)
        if name in taken[folder.id]:
            raise InvalidInput(f"Import failed: {short}: its folder has another file '{name[:80]}'", field="file")
        taken[folder.id].add(name)
        if len(taken[folder.id]) > FILES_PER_FOLDER_MAX:
            raise _too_many(f"{given.source_id}: files", "FILES_PER_FOLDER_MAX", FILES_PER_FOLDER_MAX)
        text = given.content or ""
        if len(text) > FILE_TEXT_CHARS_MAX:
            raise _too_many(f"{short}: characters", "FILE_TEXT_CHARS_MAX", FILE_TEXT_CHARS_MAX)
        original, kind = given.original_file_name or name, given.file_type or "text/plain"
        if max(len(original), len(kind)) > FILE_NAME_CHARS_MAX:
            raise _too_many(f"{short}: characters of its name", "FILE_NAME_CHARS_MAX", FILE_NAME_CHARS_MAX)
        new = File(
            id=FileId(new_id("file", house.world.entropy)),
            folder_id=folder.id,
            name=name,
            original_name=original,
            media_type=kind,
            size_bytes=len(text.encode()) if given.file_size is None else max(0, given.file_size),
            raw_pieces=0,
            note=given.error_message or (None if text else NO_TEXT),
            created_at_us=now_us + at,  # in the order in which they stand in the file
            updated_at_us=now_us + at,
            status="error",  # unless it has a text
        )
        new = with_text(new, text, folder.chunk_tokens) if text else new
        planned.append(NewFile(file=new, text=text))
        made[short] = new.id
    return tuple(planned)


async def plan_folders_of(house: House, agent: Entity, folders: Mapping[str, Folder]) -> tuple[FolderId, ...]:
    """The folders that the agent is to have: those of the file, and those that it names by the ids that they have here.

    Raises NotFound, LimitExceeded.
    """
    here = [FolderId(id) for id in names(agent, "folder_ids")]
    for folder_id in here:
        await house.folders.all.get(folder_id)
    theirs = [folders[id].id for id in names(agent, "source_ids") if id in folders]
    ids = tuple(dict.fromkeys([*theirs, *here]))
    if len(ids) > FOLDERS_PER_AGENT_MAX:
        raise _too_many(f"{agent['id']}: folders", "FOLDERS_PER_AGENT_MAX", FOLDERS_PER_AGENT_MAX)
    return ids


def plan_desk(house: House, agent: Entity, made: Mapping[str, str]) -> tuple[OpenFile, ...]:
    """Which files the agent has open, and where it looks. Raises InvalidInput."""
    held: list[OpenFile] = []
    for link in agent.get("files_agents") or ():
        given = convert(link, HeldIn, f"{agent['id']}: files_agents")
        if given.source_id not in names(agent, "source_ids"):
            raise InvalidInput(
                f"Import failed: {agent['id']} has {given.file_id} and not its folder {given.source_id}", field="file"
            )
        first, last = _lines(given)
        accessed_at = given.last_accessed_at
        held.append(
            OpenFile(
                file_id=FileId(made[given.file_id]),
                folder_id=FolderId(made[given.source_id]),
                is_open=given.is_open,
                accessed_at_us=house.world.wall.now_us() if accessed_at is None else read_time(accessed_at),
                first_line=first,
                last_line=last,
            )
        )
    return tuple(held)


def plan_groups(
    house: House, file: AgentFile, made: dict[str, str], lineage: Lineage | None, project_id: str | None
) -> tuple[Group, ...]:
    """The groups. Raises InvalidInput, LimitExceeded."""
    planned: list[Group] = []
    blocks = {block["id"] for block in file.blocks}
    memberships = Counter(id for entity in file.groups for id in dict.fromkeys(names(entity, "agent_ids")))
    for short, count in memberships.items():
        if count > GROUPS_PER_AGENT_MAX:
            raise _too_many(f"{short}: groups", "GROUPS_PER_AGENT_MAX", GROUPS_PER_AGENT_MAX)
    for entity in file.groups:
        rule = dict(entity.get("manager_config") or {})
        if rule.get("manager_type", "round_robin") not in get_args(Pattern):
            raise InvalidInput(
                f"Import failed: {entity['id']}: '{str(rule.get('manager_type'))[:40]}' is no rule that a group has",
                field="file",
            )
        if rule.get("manager_agent_id") is not None:
            rule["manager_agent_id"] = made[rule["manager_agent_id"]]
        elif rule.get("manager_type", "round_robin") != "round_robin":
            raise InvalidInput(f"Import failed: {entity['id']}: it has no manager_agent_id", field="file")
        shared = [made[id] for id in names(entity, "shared_block_ids", SHARED) if id in blocks]
        given = {**entity, "agent_ids": [made[id] for id in names(entity, "agent_ids")], "manager_config": rule}
        wire = convert({**given, "shared_block_ids": shared}, GroupIn, entity["id"])
        group = read_group(wire, house.groups, project_id)
        said = group.lineage if lineage is None else merge_lineage(group.lineage, lineage)
        planned.append(_with(group, said, shared))
        made[entity["id"]] = group.id
    return tuple(planned)


async def make_folders(house: House, folders: Mapping[str, Folder], files: tuple[NewFile, ...]) -> None:
    """The folders, then their files, which are embedded from then on."""
    for folder in folders.values():
        await house.folders.put(folder)
    for new in files:
        await house.folders.store_text(new.file, new.text)


async def make_desk(house: House, agent_id: AgentId, held: tuple[OpenFile, ...]) -> None:
    """What an agent has open; before there is the agent."""
    pen = Pen(house.records)
    for state in held:
        pen.batch.put(OPEN_FILES.at(agent_id, state.file_id), state)
        await pen.turn()
    await pen.finish()


def _with(group: Group, lineage: Lineage, shared: list[str]) -> Group:
    return msgspec.structs.replace(group, lineage=lineage, block_ids=tuple(BlockId(id) for id in shared))


def _lines(given: HeldIn) -> tuple[int | None, int | None]:
    """The first and last line that are looked at: as they are given, else as the view says itself."""
    if given.start_line is not None or given.end_line is not None:
        return given.start_line, given.end_line
    found = _LOOKED_AT.match(given.visible_content or "")
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "end" else int(found[2])


def _numbered(entities: list[Entity]) -> list[Entity]:
    """In the order of their short ids, in which they are written again."""
    return sorted(entities, key=lambda entity: int(entity["id"].rpartition("-")[2]))


def _is_texts(given: Any) -> bool:
    return isinstance(given, list) and all(isinstance(one, str) for one in given)


def _too_many(what: str, limit: str, maximum: int) -> LimitExceeded:
    return LimitExceeded(f"Import failed: {what}: over the limit of {maximum}", limit=limit, maximum=maximum)
