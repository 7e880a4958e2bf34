"""Agents as clients ask for them: wire structs, and the way from them to ours.

The wire says how a model is to be asked in three places (`model_settings`, the older `llm_config`, and fields of
their own); the most specific one wins. What this server cannot do yet is refused by name.
"""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from kelpie.agent.drafts import DEFAULT_SYSTEM, AgentChanges, NewAgent, NewBlock
from kelpie.agent.secrets import Secret, seal_secrets
from kelpie.agent.state import NO_JSON, AgentSettings, Compaction, CompactionMode
from kelpie.api.letta.agent_kinds import KINDS, AgentKind, tool_rules
from kelpie.api.letta.agent_shapes import KeptFields, kept_fields
from kelpie.api.letta.block_shapes import BlockIn, read_block_fields
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import MessageIn, read_message
from kelpie.api.letta.models import Effort, EmbeddingConfigIn, read_embedding_config
from kelpie.api.letta.reply_formats import read_format
from kelpie.api.letta.tool_rules import ToolRuleIn, read_rule
from kelpie.errors import InvalidInput
from kelpie.ids import UUID_PATTERN, BlockId, FolderId, IdentityId, ToolId
from kelpie.limits import COMPACTION_KEEP_PERCENT
from kelpie.llm.messages import ReplyFormat, Sampling
from kelpie.memory.lineage import NOWHERE, Lineage

T = TypeVar("T")
Tokens = Annotated[int, Meta(ge=1, le=100_000_000)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
BlockIdIn = Annotated[str, Meta(pattern=f"^block-{UUID_PATTERN}$")]
FolderIdIn = Annotated[str, Meta(pattern=f"^source-{UUID_PATTERN}$")]
IdentityIdIn = Annotated[str, Meta(pattern=f"^identity-{UUID_PATTERN}$")]
MessageIdIn = Annotated[str, Meta(pattern=f"^message-{UUID_PATTERN}$")]
ToolIdIn = Annotated[str, Meta(pattern=f"^tool-{UUID_PATTERN}$")]


MULTI_AGENT_TOOLS = (
    "send_message_to_agent_and_wait_for_reply",
    "send_message_to_agent_async",
    "send_message_to_agents_matching_tags",
)


class ReasoningIn(Struct, frozen=True, kw_only=True):
    """How much to think, in OpenAI's words."""

    reasoning_effort: Effort | None = None


class ThinkingIn(Struct, frozen=True, kw_only=True):
    """How much to think, in Anthropic's words."""

    type: Literal["enabled", "disabled"] = "enabled"
    budget_tokens: Tokens | None = 1_024


class ModelSettingsIn(Struct, frozen=True, kw_only=True):
    """How the model is to be asked."""

    provider_type: str | None = None
    temperature: Temperature | None = None
    max_output_tokens: Tokens | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningIn | None = None
    thinking: ThinkingIn | None = None
    response_format: dict[str, Any] | None = None


class LlmConfigIn(Struct, frozen=True, kw_only=True):
    """How the model is to be asked, in the older form."""

    handle: str | None = None
    model: str | None = None
    model_endpoint_type: str | None = None
    provider_name: str | None = None
    context_window: Tokens | None = None
    temperature: Temperature | None = None
    max_tokens: Tokens | None = None
    parallel_tool_calls: bool | None = None
    enable_reasoner: bool | None = None
    reasoning_effort: Effort | None = None
    max_reasoning_tokens: Annotated[int, Meta(ge=0)] | None = None
    response_format: dict[str, Any] | None = None


class CompactionIn(Struct, frozen=True, kw_only=True):
    """How the window is to be compacted."""

    model: str | None = None
    model_settings: ModelSettingsIn | None = None
    prompt: str | None = None
    mode: CompactionMode | None = None
    clip_chars: Annotated[int, Meta(ge=1)] | None | UnsetType = UNSET
    prompt_acknowledgement: bool | None = None
    sliding_window_percentage: Annotated[float, Meta(ge=0, lt=1)] | None = None


class AgentFieldsIn(Struct, frozen=True, kw_only=True):
    """What may be said when an agent is made and when it is changed; null says nothing."""

    name: str | None = None
    system: str | None = None
    description: str | None = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    model: str | None = None
    embedding: str | None = None
    model_settings: ModelSettingsIn | None = None
    llm_config: LlmConfigIn | None = None
    embedding_config: EmbeddingConfigIn | None = None
    compaction_settings: CompactionIn | None = None
    context_window_limit: Tokens | None = None
    max_tokens: Tokens | None = None
    max_reasoning_tokens: Annotated[int, Meta(ge=0)] | None = None
    parallel_tool_calls: bool | None = None
    enable_reasoner: bool | None = None
    reasoning: bool | None = None
    block_ids: list[BlockIdIn] | None = None
    tool_ids: list[ToolIdIn] | None = None
    tool_rules: list[ToolRuleIn] | None = None
    response_format: dict[str, Any] | None = None
    message_buffer_autoclear: bool | None = None
    enable_sleeptime: bool | None = None
    timezone: str | None = None
    hidden: bool | None = None
    max_files_open: int | None = None
    per_file_view_window_char_limit: int | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    identity_ids: list[IdentityIdIn] | None = None
    source_ids: list[FolderIdIn] | None = None
    folder_ids: list[FolderIdIn] | None = None
    secrets: dict[str, str] | None = None
    tool_exec_environment_variables: dict[str, str] | None = None


class CreateAgentIn(AgentFieldsIn, frozen=True, kw_only=True):
    """An agent to be made."""

    agent_type: AgentKind = "letta_v1_agent"
    memory_blocks: list[BlockIn] | None = None
    tools: list[str] | None = None
    include_base_tools: bool | None = True
    include_base_tool_rules: bool | None = None
    include_default_source: bool | None = False
    include_multi_agent_tools: bool | None = None
    initial_message_sequence: list[MessageIn] | None = None
    memory_variables: dict[str, str] | None = None
    from_template: str | None = None


class UpdateAgentIn(AgentFieldsIn, frozen=True, kw_only=True):
    """What is to change of an agent."""

    message_ids: list[MessageIdIn] | None = None


def read_new_agent(wire: CreateAgentIn, name: str) -> NewAgent:
    """The agent to be made; `name` is for one without."""
    _refuse({"from_template": wire.from_template})
    _refuse({"memory_variables": wire.memory_variables})
    model = _handle(wire)
    if model is None:
        raise InvalidInput("Must specify either model or llm_config in request", field="model")
    messages = wire.initial_message_sequence or []
    facts = KINDS[wire.agent_type]
    with_rules = facts.ruled if wire.include_base_tool_rules is None else wire.include_base_tool_rules
    return NewAgent(
        name=wire.name or name,
        kind=wire.agent_type,
        model=model,
        system=DEFAULT_SYSTEM if wire.system is None else wire.system,
        embedding=_embedding(wire),
        context_window_tokens=_window(wire),
        sampling=read_sampling(wire, Sampling()),
        compaction=Compaction() if wire.compaction_settings is None else read_compaction(wire.compaction_settings),
        new_blocks=tuple(NewBlock(**read_block_fields(block)) for block in wire.memory_blocks or ()),
        block_ids=tuple(BlockId(block_id) for block_id in wire.block_ids or ()),
        tool_names=tuple(wire.tools or ()),
        optional_tool_names=_usual_tools(wire),
        tool_ids=tuple(ToolId(tool_id) for tool_id in wire.tool_ids or ()),
        tool_rules=tuple(map(read_rule, wire.tool_rules or ())),
        rules_of_tools=tool_rules() if with_rules else (),
        speaks_with=facts.speaks_with,
        heartbeats=facts.heartbeats,
        messages=tuple(
            read_message(message, ("body", "initial_message_sequence", at)) for at, message in enumerate(messages)
        ),
        tags=tuple(wire.tags or ()),
        description=wire.description,
        metadata=NO_JSON if wire.metadata is None else Raw(msgspec.json.encode(wire.metadata)),
        timezone=wire.timezone or "UTC",
        hidden=wire.hidden,
        files_open_max=wire.max_files_open,
        file_view_chars=wire.per_file_view_window_char_limit,
        identity_ids=tuple(IdentityId(one) for one in wire.identity_ids or ()),
        lineage=read_lineage(wire, NOWHERE),
        forget_between_turns=facts.forgets or bool(wire.message_buffer_autoclear),
        wire=_kept(wire, KeptFields()),
    )


def read_agent_changes(wire: UpdateAgentIn, now: AgentSettings) -> AgentChanges:
    """What is to change; `now` are the settings that partial settings of the model are laid over."""
    sampling = read_sampling(wire, now.sampling)
    kept = _kept(wire, kept_fields(now))
    compaction = wire.compaction_settings
    return AgentChanges(
        name=_given(wire.name),
        system=_given(wire.system),
        model=_given(_handle(wire)),
        embedding=_given(_embedding(wire)),
        context_window_tokens=_given(_window(wire)),
        sampling=UNSET if sampling == now.sampling else sampling,
        compaction=UNSET if compaction is None else read_compaction(compaction),
        block_ids=UNSET if wire.block_ids is None else tuple(BlockId(one) for one in wire.block_ids),
        tools=UNSET if wire.tool_ids is None else tuple(ToolId(one) for one in wire.tool_ids),
        tool_rules=UNSET if wire.tool_rules is None else tuple(map(read_rule, wire.tool_rules)),
        tags=UNSET if wire.tags is None else tuple(dict.fromkeys(wire.tags)),
        description=_given(wire.description),
        metadata=UNSET if wire.metadata is None else Raw(msgspec.json.encode(wire.metadata)),
        timezone=_given(wire.timezone),
        hidden=_given(wire.hidden),
        files_open_max=_given(wire.max_files_open),
        file_view_chars=_given(wire.per_file_view_window_char_limit),
        lineage=read_lineage(wire, now.lineage),
        forget_between_turns=_given(wire.message_buffer_autoclear),
        wire=UNSET if kept == now.wire else kept,
    )


def read_secrets(house: House, wire: AgentFieldsIn) -> tuple[Secret, ...] | None:
    """The secrets that are given, sealed; both fields name the same. None: none are given."""
    given = wire.tool_exec_environment_variables if wire.secrets is None else wire.secrets
    return None if given is None else seal_secrets(house.vault, house.world.entropy, given)


def read_folders(wire: AgentFieldsIn) -> list[FolderId] | None:
    """The folders that the agent is to have, under either name of them; None: nothing is said."""
    if wire.source_ids is None and wire.folder_ids is None:
        return None
    return [FolderId(one) for one in dict.fromkeys([*(wire.source_ids or ()), *(wire.folder_ids or ())])]


def read_lineage(wire: AgentFieldsIn, now: Lineage) -> Lineage:
    """To which project and template it belongs: what the wire says, over what holds now."""
    given = {name: getattr(wire, name) for name in ("project_id", "template_id", "base_template_id")}
    return msgspec.structs.replace(now, **{name: value for name, value in given.items() if value is not None})


def read_sampling(wire: AgentFieldsIn, now: Sampling) -> Sampling:
    """How the model is to be asked: what the wire says, over what holds now."""
    settings, config = wire.model_settings or ModelSettingsIn(), wire.llm_config or LlmConfigIn()
    effort = None if settings.reasoning is None else settings.reasoning.reasoning_effort
    return Sampling(
        temperature=_first(settings.temperature, config.temperature, now.temperature),
        output_tokens_max=_first(wire.max_tokens, settings.max_output_tokens, config.max_tokens, now.output_tokens_max),
        reasoning_effort=_first(effort, config.reasoning_effort, now.reasoning_effort),
        reasoning_tokens_max=_thinking(wire, settings, config, now),
        reply_format=_reply_format(wire, settings, config, now),
        parallel_tool_calls=_first(
            wire.parallel_tool_calls, settings.parallel_tool_calls, config.parallel_tool_calls, now.parallel_tool_calls
        )
        is not False,
    )


def read_compaction(wire: CompactionIn) -> Compaction:
    """How to compact. A model that this server has not got is accepted: clients name ones that only theirs had."""
    share, settings = wire.sliding_window_percentage, wire.model_settings
    return Compaction(
        model=wire.model,
        prompt=wire.prompt,
        mode=wire.mode or "sliding_window",
        clip_chars=None if wire.clip_chars is UNSET else wire.clip_chars,
        acknowledged=bool(wire.prompt_acknowledgement),
        sampling=None if settings is None else read_sampling(AgentFieldsIn(model_settings=settings), Sampling()),
        keep_percent=COMPACTION_KEEP_PERCENT if share is None else round(share * 100),
        wire=Raw(msgspec.json.encode(wire)),
    )


def _reply_format(
    wire: AgentFieldsIn, settings: ModelSettingsIn, config: LlmConfigIn, now: Sampling
) -> ReplyFormat | None:
    """The form of replies; text is said, null says nothing."""
    asked = _first(wire.response_format, settings.response_format, config.response_format)
    return now.reply_format if asked is None else read_format(asked)


def _thinking(wire: AgentFieldsIn, settings: ModelSettingsIn, config: LlmConfigIn, now: Sampling) -> int | None:
    """The tokens that the model may think for; None: it is not asked to."""
    if settings.thinking is not None:
        return settings.thinking.budget_tokens if settings.thinking.type == "enabled" else None
    if wire.reasoning is False or wire.enable_reasoner is False or config.enable_reasoner is False:
        return None
    return wire.max_reasoning_tokens or config.max_reasoning_tokens or now.reasoning_tokens_max


def _handle(wire: AgentFieldsIn) -> str | None:
    """The model that is asked for, by its handle."""
    if wire.model is not None:
        return wire.model
    config = wire.llm_config
    if config is None:
        return None
    if config.handle is not None:
        return config.handle
    provider = config.provider_name or config.model_endpoint_type
    return None if config.model is None or provider is None else f"{provider}/{config.model}"


def _usual_tools(wire: CreateAgentIn) -> tuple[str, ...]:
    """The tools that agents of this kind are given without being named."""
    base = KINDS[wire.agent_type].tools if wire.include_base_tools is not False else ()
    return (*base, *MULTI_AGENT_TOOLS) if wire.include_multi_agent_tools else base


def _embedding(wire: AgentFieldsIn) -> str | None:
    return wire.embedding or read_embedding_config(wire.embedding_config)


def _window(wire: AgentFieldsIn) -> int | None:
    config = wire.llm_config
    return _first(wire.context_window_limit, None if config is None else config.context_window)


def _kept(wire: AgentFieldsIn, now: KeptFields) -> Raw:
    """What is kept for the wire only."""
    given = {name: value for name in now.__struct_fields__ if (value := getattr(wire, name)) is not None}
    kept = msgspec.json.encode(msgspec.structs.replace(now, **given))
    return NO_JSON if kept == b"{}" else Raw(kept)


def _refuse(asked: dict[str, Any]) -> None:
    for field, value in asked.items():
        if value:
            raise InvalidInput(f"{field} is not supported by this server", field=field)


def _first(*values: T | None) -> T | None:
    return next((value for value in values if value is not None), None)


def _given(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value
