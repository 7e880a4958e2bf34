"""Agents on the wire: made, read, listed, counted, changed, deleted; their tools; their window and prompt."""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.agent.groups import BACKGROUND
from kelpie.agent.listing import AgentFilter, Moment
from kelpie.agent.state import StopReason
from kelpie.agent.thread import Thread
from kelpie.api.letta.agent_requests import (
    CreateAgentIn,
    UpdateAgentIn,
    read_agent_changes,
    read_folders,
    read_new_agent,
    read_secrets,
)
from kelpie.api.letta.agent_shapes import AGENT_SHAPES, AgentOut, read_parts, show_agent, show_agents
from kelpie.api.letta.group_shapes import close_group
from kelpie.api.letta.house import House
from kelpie.api.letta.identity_shapes import owners_of
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.api.letta.tools import ToolOut, page_of_tools
from kelpie.api.letta.values import USER_ID, MessageOut
from kelpie.api.route import Ask, Route
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, MessageId, ToolId, new_uuid
from kelpie.limits import FILE_CHUNK_TOKENS_DEFAULT
from kelpie.memory.folders import FolderChanges
from kelpie.memory.lineage import NOWHERE, Lineage, merge_lineage

LIMIT_DEFAULT = 50
DEFAULT_FOLDER_SUFFIX = "External Data Source"
TOOLS_LIMIT_DEFAULT = 10
OrderBy = Literal["created_at", "updated_at", "last_run_completion"]
MOMENTS: dict[str, Moment] = {"updated_at": "updated", "last_run_completion": "ran"}


class ListAgents(Struct, frozen=True, kw_only=True):
    """Which agents, which page of them, and which of their parts."""

    name: str | None = None
    tags: list[str] | None = None
    match_all_tags: bool = False
    query_text: str | None = None
    last_stop_reason: StopReason | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    identity_id: str | None = None
    identifier_keys: list[str] | None = None
    created_by_id: str | None = None
    show_hidden_agents: bool | None = False
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    include: list[str] | None = None
    include_relationships: list[str] | None = None
    order: Order = "desc"
    ascending: bool = False
    order_by: OrderBy = "created_at"
    sort_by: str | None = "created_at"  # the older name of order_by; what it does not know is created_at


class CountAgents(Struct, frozen=True, kw_only=True):
    """Which agents to count."""

    name: str | None = None
    tags: list[str] | None = None
    match_all_tags: bool = False
    query_text: str | None = None
    last_stop_reason: StopReason | None = None
    project_id: str | None = None
    template_id: str | None = None
    base_template_id: str | None = None
    identity_id: str | None = None
    identifier_keys: list[str] | None = None
    created_by_id: str | None = None
    show_hidden_agents: bool | None = False


class AgentParts(Struct, frozen=True, kw_only=True):
    """Which parts of the agent to show; nothing asked for: all."""

    include: list[str] | None = None
    include_relationships: list[str] | None = None


class PageOfTools(Struct, frozen=True, kw_only=True):
    """Which page of an agent's tools."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = TOOLS_LIMIT_DEFAULT
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"


class ResetIn(Struct, frozen=True, kw_only=True):
    """Nothing has to be said: this server has no default first messages."""

    add_default_initial_messages: bool | None = None


class ApprovalQuery(Struct, frozen=True, kw_only=True):
    """Whether a person must allow the tool's calls, in the older form."""

    requires_approval: bool | None = None


class ApprovalIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a person must allow the tool's calls; the second name is what the TypeScript client 1.12.1 sends."""

    requires_approval: bool | None = None
    body_requires_approval: bool | None = None


class Recompile(Struct, frozen=True, kw_only=True):
    """Whether to keep what is made. The prompt carries no time of its last change that could be updated."""

    update_timestamp: bool = False
    dry_run: bool = False


async def list_agents(house: House, ask: Ask[ListAgents, None]) -> list[AgentOut | Raw]:
    """A page of agents, the newest first unless asked otherwise."""
    query = ask.query
    page = read_page(
        "agent",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order="asc" if query.ascending else query.order,
        limit_default=LIMIT_DEFAULT,
    )
    parts = read_parts(query.include, query.include_relationships)
    wanted, with_blocks = await _filter(house, query), "agent.blocks" in parts
    moment = MOMENTS.get(query.order_by) or MOMENTS.get(query.sort_by or "")
    if moment is None:
        views = await house.listing.agents(wanted, page, with_blocks=with_blocks)
    else:
        views = await house.listing.agents_by(moment, wanted, page, with_blocks=with_blocks)
    return await show_agents(house, views, parts)


async def count_agents(house: House, ask: Ask[CountAgents, None]) -> int:
    """How many agents there are."""
    return await house.listing.count(await _filter(house, ask.query))


async def create_agent(house: House, ask: Ask[None, CreateAgentIn]) -> AgentOut:
    """A new agent."""
    return await make_agent(house, ask.body, NOWHERE)


async def make_agent(house: House, wire: CreateAgentIn, lineage: Lineage) -> AgentOut:
    """A new agent, with what `lineage` says of it over what the request does."""
    name = f"agent-{new_uuid(house.world.entropy)[:8]}"
    folders = read_folders(wire) or []
    for folder_id in folders:
        await house.folders.all.get(folder_id)  # before there is an agent
    if wire.include_default_source:
        title = f"{wire.name or name} {DEFAULT_FOLDER_SUFFIX}"
        info = await house.embeddings.find(wire.embedding)
        folder = await house.folders.create(title, info.handle, FILE_CHUNK_TOKENS_DEFAULT, FolderChanges())
        folders.append(folder.id)
    new = read_new_agent(wire, name)
    new = msgspec.structs.replace(
        new, secrets=read_secrets(house, wire) or (), lineage=merge_lineage(new.lineage, lineage)
    )
    view = await house.roster.create(new)
    if folders:
        await house.files.set_folders(view.settings.id, folders)
        view = await house.roster.get(view.settings.id)
    if wire.enable_sleeptime:
        await house.sleeptime.enable(view)
    return await show_agent(house, view, leads=bool(wire.enable_sleeptime))


async def retrieve_agent(house: House, ask: Ask[AgentParts, None]) -> AgentOut | Raw:
    """One agent."""
    parts = read_parts(ask.query.include, ask.query.include_relationships)
    view = await house.roster.get(AgentId(ask.path["agent_id"]), with_blocks="agent.blocks" in parts)
    return (await show_agents(house, [view], parts))[0]


async def modify_agent(house: House, ask: Ask[None, UpdateAgentIn]) -> AgentOut:
    """Edit an agent."""
    agent_id, ids = AgentId(ask.path["agent_id"]), ask.body.message_ids
    changes = read_agent_changes(ask.body, await house.roster.get_settings(agent_id))
    folders = read_folders(ask.body)
    if folders is not None:
        await house.files.set_folders(agent_id, folders)
    secrets = read_secrets(house, ask.body)
    if secrets is not None:
        changes = msgspec.structs.replace(changes, secrets=secrets)
    if ask.body.identity_ids is not None:
        await house.identities.set_of_agent(agent_id, tuple(dict.fromkeys(ask.body.identity_ids)))
    if ids:
        await house.door.set_window(agent_id, [MessageId(message_id) for message_id in ids])
    view = await house.roster.update(agent_id, changes)
    if ask.body.enable_sleeptime:
        await house.sleeptime.enable(view)
    elif ask.body.enable_sleeptime is False:
        await house.sleeptime.disable(view)
    if ask.body.block_ids is not None:
        await house.sleeptime.share(view)
    return await show_agent(house, view)


async def delete_agent(house: House, ask: Ask[None, None]) -> MessageOut:
    """Remove an agent with its history; blocks stay."""
    agent_id = AgentId(ask.path["agent_id"])
    await remove_agent(house, agent_id)
    return MessageOut(message=f"Agent id={agent_id} successfully deleted")


async def remove_agent(house: House, agent_id: AgentId) -> None:
    """Remove an agent, and its helpers in the background. Raises NotFound."""
    group = await house.groups.led_by(agent_id)
    await house.door.delete(agent_id)
    if group is not None and group.group.pattern in BACKGROUND:  # else its helper would go a moment later
        await close_group(house, group.group.id)


async def reset_messages(house: House, ask: Ask[None, ResetIn | None]) -> AgentOut:
    """Empty the agent's window; its history stays."""
    agent_id = AgentId(ask.path["agent_id"])
    await house.roster.get_settings(agent_id)
    await house.door.reset(agent_id)
    return await show_agent(house, await house.roster.get(agent_id))


async def recompile_agent(house: House, ask: Ask[Recompile, None]) -> str:
    """The system prompt made anew; it is kept as the agent's first message unless that is not wanted."""
    agent_id = AgentId(ask.path["agent_id"])
    if ask.query.dry_run:
        return await house.performer.compile(Thread(agent_id=agent_id))
    await house.roster.get_settings(agent_id)
    return await house.door.recompile(agent_id)


async def list_tools_for_agent(house: House, ask: Ask[PageOfTools, None]) -> list[ToolOut]:
    """The agent's tools, the last attached first unless asked otherwise."""
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    query = ask.query
    tools = await house.tools.present(settings.tools)
    limit = query.limit or TOOLS_LIMIT_DEFAULT
    return page_of_tools(tools, before=query.before, after=query.after, limit=limit, order=query.order)


async def attach_tool(house: House, ask: Ask[None, None]) -> AgentOut:
    """Give the agent a tool."""
    view = await house.roster.attach_tool(AgentId(ask.path["agent_id"]), ToolId(ask.path["tool_id"]))
    return await show_agent(house, view)


async def detach_tool(house: House, ask: Ask[None, None]) -> AgentOut:
    """Take a tool from the agent."""
    view = await house.roster.detach_tool(AgentId(ask.path["agent_id"]), ToolId(ask.path["tool_id"]))
    return await show_agent(house, view)


async def require_approval(house: House, ask: Ask[ApprovalQuery, ApprovalIn | None]) -> AgentOut:
    """Have a person allow each call of a tool, or no longer; the body says it, or the query in the older form."""
    body = ask.body or ApprovalIn()
    given = (body.requires_approval, body.body_requires_approval, ask.query.requires_approval)
    required = next((one for one in given if one is not None), None)
    if required is None:
        raise InvalidInput("requires_approval must be given in the body or the query", field="requires_approval")
    agent_id = AgentId(ask.path["agent_id"])
    return await show_agent(
        house, await house.roster.require_approval(agent_id, ask.path["tool_name"], required=required)
    )


async def _filter(house: House, query: ListAgents | CountAgents) -> AgentFilter:
    owners = await owners_of(house, query.identity_id, query.identifier_keys)
    among = None if owners is None else await house.identities.agents_of(owners)
    if query.created_by_id not in (None, USER_ID):
        among = ()  # nobody else has made any
    return AgentFilter(
        name=query.name,
        tags=tuple(query.tags or ()),
        all_tags=query.match_all_tags,
        text=query.query_text,
        stop_reason=query.last_stop_reason,
        project_id=query.project_id,
        template_id=query.template_id,
        base_template_id=query.base_template_id,
        among=among,
        shown_only=not query.show_hidden_agents,
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/agents/",
        name="list_agents",
        summary="List agents",
        tag="agents",
        handler=list_agents,
        query=ListAgents,
        answer=list[AgentOut],
        shapes=AGENT_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/agents/count",
        name="count_agents",
        summary="Count agents",
        tag="agents",
        handler=count_agents,
        query=CountAgents,
        answer=int,
    ),
    Route(
        method="POST",
        path="/v1/agents/",
        name="create_agent",
        summary="Create an agent",
        tag="agents",
        handler=create_agent,
        body=CreateAgentIn,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(400, 404, 409),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}",
        name="retrieve_agent",
        summary="Read an agent",
        tag="agents",
        handler=retrieve_agent,
        query=AgentParts,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}",
        name="modify_agent",
        summary="Change an agent",
        tag="agents",
        handler=modify_agent,
        body=UpdateAgentIn,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(400, 404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/agents/{agent_id}",
        name="delete_agent",
        summary="Delete an agent with its history",
        tag="agents",
        handler=delete_agent,
        answer=MessageOut,
        refusals=(404, 409, 429, 503),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/reset-messages",
        name="reset_messages",
        summary="Empty the window of an agent",
        tag="agents",
        handler=reset_messages,
        body=ResetIn | None,
        body_needed=False,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(404, 429, 503),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/recompile",
        name="recompile_agent",
        summary="The system prompt as the model is given it",
        tag="agents",
        handler=recompile_agent,
        query=Recompile,
        answer=str,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/system-prompt/recompile",
        name="recompile_agent_system_prompt",
        summary="The system prompt as the model is given it",
        tag="agents",
        handler=recompile_agent,
        query=Recompile,
        answer=str,
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/tools",
        name="list_tools_for_agent",
        summary="List the tools of an agent",
        tag="agents",
        handler=list_tools_for_agent,
        query=PageOfTools,
        answer=list[ToolOut],
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/tools/attach/{tool_id}",
        name="attach_tool_to_agent",
        summary="Give an agent a tool",
        tag="agents",
        handler=attach_tool,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/tools/detach/{tool_id}",
        name="detach_tool_from_agent",
        summary="Take a tool from an agent",
        tag="agents",
        handler=detach_tool,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/tools/approval/{tool_name}",
        name="modify_approval_for_tool",
        summary="Have a person allow each call of a tool, or no longer",
        tag="agents",
        handler=require_approval,
        query=ApprovalQuery,
        body=ApprovalIn | None,
        body_needed=False,
        answer=AgentOut,
        shapes=AGENT_SHAPES,
        refusals=(400, 404, 409),
    ),
)
