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
        if not isinstance(id, str) or not id.startswith(f"{kind}-") or not id[len(kind) + 1 :].isdigit():
            yield f"Invalid ID format: {str(id)[:80]} should be '{kind}-<number>'"
        elif id in seen:
            yield f"Duplicate ID: {id}"
        else:
            seen.add(id)


def _dangling(file: AgentFile) -> Iterable[str]:
    """References to what is not in the file."""
    known = {entity.get("id") for section in SECTIONS for entity in getattr(file, section)}
    for agent in file.agents:
        messages = {message.get("id") for message in agent.get("messages") or ()}
        named = names(agent, "tool_ids", "block_ids")
        named += [link.get(field) for link in agent.get("files_agents") or () for field in ("file_id", "source_id")]
        yield from (f"{agent.get('id')} references non-existent {id}" for id in named if id not in known)
        inside = names(agent, "in_context_message_ids")
        yield from (f"{agent.get('id')} references non-existent {id}" for id in inside if id not in messages)
    for group in file.groups:
        yield from (f"{group.get('id')} references non-existent {id}" for id in members(group) if id not in known)
    for each in file.files:
        if each.get("source_id") not in known:
            yield f"{each.get('id')} references non-existent {each.get('source_id')}"


def strangers(file: AgentFile) -> list[str]:
    """What things of the file name that is not in it, and that they can do without: a sentence for each.

    The retired server writes such files: folders without a file, the groups of an agent that came along for another
    one's, and blocks that a group shares, by the ids that they have there.
    """
    known = {entity["id"] for section in SECTIONS for entity in getattr(file, section)}
    named = [(agent["id"], id) for agent in file.agents for id in names(agent, "source_ids", "group_ids")]
    named += [(group["id"], id) for group in file.groups for id in names(group, "shared_block_ids", "shared_blocks")]
    return [f"{id} of {whose} is not in the file" for whose, id in named if id not in known]


def names(entity: Entity, *fields: str) -> list[str]:
    """The ids that these fields list."""
    return [id for field in fields for id in entity.get(field) or ()]


def members(group: Entity) -> list[str]:
    """The agents that a group names."""
    chief = (group.get("manager_config") or {}).get("manager_agent_id")
    return names(group, "agent_ids") + ([] if chief is None else [chief])
