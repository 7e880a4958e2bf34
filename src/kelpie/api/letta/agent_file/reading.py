"""What a file holds, made: tool servers, tools, blocks, folders, then agents with their messages, then groups.

The whole file is understood before the first commit. An agent appears, in one commit with its links, when all of it is
there; its messages are stored before it, under its id, where nobody looks for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from kelpie.agent.drafts import NewAgent, Past
from kelpie.agent.file_desk import OpenFile, agent_file_id
from kelpie.agent.groups import Group
from kelpie.agent.origin import ORIGINS
from kelpie.agent.state import WindowEntry
from kelpie.api.letta.agent_file.gathering import Options, gather
from kelpie.api.letta.agent_file.likeness import compare
from kelpie.api.letta.agent_file.pen import Pen
from kelpie.api.letta.agent_file.rows import Place, read_row, show_time
from kelpie.api.letta.agent_file.settling import (
    NewFile,
    find_remote,
    make_desk,
    make_folders,
    plan_desk,
    plan_files,
    plan_folders,
    plan_folders_of,
    plan_groups,
    plan_servers,
)
from kelpie.api.letta.agent_file.shapes import (
    SECTIONS,
    STRUCTURE,
    AgentFile,
    Entity,
    Numbers,
    convert,
    lists,
    strangers,
)
from kelpie.api.letta.agent_file.writing import owners, show_company
from kelpie.api.letta.agent_requests import CreateAgentIn, read_new_agent, read_secrets
from kelpie.api.letta.block_shapes import BlockIn, read_block_fields
from kelpie.api.letta.house import House
from kelpie.api.letta.tools import TYPES, KeptFields
from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.ids import AgentId, FileId, FolderId, IdentityId, ToolId, new_agent_id, new_id, new_message_id
from kelpie.limits import (
    AGENT_FILE_AGENTS_MAX,
    AGENT_FILE_TEXT_CHARS_MAX,
    RECORD_BYTES_MAX,
    TOOL_RETURN_CHARS_DEFAULT,
)
from kelpie.memory.blocks import Block
from kelpie.memory.folders import Folder
from kelpie.memory.history import StoredMessage, append
from kelpie.memory.lineage import Lineage, merge_lineage
from kelpie.memory.render import compile_system
from kelpie.storage.records import Records
from kelpie.tools.mcp_servers import McpServer
from kelpie.tools.tool import Requirement, Source, StoredKind, Tool

STORED_TYPES: dict[str, StoredKind] = {
    "custom": "custom", "external_mcp": "mcp", "external_langchain": "langchain", "external_composio": "composio",
}  # fmt: skip
NO_SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


class ImportOptions(Struct, frozen=True, kw_only=True):
    """How a file is to be taken in."""

    override_existing_tools: bool = True
    strip_messages: bool = False
    secrets: Mapping[str, str] | None = None
    name: str | None = None
    append_copy_suffix: bool = True
    model: str | None = None
    embedding: str | None = None
    project_id: str | None = None
    identity_ids: tuple[IdentityId, ...] = ()
    lineage: Lineage | None = None  # of the agents and blocks that are made
    variables: Mapping[str, str] = {}  # that were filled into the file
    opening: tuple[Entity, ...] | None = None  # messages without ids, in place of those of the file


class ToolPlan(Struct, frozen=True, kw_only=True):
    """A tool of the file: which one it becomes, and what is to be stored for that; None: nothing."""

    id: ToolId
    stored: Tool | None
    is_new: bool


class AgentPlan(Struct, frozen=True, kw_only=True):
    """An agent of the file, as it is to be made."""

    new: NewAgent
    past: Past
    history: tuple[StoredMessage, ...]
    held: tuple[OpenFile, ...]


class FilePlan(Struct, frozen=True, kw_only=True):
    """A file that is understood: what it is to become. `made` gives the ids of what was short ids in it."""

    servers: Sequence[McpServer]
    tools: Mapping[str, ToolPlan]
    blocks: Mapping[str, Block]
    folders: Mapping[str, Folder]
    files: tuple[NewFile, ...]
    agents: tuple[AgentPlan, ...]
    groups: tuple[Group, ...]
    made: dict[str, str]
    notes: tuple[str, ...]  # what is not as the file has it

    @property
    def counts(self) -> dict[str, int]:
        """How much there is of each kind that there is any of, agents left out."""
        parts = {"folders": self.folders, "files": self.files, "groups": self.groups, "tool servers": self.servers}
        messages = {"messages": sum(len(each.history) for each in self.agents)}
        return messages | {kind: len(ones) for kind, ones in parts.items() if ones}


class Taken(Struct, frozen=True, kw_only=True):
    """What was made of a file. Its files are embedded by their actors, who may be nudged."""

    agent_ids: tuple[AgentId, ...]
    group_ids: tuple[str, ...]
    file_ids: tuple[FileId, ...]
    counts: dict[str, int]
    notes: tuple[str, ...]


async def understand(house: House, file: AgentFile, options: ImportOptions) -> FilePlan:
    """The plan; nothing is written. Raises InvalidInput, NotFound, LimitExceeded."""
    if options.model is not None:
        await house.roster.find_model(options.model)
    _check_extent(file)
    made: dict[str, str] = {}
    notes = strangers(file)
    servers = await plan_servers(house, file, made)
    tools = {entity["id"]: await _plan_tool(house, entity, file, made, options) for entity in file.tools}
    blocks = {entity["id"]: _plan_block(house, entity, options) for entity in file.blocks}
    made.update({short: each.id for short, each in (*tools.items(), *blocks.items())})
    folders = await plan_folders(house, file, made, options.embedding, notes)
    files = plan_files(house, file, made, folders)
    made.update({entity["id"]: new_agent_id(house.world.entropy) for entity in file.agents})
    folders_of = [await plan_folders_of(house, entity, folders) for entity in file.agents]
    agents: list[AgentPlan] = []
    for entity, folder_ids in zip(file.agents, folders_of, strict=True):
        agents.append(_plan_agent(house, entity, made, blocks, folder_ids, options))
        if options.opening is not None:
            options = msgspec.structs.replace(options, opening=())  # they are said to the first agent
    return FilePlan(
        servers=servers,
        tools=tools,
        blocks=blocks,
        folders=folders,
        files=files,
        agents=tuple(agents),
        groups=plan_groups(house, file, made, options.lineage, options.project_id),
        made=made,
        notes=tuple(notes),
    )


async def take_in(house: House, file: AgentFile, options: ImportOptions) -> Taken:
    """Everything in the file. What is wrong with it is found before anything is written.

    Raises InvalidInput, NotFound, LimitExceeded.
    """
    plan = await understand(house, file, options)
    await make_tools(house, plan)
    for block in plan.blocks.values():
        await house.blocks.store(block)
    await make_folders(house, plan.folders, plan.files)
    for each in plan.agents:
        await store_history(house.records, each.history)
        await make_desk(house, each.past.id, each.held)
        await house.roster.create(each.new, each.past)
    for group in plan.groups:
        await house.groups.create(group)
    await _keep_likeness(house, file, plan.made)
    return Taken(
        agent_ids=tuple(each.past.id for each in plan.agents),
        group_ids=tuple(group.id for group in plan.groups),
        file_ids=tuple(new.file.id for new in plan.files if new.text),
        counts=plan.counts,
        notes=plan.notes,
    )


async def make_tools(house: House, plan: FilePlan) -> None:
    """The tools of the file with their servers, and nothing else of it."""
    for server in plan.servers:
        await house.servers.servers.create(server)
    for tool in plan.tools.values():
        await _make_tool(house, tool)


def read_tool(entity: Entity, id: ToolId, at_us: int) -> Tool:
    """A stored tool as a file or a database has it. Raises InvalidInput."""
    kind = STORED_TYPES.get(entity.get("tool_type") or "custom")
    schema = entity.get("json_schema") or {}
    name = entity.get("name") or schema.get("name")
    if kind is None or not isinstance(name, str):
        raise InvalidInput(f"Import failed: '{entity.get('tool_type')}' is not a tool's type here", field="tools")
    rest = {key: value for key, value in schema.items() if key not in ("name", "description", "parameters")}
    kept = KeptFields(
        source_type=entity.get("source_type"),
        json_schema=Raw(msgspec.json.encode(rest)),
    )
    code = entity.get("source_code")
    source = None
    if code:
        language = "typescript" if entity.get("source_type") == "typescript" else "python"
        pip, npm = (_requirements(entity.get(f"{each}_requirements")) for each in ("pip", "npm"))
        args_schema = Raw(msgspec.json.encode(entity.get("args_json_schema") or {}))
        source = Source(code=code, language=language, args_schema=args_schema, pip=pip, npm=npm)
    return Tool(
        id=id,
        created_at_us=at_us,
        updated_at_us=at_us,
        name=name,
        description=entity.get("description") or schema.get("description") or "",
        parameters=Raw(msgspec.json.encode(schema.get("parameters") or NO_SCHEMA)),
        kind=kind,
        return_chars_max=entity.get("return_char_limit") or TOOL_RETURN_CHARS_DEFAULT,
        tags=tuple(entity.get("tags") or ()),
        asks_approval=entity.get("default_requires_approval"),
        parallel=entity.get("enable_parallel_execution"),
        source=source,
        metadata=Raw(msgspec.json.encode(entity.get("metadata_") or {})),
        wire=Raw(msgspec.json.encode(kept)),
    )


def read_agent(entity: Entity, made: Mapping[str, str], options: ImportOptions) -> CreateAgentIn:
    """The agent, as a client would ask for it, with the ids of what was made. Raises InvalidInput."""
    config = dict(entity.get("llm_config") or {})
    if options.model is not None:
        config = {**config, "handle": options.model}
    embedding = entity.get("embedding_config")
    if options.embedding is not None:
        embedding = {**(embedding or {}), "handle": options.embedding}
    secrets = {**(entity.get("tool_exec_environment_variables") or {}), **(entity.get("secrets") or {})}
    given = {
        **{name: value for name, value in entity.items() if name not in STRUCTURE and value is not None},
        "name": options.name or f"{entity.get('name')}{'_copy' if options.append_copy_suffix else ''}",
        "llm_config": config or None,
        "model": options.model or entity.get("model"),
        "embedding_config": embedding,
        "tool_ids": [made[id] for id in entity.get("tool_ids") or ()],
        "block_ids": [made[id] for id in entity.get("block_ids") or ()],
        "include_base_tools": False,
        "secrets": {key: (options.secrets or {}).get(key, value) for key, value in secrets.items()} or None,
        "tool_exec_environment_variables": None,
    }
    given.pop("enable_sleeptime", None)  # the second agent and the group come in the file, if they were exported
    if options.project_id is not None:
        given["project_id"] = options.project_id
    return convert(given, CreateAgentIn, str(entity.get("id")))


async def _plan_tool(
    house: House, entity: Entity, file: AgentFile, made: Mapping[str, str], options: ImportOptions
) -> ToolPlan:
    """The tool of that name, changed if it may be; else a new one. The built-in ones are never changed."""
    name = str(entity.get("name"))
    found = (await house.tools.named([name])).get(name)
    now_us = house.world.wall.now_us()
    remote = await find_remote(house, entity, file, made)
    if found is None:
        if entity.get("tool_type") in set(TYPES.values()) - set(STORED_TYPES):
            raise InvalidInput(f"Import failed: this server has no built-in tool '{name[:80]}'", field="tools")
        tool = read_tool(entity, ToolId(new_id("tool", house.world.entropy)), now_us)
        tool = msgspec.structs.replace(tool, remote=remote)
        house.tools.check(tool)
        return ToolPlan(id=tool.id, stored=tool, is_new=True)
    if not options.override_existing_tools or house.tools.is_builtin(found.id):
        return ToolPlan(id=found.id, stored=None, is_new=False)
    changed = read_tool(entity, found.id, found.created_at_us)
    changed = msgspec.structs.replace(changed, updated_at_us=now_us, remote=found.remote or remote)
    house.tools.check(changed)
    return ToolPlan(id=found.id, stored=changed, is_new=False)


async def _make_tool(house: House, plan: ToolPlan) -> None:
    tool = plan.stored
    if tool is None:
        return
    if plan.is_new:
        await house.tools.create(tool)
    else:
        await house.tools.edit(plan.id, lambda now: tool)


def _plan_block(house: House, entity: Entity, options: ImportOptions) -> Block:
    """A new block. A person may have let its value outgrow its limit, so that a file may as well."""
    given = {name: value for name, value in entity.items() if value is not None}
    fields = read_block_fields(convert(given, BlockIn, str(entity.get("id"))))
    limit = fields.pop("limit_chars")
    block = house.blocks.build(**{**fields, "lineage": _lineage(fields["lineage"], entity, options)})
    return block if limit is None else msgspec.structs.replace(block, limit_chars=limit)


def _plan_agent(
    house: House,
    entity: Entity,
    made: dict[str, str],
    blocks: Mapping[str, Block],
    folders: tuple[FolderId, ...],
    options: ImportOptions,
) -> AgentPlan:
    """An agent as it is to be made; the ids of its messages are added to `made`."""
    agent_id, now_us = AgentId(made[entity["id"]]), house.world.wall.now_us()
    wire = read_agent(entity, made, options)
    new = read_new_agent(wire, str(entity.get("name")))
    new = msgspec.structs.replace(
        new,
        secrets=read_secrets(house, wire) or (),
        identity_ids=options.identity_ids,
        lineage=_lineage(new.lineage, entity, options),
        variables=options.variables,
    )
    rows, shown = _messages(entity, options, now_us)
    ids = {row["id"]: new_message_id(house.world.entropy) for row in rows}
    made.update(ids)
    history: list[StoredMessage] = []
    begins_right = (
        options.opening is None
        and bool(shown)
        and next(row for row in rows if row["id"] == shown[0]).get("role") == "system"
    )
    if not begins_right:
        text = compile_system(new.system, [blocks[id] for id in entity.get("block_ids") or ()])
        place = Place(id=new_message_id(house.world.entropy), agent_id=agent_id, seq=0)
        history.append(read_row({"role": "system", "content": text, "created_at": show_time(now_us)}, place))
    for row in rows:
        history.append(read_row(row, Place(id=ids[row["id"]], agent_id=agent_id, seq=len(history))))
    _check_sizes(entity, history)
    seqs = {message.id: message.seq for message in history}
    window = [WindowEntry(id=ids[id], seq=seqs[ids[id]]) for id in shown]
    if not begins_right:
        window.insert(0, WindowEntry(id=history[0].id, seq=0))
    past = Past(
        id=agent_id,
        created_at_us=now_us,
        updated_at_us=now_us,
        window=tuple(window),
        next_seq=len(history),
        folders=folders,
    )
    house.roster.check(new, past, [blocks[id] for id in entity.get("block_ids") or ()])
    held = plan_desk(house, entity, made)
    return AgentPlan(new=new, past=past, history=tuple(history), held=held)


def _messages(entity: Entity, options: ImportOptions, now_us: int) -> tuple[Sequence[Entity], Sequence[str]]:
    """The messages that the agent begins with, and the ids of those that the model sees."""
    if options.opening is not None:
        rows = [
            {**row, "id": f"message-{at}", "created_at": show_time(now_us + 1 + at)}  # after the system message
            for at, row in enumerate(options.opening)
        ]
        return rows, [row["id"] for row in rows]
    if options.strip_messages:
        return [], []
    return entity.get("messages") or [], entity.get("in_context_message_ids") or []


def _lineage(said: Lineage, entity: Entity, options: ImportOptions) -> Lineage:
    """Of what it is made: what the file says, and over it what the import does."""
    if options.lineage is None:
        return said
    named = msgspec.structs.replace(options.lineage, entity_id=str(entity["id"]), preserved=said.preserved)
    return merge_lineage(said, named)


def _check_extent(file: AgentFile) -> None:
    """LimitExceeded for a file that would not be written so large here."""
    texts = sum(len(one["content"]) for one in file.files if isinstance(one.get("content"), str))
    for what, size, limit, maximum in (
        ("agents", len(file.agents), "AGENT_FILE_AGENTS_MAX", AGENT_FILE_AGENTS_MAX),
        ("characters of files", texts, "AGENT_FILE_TEXT_CHARS_MAX", AGENT_FILE_TEXT_CHARS_MAX),
    ):
        if size > maximum:
            sentence = f"Import failed: {size} {what} are over the limit of {maximum}"
            raise LimitExceeded(sentence, limit=limit, maximum=maximum)


def _check_sizes(entity: Entity, history: Sequence[StoredMessage]) -> None:
    """LimitExceeded if a message cannot be stored; pictures are in it."""
    for message in history:
        size = len(msgspec.json.encode(message))
        if size > RECORD_BYTES_MAX:
            raise LimitExceeded(
                f"Import failed: {entity['id']}: its message {message.seq} has {size} bytes, over the limit of"
                f" {RECORD_BYTES_MAX}",
                limit="RECORD_BYTES_MAX",
                maximum=RECORD_BYTES_MAX,
            )


async def store_history(records: Records, history: Sequence[StoredMessage]) -> None:
    """The messages, in as many commits as it takes."""
    pen = Pen(records)
    for message in history:
        append(pen.batch, message)
        await pen.turn()
    await pen.finish()


async def _keep_likeness(house: House, file: AgentFile, made: Mapping[str, str]) -> None:
    """What the file said otherwise than we would say it now."""
    company = await gather(house, [AgentId(made[agent["id"]]) for agent in file.agents], Options())
    numbers = Numbers()
    shown = await show_company(house, company, numbers)
    long = numbers.long()
    ours = {long.get(entity["id"], entity["id"]): entity for entities in lists(shown) for entity in entities}
    belongs = owners(company)
    pen = Pen(house.records)
    for given, id in _with_ids(file, made):
        if id is None or id not in ours:
            continue  # it was stripped
        origin = compare(_plain(given), _plain(ours[id]))
        if origin is None:
            continue
        for agent_id in belongs[id]:
            pen.batch.put(ORIGINS.at(agent_id, id), origin)
            await pen.turn()
    await pen.finish()


def _with_ids(file: AgentFile, made: Mapping[str, str]) -> Iterator[tuple[Entity, str | None]]:
    """Everything in the file, and what it became. Files as agents have them have no short ids."""
    for agent in file.agents:
        for link in agent.get("files_agents") or ():
            yield link, agent_file_id(AgentId(made[agent["id"]]), FileId(made[link["file_id"]]))
        for message in agent.get("messages") or ():
            yield message, made.get(message["id"])
    for section in SECTIONS:
        for entity in getattr(file, section):
            yield entity, made.get(entity["id"])


def _plain(entity: Entity) -> Entity:
    return {name: value for name, value in entity.items() if name not in STRUCTURE}


def _requirements(given: Any) -> tuple[Requirement, ...]:
    return tuple(Requirement(name=one["name"], version=one.get("version")) for one in given or ())
