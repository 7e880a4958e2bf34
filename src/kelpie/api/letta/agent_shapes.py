"""Agents as the wire shows them.

`include` picks the parts that cost something; without it the whole agent is given. What the wire has and this
server does not keeps the value that it has for agents without it.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from kelpie.agent.identities import Identity
from kelpie.agent.secrets import open_secrets
from kelpie.agent.state import NO_JSON, AgentSettings, AgentState
from kelpie.agent.view import AgentView
from kelpie.api.errors import Malformed
from kelpie.api.letta.agent_memo import AgentMemo
from kelpie.api.letta.block_shapes import BlockOut, show_block
from kelpie.api.letta.folder_shapes import FileBlockOut, FolderOut, show_file_block, show_known_folder
from kelpie.api.letta.group_shapes import GroupOut, show_group
from kelpie.api.letta.house import House
from kelpie.api.letta.identity_shapes import IdentityOut, show_identity
from kelpie.api.letta.message_shapes import show_message
from kelpie.api.letta.message_structs import ApprovalRequestMessage, ToolCallDeltaOut, ToolCallOut
from kelpie.api.letta.models import (
    MODEL_SETTINGS_SHAPES,
    EmbeddingConfigOut,
    LlmConfigOut,
    ModelSettingsOut,
    show_embedding_config,
    show_llm_config,
    show_model_settings,
)
from kelpie.api.letta.reply_formats import show_format
from kelpie.api.letta.tool_rules import show_rule
from kelpie.api.letta.tools import ToolOut, show_tool
from kelpie.api.letta.values import ORGANIZATION_ID, USER_ID, micros_date, optional_date
from kelpie.api.route import ENCODER, one_of
from kelpie.limits import TOOL_RETURN_CHARS_DEFAULT
from kelpie.llm.embedding import EmbeddingInfo
from kelpie.llm.model import ModelInfo
from kelpie.memory.compaction import SUMMARY_SYSTEM
from kelpie.tools.tool import Tool

JSON_OBJECT = Meta(extra_json_schema={"type": ["object", "null"]})  # what is stored as JSON goes out as it is
ALL_PARTS = frozenset(
    {
        "agent.blocks",
        "agent.tools",
        "agent.tags",
        "agent.secrets",
        "agent.sources",
        "agent.identities",
        "agent.pending_approval",
        "agent.managed_group",
    }
)
AGENT_SHAPES = (*MODEL_SETTINGS_SHAPES, ApprovalRequestMessage, ToolCallOut, ToolCallDeltaOut, EmbeddingConfigOut)
_OLD_PARTS = {
    "memory": "agent.blocks",
    "tools": "agent.tools",
    "tags": "agent.tags",
    "sources": "agent.sources",
    "identities": "agent.identities",
    "multi_agent_group": "agent.managed_group",
}


class MemoryOut(Struct, frozen=True, kw_only=True):
    """The agent's blocks, in the wire's older form."""

    agent_type: str
    git_enabled: bool = False
    blocks: list[BlockOut]
    file_blocks: list[FileBlockOut] = []
    prompt_template: str = ""


class CompactionOut(Struct, frozen=True, kw_only=True):
    """How the window is compacted."""

    model: str | None
    model_settings: dict[str, Any] | None = None
    prompt: str | None = SUMMARY_SYSTEM
    prompt_acknowledgement: bool = False
    clip_chars: int | None = TOOL_RETURN_CHARS_DEFAULT
    mode: str = "sliding_window"
    sliding_window_percentage: float


class SecretOut(Struct, frozen=True, kw_only=True):
    """A secret with its value; `value_enc` is how it is stored."""

    created_by_id: str | None = None
    last_updated_by_id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    id: str
    key: str
    value: str
    description: str | None = None
    organization_id: str = ORGANIZATION_ID
    value_enc: str
    agent_id: str


class AgentOut(Struct, frozen=True, kw_only=True):
    """An agent as the wire shows it."""

    created_by_id: str | None = USER_ID
    last_updated_by_id: str | None = USER_ID
    created_at: str
    updated_at: str
    id: str
    name: str
    tool_rules: list[dict[str, Any]] | None = []
    message_ids: list[str] | None
    system: str
    agent_type: str
    llm_config: LlmConfigOut
    embedding_config: Annotated[Any, one_of(EmbeddingConfigOut, or_null=True)]
    model: str | None
    embedding: str | None
    model_settings: ModelSettingsOut
    compaction_settings: CompactionOut | None
    response_format: dict[str, Any] | None = None
    description: str | None
    metadata: Annotated[Any, JSON_OBJECT]
    memory: MemoryOut
    blocks: list[BlockOut]
    tools: list[ToolOut]
    sources: list[FolderOut]
    tags: tuple[str, ...]
    tool_exec_environment_variables: list[SecretOut] = []
    secrets: list[SecretOut] = []
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    deployment_id: str | None = None
    entity_id: str | None = None
    identity_ids: tuple[str, ...] = ()
    identities: list[IdentityOut] = []
    pending_approval: Annotated[Any, one_of(ApprovalRequestMessage, or_null=True)] = None
    message_buffer_autoclear: bool
    enable_sleeptime: bool | None = None
    multi_agent_group: GroupOut | None = None
    managed_group: GroupOut | None = None
    last_run_completion: str | None
    last_run_duration_ms: int | None
    last_stop_reason: str | None
    timezone: str | None
    max_files_open: int | None
    per_file_view_window_char_limit: int | None
    hidden: bool | None


class _Seen(Struct, frozen=True, kw_only=True):
    """All that an agent is shown from."""

    view: AgentView
    info: ModelInfo
    embedding: EmbeddingInfo | None
    tools: tuple[Tool, ...]
    secrets: list[SecretOut]
    sources: list[FolderOut]
    file_blocks: list[FileBlockOut]
    identities: list[Identity]
    group: GroupOut | None
    pending: ApprovalRequestMessage | None


class KeptFields(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What clients may set, the core has no use for, and is given back as it was."""

    enable_sleeptime: bool | None = None


_KEPT = msgspec.json.Decoder(KeptFields)
_NOTHING_KEPT = KeptFields()


def read_parts(include: list[str] | None, relationships: list[str] | None) -> frozenset[str]:
    """Which parts to show; both lists name some, the second in older words. Raises Malformed."""
    if include is None and relationships is None:
        return ALL_PARTS
    for at, name in enumerate(include or []):
        if name not in ALL_PARTS:
            raise Malformed(
                f"'{name[:80]}' is no part of an agent", place=("query", "include", at), kind="literal_error"
            )
    return frozenset([*(include or []), *(_OLD_PARTS.get(name, name) for name in relationships or [])])


def kept_fields(settings: AgentSettings) -> KeptFields:
    """What the agent's settings keep for the wire."""
    return _NOTHING_KEPT if settings.wire == NO_JSON else _KEPT.decode(settings.wire)


async def show_agent(
    house: House, view: AgentView, parts: frozenset[str] = ALL_PARTS, *, leads: bool = True
) -> AgentOut:
    """An agent as the wire shows it; `leads` False: it leads no group."""
    return _show(await _gather(house, view, parts, leads=leads), parts)


async def show_agents(
    house: House, views: Sequence[AgentView], parts: frozenset[str] = ALL_PARTS
) -> list[AgentOut | Raw]:
    """Agents as the wire shows them, as JSON where they were shown before and are made of the same."""
    leading: frozenset[str] = frozenset()
    if "agent.managed_group" in parts:
        leading = await house.groups.leading([view.settings.id for view in views])
    seen = [await _gather(house, view, parts, leads=view.settings.id in leading) for view in views]
    return [_recall(house.shown, one) if parts == ALL_PARTS else _show(one, parts) for one in seen]


def show_secrets(house: House, settings: AgentSettings) -> list[SecretOut]:
    """The agent's secrets, opened. Raises SecretUnreadable."""
    values = open_secrets(house.vault, settings.secrets)
    return [
        SecretOut(
            id=secret.id,
            key=secret.key,
            value=values[secret.key],
            description=secret.description,
            value_enc=secret.sealed,
            agent_id=settings.id,
        )
        for secret in settings.secrets
    ]


def _show(seen: _Seen, parts: frozenset[str]) -> AgentOut:
    """A function of what was gathered, and of nothing else."""
    settings, state, embedding = seen.view.settings, seen.view.state, seen.embedding
    kept = kept_fields(settings)
    blocks = [show_block(block) for block in seen.view.blocks] if "agent.blocks" in parts else []
    return AgentOut(
        tool_exec_environment_variables=seen.secrets,
        secrets=seen.secrets,
        created_at=micros_date(settings.created_at_us),
        updated_at=micros_date(settings.updated_at_us),
        id=settings.id,
        name=settings.name,
        message_ids=[entry.id for entry in state.window],
        system=settings.system,
        agent_type=settings.kind,
        llm_config=show_llm_config(seen.info, settings.sampling, settings.context_window_tokens),
        embedding_config=None if embedding is None else show_embedding_config(embedding),
        model=settings.model,
        embedding=None if embedding is None else embedding.handle,
        model_settings=show_model_settings(seen.info, settings.sampling),
        compaction_settings=_compaction(settings),
        tool_rules=[show_rule(rule) for rule in settings.tool_rules],
        response_format=show_format(settings.sampling.reply_format),
        pending_approval=seen.pending,
        description=settings.description,
        metadata=settings.metadata,
        memory=MemoryOut(agent_type=settings.kind, blocks=blocks, file_blocks=seen.file_blocks),
        blocks=blocks,
        tools=[show_tool(tool) for tool in seen.tools],
        sources=seen.sources,
        tags=settings.tags if "agent.tags" in parts else (),
        project_id=settings.lineage.project_id,
        template_id=settings.lineage.template_id,
        base_template_id=settings.lineage.base_template_id,
        deployment_id=settings.lineage.deployment_id,
        entity_id=settings.lineage.entity_id,
        identity_ids=tuple(one.id for one in seen.identities),
        identities=[show_identity(one) for one in seen.identities],
        message_buffer_autoclear=settings.forget_between_turns,
        enable_sleeptime=kept.enable_sleeptime,
        multi_agent_group=seen.group,
        managed_group=seen.group,
        last_run_completion=optional_date(state.last_run_at_us),
        last_run_duration_ms=state.last_run_ms,
        last_stop_reason=state.last_stop_reason,
        timezone=settings.timezone,
        max_files_open=settings.files_open,
        per_file_view_window_char_limit=settings.file_view,
        hidden=settings.hidden,
    )


def _recall(memo: AgentMemo, seen: _Seen) -> AgentOut | Raw:
    """The agent as it is kept, or is from now on, unless it shows other records than its own, its blocks and tools."""
    settings, view = seen.view.settings, seen.view
    if seen.secrets or seen.group or seen.pending or settings.identities or settings.folders or not view.versions:
        return _show(seen, ALL_PARTS)
    sources = (view.versions, seen.info, seen.embedding, seen.tools)
    known = memo.recall(settings.id, sources)
    return memo.keep(settings.id, sources, ENCODER.encode(_show(seen, ALL_PARTS))) if known is None else known


async def _gather(house: House, view: AgentView, parts: frozenset[str], *, leads: bool) -> _Seen:
    """Read what the agent's own records only name. An agent that does not lead a group is not asked for one."""
    settings = view.settings
    return _Seen(
        view=view,
        info=await house.memo.recall(settings.model),
        embedding=None if settings.embedding is None else await house.embeddings.recall(settings.embedding),
        tools=await house.tools.present(settings.tools) if "agent.tools" in parts else (),
        secrets=show_secrets(house, settings) if "agent.secrets" in parts else [],
        sources=await _sources(house, settings, parts),
        file_blocks=await _file_blocks(house, settings, parts),
        identities=await _identities(house, settings) if "agent.identities" in parts else [],
        group=await _managed_group(house, settings) if leads and "agent.managed_group" in parts else None,
        pending=await _pending(house, view.state) if "agent.pending_approval" in parts else None,
    )


async def _sources(house: House, settings: AgentSettings, parts: frozenset[str]) -> list[FolderOut]:
    """The agent's folders."""
    if not settings.folders or "agent.sources" not in parts:
        return []
    return [await show_known_folder(house, folder) for folder in await house.files.folders_of(settings)]


async def _file_blocks(house: House, settings: AgentSettings, parts: frozenset[str]) -> list[FileBlockOut]:
    """The agent's open files, as the model sees them."""
    if not settings.folders or "agent.blocks" not in parts:
        return []
    return [show_file_block(one, settings.file_view) for one in await house.files.open_files(settings)]


async def _managed_group(house: House, settings: AgentSettings) -> GroupOut | None:
    view = await house.groups.led_by(settings.id)
    return None if view is None else show_group(view)


async def _identities(house: House, settings: AgentSettings) -> list[Identity]:
    return await house.identities.all.get_many(settings.identities) if settings.identities else []


async def _pending(house: House, state: AgentState) -> ApprovalRequestMessage | None:
    """The calls that wait for the client."""
    if state.awaiting is None:
        return None
    seq = await house.history.place(state.id, state.awaiting.message_id)
    (asking,) = await house.history.get_many(state.id, [seq])
    return next((shown for shown in show_message(asking) if isinstance(shown, ApprovalRequestMessage)), None)


def _compaction(settings: AgentSettings) -> CompactionOut:
    """The client's own settings, where it gave any, over ours."""
    compaction = settings.compaction
    given: dict[str, Any] = msgspec.json.decode(compaction.wire) or {}
    shown = CompactionOut(
        model=compaction.model or settings.model, sliding_window_percentage=compaction.keep_percent / 100
    )
    known = {
        name: value
        for name, value in given.items()
        if name in shown.__struct_fields__ and (value is not None or name == "clip_chars")
    }
    return msgspec.structs.replace(shown, **known) if known else shown
