"""What people ask for when they make or change an agent, and the checks that every such request must pass."""

from collections.abc import Mapping, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from kelpie.agent.rules import ToolRule
from kelpie.agent.secrets import Secret
from kelpie.agent.state import NO_JSON, AgentSettings, BlockRef, Compaction, InputMessage, StopReason, WindowEntry
from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded
from kelpie.ids import AgentId, BlockId, FolderId, IdentityId, ToolId
from kelpie.limits import (
    AGENT_NAME_CHARS_MAX,
    AGENT_SYSTEM_CHARS_MAX,
    AGENT_TAGS_MAX,
    AGENT_TOOLS_MAX,
    BLOCKS_PER_AGENT_MAX,
    CONTEXT_WINDOW_TOKENS_MAX,
    CONTEXT_WINDOW_TOKENS_MIN,
    FILE_VIEW_CHARS_MAX,
    FILES_OPEN_MAX,
    FOLDERS_PER_AGENT_MAX,
    IDENTITIES_PER_AGENT_MAX,
    MESSAGE_BYTES_MAX,
    MESSAGES_PER_CALL_MAX,
    METADATA_BYTES_MAX,
    SUMMARY_CHARS_MAX,
    TAG_CHARS_MAX,
    TEMPLATE_VARIABLES_BYTES_MAX,
    TEXT_FIELD_CHARS_MAX,
    TOOL_RULES_MAX,
)
from kelpie.llm.messages import Sampling, TextPart
from kelpie.memory.lineage import NOWHERE, Lineage, check_lineage

DEFAULT_SYSTEM = """You are an agent with a memory that lasts. You talk with people, and with other programs, over \
any length of time, and you stay the same one from one conversation to the next.

What you know about yourself and about whom you talk with stands in the memory blocks below. They are always in \
front of you. When you learn something that should still be known later, write it into the block where it belongs, \
with your memory tools, at once: what is only said in the conversation scrolls out of your sight in time. Keep \
blocks short and true; correct what is outdated instead of adding to it. A block marked read-only is not yours to \
change.

Older messages that you no longer see are not lost. Search them when somebody refers to what you cannot recall, \
before you say that you do not know.

Be natural, honest and helpful. Say so when you are not sure. Do not talk about how your memory works unless asked."""


class NewBlock(Struct, frozen=True, kw_only=True):
    """A block that is made together with an agent."""

    label: str
    value: str
    limit_chars: int | None = None
    read_only: bool = False
    description: str | None = None
    metadata: Raw = Raw(b"{}")
    tags: tuple[str, ...] = ()
    name: str | None = None
    is_template: bool = False
    hidden: bool | None = None
    lineage: Lineage = NOWHERE


class NewAgent(Struct, frozen=True, kw_only=True):
    """An agent to be made. Tools may be named or given by id; `context_window_tokens` None: as the model has."""

    name: str
    kind: str
    model: str
    system: str = DEFAULT_SYSTEM
    embedding: str | None = None
    context_window_tokens: int | None = None
    sampling: Sampling = Sampling()
    compaction: Compaction = Compaction()
    new_blocks: tuple[NewBlock, ...] = ()
    block_ids: tuple[BlockId, ...] = ()
    tool_names: tuple[str, ...] = ()
    optional_tool_names: tuple[str, ...] = ()  # given if this server has them
    tool_ids: tuple[ToolId, ...] = ()
    tool_rules: tuple[ToolRule, ...] = ()
    rules_of_tools: tuple[ToolRule, ...] = ()  # added for those of these tools that the agent has
    speaks_with: str | None = None
    heartbeats: bool = False
    messages: tuple[InputMessage, ...] = ()  # what the agent is to find in its window from the beginning
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: Raw = NO_JSON
    timezone: str = "UTC"
    hidden: bool | None = None
    files_open_max: int | None = None
    file_view_chars: int | None = None
    forget_between_turns: bool = False
    secrets: tuple[Secret, ...] = ()
    identity_ids: tuple[IdentityId, ...] = ()
    lineage: Lineage = NOWHERE
    variables: Mapping[str, str] = {}  # what stands for those of its template
    wire: Raw = NO_JSON


class Past(Struct, frozen=True, kw_only=True):
    """What an agent brings that lived elsewhere: its id and times, and its history, whose messages are stored already.

    `window` are the messages that the model sees, the first of them the system message; there are `next_seq` in all.
    """

    id: AgentId
    created_at_us: int
    updated_at_us: int
    window: tuple[WindowEntry, ...]
    next_seq: int
    folders: tuple[FolderId, ...] = ()
    last_run_at_us: int | None = None
    last_run_ms: int | None = None
    last_stop_reason: StopReason | None = None


class AgentChanges(Struct, frozen=True, kw_only=True):
    """What an edit of an agent changes; UNSET stays as it is."""

    name: str | UnsetType = UNSET
    system: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    embedding: str | None | UnsetType = UNSET
    context_window_tokens: int | UnsetType = UNSET
    sampling: Sampling | UnsetType = UNSET
    compaction: Compaction | UnsetType = UNSET
    block_ids: tuple[BlockId, ...] | UnsetType = UNSET
    tools: tuple[ToolId, ...] | UnsetType = UNSET
    tool_rules: tuple[ToolRule, ...] | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    timezone: str | UnsetType = UNSET
    hidden: bool | None | UnsetType = UNSET
    files_open_max: int | UnsetType = UNSET
    file_view_chars: int | UnsetType = UNSET
    forget_between_turns: bool | UnsetType = UNSET
    secrets: tuple[Secret, ...] | UnsetType = UNSET
    lineage: Lineage | UnsetType = UNSET
    wire: Raw | UnsetType = UNSET


def apply_changes(settings: AgentSettings, changes: AgentChanges, now_us: int) -> AgentSettings:
    """The settings after the edit, blocks left out: they concern other records too. Checked."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(changes).items()
        if value is not UNSET and name != "block_ids"
    }
    changed = msgspec.structs.replace(settings, **fields, updated_at_us=max(now_us, settings.updated_at_us))
    check_settings(changed)
    assert changed.id == settings.id and changed.created_at_us == settings.created_at_us
    return changed


def check_settings(settings: AgentSettings) -> None:
    """InvalidInput or LimitExceeded, naming the field, unless these settings may be stored."""
    if not settings.name.strip():
        raise InvalidInput("name: an agent's name is not blank", field="name")
    _check_size("name", len(settings.name), "AGENT_NAME_CHARS_MAX", AGENT_NAME_CHARS_MAX, "characters")
    _check_size("system", len(settings.system), "AGENT_SYSTEM_CHARS_MAX", AGENT_SYSTEM_CHARS_MAX, "characters")
    _check_size("description", len(settings.description or ""), "TEXT_FIELD_CHARS_MAX", TEXT_FIELD_CHARS_MAX)
    for field, raw in (("metadata", settings.metadata), ("settings", settings.wire)):
        _check_size(field, len(bytes(raw)), "METADATA_BYTES_MAX", METADATA_BYTES_MAX, "bytes")
    check_tool_count(len(settings.tools))
    _check_rules(settings.tool_rules)
    _check_size("blocks", len(settings.blocks), "BLOCKS_PER_AGENT_MAX", BLOCKS_PER_AGENT_MAX, "blocks")
    _check_size("identity_ids", len(settings.identities), "IDENTITIES_PER_AGENT_MAX", IDENTITIES_PER_AGENT_MAX, "ids")
    check_lineage(settings.lineage)
    if settings.variables:
        size = len(msgspec.json.encode(settings.variables))
        _check_size("memory_variables", size, "TEMPLATE_VARIABLES_BYTES_MAX", TEMPLATE_VARIABLES_BYTES_MAX, "bytes")
    assert settings.id
    assert settings.created_at_us >= 0
    check_tags(settings.tags)
    check_timezone(settings.timezone)
    check_window(settings.context_window_tokens)
    _check_compaction(settings.compaction)
    _check_files(settings)


def check_labels(refs: Sequence[BlockRef]) -> None:
    """AlreadyExists if two blocks of one agent have the same label."""
    labels: set[str] = set()
    for ref in refs:
        if ref.label in labels:
            raise AlreadyExists(f"the agent has another block with label '{ref.label}'", label=ref.label)
        labels.add(ref.label)


def check_tags(tags: tuple[str, ...]) -> None:
    """At most AGENT_TAGS_MAX tags of at most TAG_CHARS_MAX characters, none blank."""
    _check_size("tags", len(tags), "AGENT_TAGS_MAX", AGENT_TAGS_MAX, "tags")
    for tag in tags:
        _check_size("tags", len(tag), "TAG_CHARS_MAX", TAG_CHARS_MAX)
        if not tag.strip():
            raise InvalidInput("tags: a tag is not blank", field="tags")


def check_tool_count(count: int) -> None:
    """At most AGENT_TOOLS_MAX tools."""
    _check_size("tools", count, "AGENT_TOOLS_MAX", AGENT_TOOLS_MAX, "tools")


def check_timezone(name: str) -> None:
    """InvalidInput unless the name is an IANA time zone that this system knows."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(f"timezone: {name[:80]!r} is not an IANA time zone", field="timezone") from error


def check_window(tokens: int) -> None:
    """A context window between the two bounds."""
    if tokens < CONTEXT_WINDOW_TOKENS_MIN:
        raise InvalidInput(
            f"context_window_limit: {tokens} tokens are under the least of {CONTEXT_WINDOW_TOKENS_MIN}",
            field="context_window_limit",
        )
    _check_size("context_window_limit", tokens, "CONTEXT_WINDOW_TOKENS_MAX", CONTEXT_WINDOW_TOKENS_MAX, "tokens")


def check_messages(messages: tuple[InputMessage, ...]) -> None:
    """At most MESSAGES_PER_CALL_MAX messages, none empty, none over MESSAGE_BYTES_MAX."""
    _check_size("messages", len(messages), "MESSAGES_PER_CALL_MAX", MESSAGES_PER_CALL_MAX, "messages")
    for message in messages:
        if not any(not isinstance(part, TextPart) or part.text for part in message.parts):
            raise InvalidInput("messages: empty content in a message", field="messages")
        size = len(msgspec.json.encode(message))
        _check_size("messages", size, "MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX, "bytes")


def check_message_fields(message: InputMessage) -> None:
    """The small fields of a message are small."""
    for field, text in (("otid", message.otid), ("name", message.name), ("sender_id", message.sender_id)):
        _check_size(field, len(text or ""), "AGENT_NAME_CHARS_MAX", AGENT_NAME_CHARS_MAX)


def _check_rules(rules: tuple[ToolRule, ...]) -> None:
    _check_size("tool_rules", len(rules), "TOOL_RULES_MAX", TOOL_RULES_MAX, "rules")
    _check_size("tool_rules", len(msgspec.json.encode(rules)), "METADATA_BYTES_MAX", METADATA_BYTES_MAX, "bytes")


def _check_compaction(compaction: Compaction) -> None:
    if not 0 <= compaction.keep_percent < 100:
        raise InvalidInput(
            "compaction_settings.sliding_window_percentage: the part to keep is from 0 to under 1",
            field="compaction_settings.sliding_window_percentage",
        )
    _check_size("compaction_settings.prompt", len(compaction.prompt or ""), "SUMMARY_CHARS_MAX", SUMMARY_CHARS_MAX)
    wire = bytes(compaction.wire)
    _check_size("compaction_settings", len(wire), "METADATA_BYTES_MAX", METADATA_BYTES_MAX * 4, "bytes")


def _check_files(settings: AgentSettings) -> None:
    _check_size("folders", len(settings.folders), "FOLDERS_PER_AGENT_MAX", FOLDERS_PER_AGENT_MAX, "folders")
    for field, given, limit, maximum in (
        ("max_files_open", settings.files_open_max, "FILES_OPEN_MAX", FILES_OPEN_MAX),
        ("per_file_view_window_char_limit", settings.file_view_chars, "FILE_VIEW_CHARS_MAX", FILE_VIEW_CHARS_MAX),
    ):
        if given is not None and given < 1:
            raise InvalidInput(f"{field}: {given} is under the least of 1", field=field)
        _check_size(field, given or 0, limit, maximum, "")


def _check_size(field: str, size: int, limit: str, maximum: int, unit: str = "characters") -> None:
    if size > maximum:
        raise LimitExceeded(
            f"{field}: {size} {unit} are over the limit of {maximum}", field=field, limit=limit, maximum=maximum
        )
