"""What an agent file looks like, as far as it is looked at, and the ids that stand in it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from kelpie.errors import InvalidInput

T = TypeVar("T")
Entity = dict[str, Any]
# What says how things belong together: it is built anew, and never kept as a file had it.
STRUCTURE = frozenset(
    "id agent_id messages in_context_message_ids memory_blocks tools tool_ids source_ids folder_ids block_ids"
    " identity_ids files_agents group_ids file_id source_id agent_ids shared_block_ids shared_blocks"
    " manager_config".split()
)
SECTIONS = {
    "agents": "agent",
    "groups": "group",
    "blocks": "block",
    "files": "file",
    "sources": "source",
    "tools": "tool",
    "mcp_servers": "mcp_server",
}
MISTAKES_NAMED_MAX = 5
ID_CHARS_MAX = 40
LINKS = {"tool_ids": "tool", "block_ids": "block"}  # of agents, which cannot do without them


class AgentFile(Struct, kw_only=True):
    """The second form."""

    agents: list[Entity]
    groups: list[Entity]
    blocks: list[Entity]
    files: list[Entity]
    sources: list[Entity]
    tools: list[Entity]
    mcp_servers: list[Entity]
    skills: list[Entity] = []
    metadata: dict[str, str] = {}
    created_at: str | None = None


class LinkForm(Struct):
    """What is looked at of a file as an agent has it."""

    file_id: str
    source_id: str


class MessageForm(Struct):
    """What is looked at of a message before it is read."""

    tool_calls: list[Entity] | None = None
    tool_returns: list[Entity] | None = None
    approvals: list[Entity] | None = None


class AgentForm(Struct):
    """What is looked at of an agent before it is read as a request: how it belongs to others."""

    messages: list[MessageForm] | None = None
    files_agents: list[LinkForm] | None = None
    in_context_message_ids: list[str] | None = None
    tool_ids: list[str] | None = None
    block_ids: list[str] | None = None
    source_ids: list[str] | None = None
    folder_ids: list[str] | None = None
    group_ids: list[str] | None = None


class RuleForm(Struct):
    """What is looked at of a group's rule."""

    manager_type: str = "round_robin"
    manager_agent_id: str | None = None


class GroupForm(Struct):
    """What is looked at of a group."""

    agent_ids: list[str]
    shared_block_ids: list[str] | None = None
    shared_blocks: list[str] | None = None
    manager_config: RuleForm | None = None


class FileForm(Struct):
    """What is looked at of a file."""

    source_id: str


class ToolForm(Struct):
    """What is looked at of a tool."""

    name: str | None = None
    tool_type: str | None = None
    description: str | None = None
    json_schema: Entity | None = None
    args_json_schema: Entity | None = None
    metadata_: Entity | None = None
    tags: list[str] | None = None
    source_type: str | None = None
    source_code: str | None = None
    return_char_limit: int | None = None
    pip_requirements: list[Entity] | None = None
    npm_requirements: list[Entity] | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool | None = None


FORMS: dict[str, type[Struct]] = {"agents": AgentForm, "groups": GroupForm, "files": FileForm, "tools": ToolForm}


class Numbers:
    """Short ids for long ones, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def of(self, kind: str, id: str) -> str:
        """The short id, a new one if there is none yet."""
        if id not in self.given:
            count = self._counts.get(kind, 0)
            self._counts[kind] = count + 1
            self.given[id] = f"{kind}-{count}"
        return self.given[id]

    def long(self) -> dict[str, str]:
        """Long ids for the short ones."""
        return {short: id for id, short in self.given.items()}


def lists(file: AgentFile) -> Iterator[list[Entity]]:
    """Every list of things in it, those within agents too."""
    for section in SECTIONS:
        yield getattr(file, section)
    for agent in file.agents:
        yield from (agent[part] for part in ("messages", "files_agents") if agent.get(part))


def convert(given: Mapping[str, Any], kind: type[T], name: str) -> T:
    """`given` as that struct. Raises InvalidInput."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"Import failed: {name}: {error}", field="file") from None


def read_file(raw: bytes) -> AgentFile | Entity:
    """The file, in the second form or, as it stands, in the first. Raises InvalidInput."""
    try:
        decoded = msgspec.json.decode(raw)
        if isinstance(decoded, str):  # some clients encode the text once more
            decoded = msgspec.json.decode(decoded)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidInput("Corrupted agent file format.", field="file") from None
    if not isinstance(decoded, dict):
        raise InvalidInput("Corrupted agent file format.", field="file")
    if not isinstance(decoded.get("agents"), list):
        return decoded
    try:
        file = msgspec.convert(decoded, AgentFile)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"Import failed: {error}", field="file") from None
    check(file)
    return file


def check(file: AgentFile) -> None:
    """InvalidInput, naming the first few mistakes, unless ids are well formed, unique and lead to something."""
    for section, form in FORMS.items():
        for entity in getattr(file, section):
            convert(entity, form, str(entity.get("id"))[:80])
    mistakes = [*_bad_ids(file), *_dangling(file)]
    if mistakes:
        more = f" (and {len(mistakes) - MISTAKES_NAMED_MAX} more)" if len(mistakes) > MISTAKES_NAMED_MAX else ""
        raise InvalidInput(f"Import failed: {'; '.join(mistakes[:MISTAKES_NAMED_MAX])}{more}", field="file")


def _bad_ids(file: AgentFile) -> Iterable[str]:
    seen: set[str] = set()
    entities = [(kind, entity) for section, kind in SECTIONS.items() for entity in getattr(file, section)]
    messages = [("message", message) for agent in file.agents for message in agent.get("messages") or ()]
    for kind, entity in entities + messages:
        id = entity.get("id")
        number = id.removeprefix(f"{kind}-") if isinstance(id, str) and len(id) <= ID_CHARS_MAX else ""
        if number == id or not number.isascii() or not number.isdigit():
            yield f"Invalid ID format: {str(id)[:80]} should be '{kind}-<number>'"
        elif id in seen:
            yield f"Duplicate ID: {id}"
        else:
            seen.add(id)


def _dangling(file: AgentFile) -> Iterable[str]:
    """References to what is not in the file, or is of another kind."""
    known = {kind: {entity.get("id") for entity in getattr(file, section)} for section, kind in SECTIONS.items()}
    named: list[tuple[Entity, str, str]] = []  # whose, a kind, an id
    for agent in file.agents:
        named += [(agent, kind, id) for field, kind in LINKS.items() for id in names(agent, field)]
        for link in agent.get("files_agents") or ():
            named += [(agent, "file", link["file_id"]), (agent, "source", link["source_id"])]
        messages = {message.get("id") for message in agent.get("messages") or ()}
        inside = names(agent, "in_context_message_ids")
        yield from (f"{agent.get('id')} references non-existent {id[:80]}" for id in inside if id not in messages)
    named += [(group, "agent", id) for group in file.groups for id in members(group)]
    named += [(each, "source", each["source_id"]) for each in file.files]
    for whose, kind, id in named:
        if id not in known[kind]:
            yield f"{whose.get('id')} references non-existent {id[:80]}"


def strangers(file: AgentFile) -> list[str]:
    """What things of the file name that is not in it, and that they can do without: a sentence for each.

    The retired server writes such files: folders without a file, the groups of an agent that came along for another
    one's, and blocks that a group shares, by the ids that they have there.
    """
    known = {kind: {entity["id"] for entity in getattr(file, section)} for section, kind in SECTIONS.items()}
    named = [
        (whose, kind, id)
        for whose, kind, fields in (
            *[(agent, "source", ("source_ids",)) for agent in file.agents],
            *[(agent, "group", ("group_ids",)) for agent in file.agents],
            *[(group, "block", ("shared_block_ids", "shared_blocks")) for group in file.groups],
        )
        for id in names(whose, *fields)
    ]
    return [f"{id[:80]} of {whose['id']} is not in the file" for whose, kind, id in named if id not in known[kind]]


def names(entity: Entity, *fields: str) -> list[str]:
    """The ids that these fields list."""
    return [id for field in fields for id in entity.get(field) or ()]


def members(group: Entity) -> list[str]:
    """The agents that a group names."""
    chief = (group.get("manager_config") or {}).get("manager_agent_id")
    return names(group, "agent_ids") + ([] if chief is None else [chief])
