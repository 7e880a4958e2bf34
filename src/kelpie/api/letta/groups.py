"""Groups on the wire: made, read, listed, changed, removed; their shared blocks."""

from msgspec import Struct

from kelpie.agent.groups import Group, GroupChanges, GroupView
from kelpie.api.letta.group_shapes import (
    GroupEdit,
    GroupIn,
    GroupOut,
    PatternIn,
    close_group,
    read_blocks,
    read_changes,
    read_group,
    show_group,
)
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.letta.values import MessageOut
from kelpie.api.route import Ask, Route
from kelpie.errors import CommitUnknown, Unavailable
from kelpie.ids import AgentId, BlockId, parse_id
from kelpie.tools.function import builtin_tool_id

LIMIT_DEFAULT = 50
OF_AGENT_LIMIT_DEFAULT = 100
SUPERVISOR_TOOL = "send_message_to_all_agents_in_group"


class ListGroups(Struct, frozen=True, kw_only=True):
    """Which groups, and which page of them."""

    manager_type: PatternIn | None = None
    project_id: str | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "asc"
    order_by: str | None = None


class GroupsOfAgent(Struct, frozen=True, kw_only=True):
    """Which of an agent's groups."""

    manager_type: str | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = OF_AGENT_LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None


async def list_groups(house: House, ask: Ask[ListGroups, None]) -> list[GroupOut]:
    """A page of groups, the oldest first unless asked otherwise."""
    query = ask.query
    page = read_page(
        "group",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )
    if query.manager_type == "swarm":
        return []
    return [show_group(view) for view in await house.groups.page(page, query.manager_type, query.project_id)]


async def count_groups(house: House, ask: Ask[None, None]) -> int:
    """How many there are."""
    return await house.groups.all.count()


async def create_group(house: House, ask: Ask[None, GroupIn]) -> GroupOut:
    """A new group."""
    project = ask.headers.get(b"x-project-id", b"").decode("latin-1") or None
    group = read_group(ask.body, house.groups, project)
    if group.pattern == "supervisor":  # before there is a group: a tool too many does no harm, half a group would
        assert group.manager_id is not None
        await house.roster.attach_tool(group.manager_id, builtin_tool_id(SUPERVISOR_TOOL))
    view = await house.groups.create(group)
    try:
        for block_id in read_blocks(ask.body) or ():
            view = await _share(house, view.group, block_id)
    except Unavailable as error:
        raise CommitUnknown(f"'{group.id}' was made and may lack some shared blocks: {error.sentence}") from error
    return show_group(view)


async def retrieve_group(house: House, ask: Ask[None, None]) -> GroupOut:
    """One group."""
    return show_group(await house.groups.get(ask.path["group_id"]))


async def modify_group(house: House, ask: Ask[None, GroupEdit]) -> GroupOut:
    """Edit a group. Who joins it is given its shared blocks; who leaves it keeps them."""
    group_id = ask.path["group_id"]
    now = await house.groups.get(group_id)
    view = await house.groups.update(group_id, read_changes(ask.body, now.group))
    wanted = read_blocks(ask.body)
    for block_id in now.group.block_ids if wanted is not None else ():
        if block_id not in (wanted or ()):
            view = await _unshare(house, view.group, block_id)
    for block_id in view.group.block_ids if wanted is None else wanted:
        view = await _share(house, view.group, block_id)
    return show_group(view)


async def delete_group(house: House, ask: Ask[None, None]) -> MessageOut:
    """Remove a group; its agents stay."""
    group_id = ask.path["group_id"]
    await house.groups.all.get(group_id)
    await close_group(house, group_id, with_members=False)
    return MessageOut(message=f"Group id={group_id} successfully deleted")


async def attach_block(house: House, ask: Ask[None, None]) -> None:
    """All agents of the group share the block from now on."""
    group = (await house.groups.all.get(ask.path["group_id"])).value
    await _share(house, group, BlockId(parse_id("block", ask.path["block_id"])))


async def detach_block(house: House, ask: Ask[None, None]) -> None:
    """They do not any more."""
    group = (await house.groups.all.get(ask.path["group_id"])).value
    await _unshare(house, group, BlockId(parse_id("block", ask.path["block_id"])))


async def list_groups_for_agent(house: House, ask: Ask[GroupsOfAgent, None]) -> list[GroupOut]:
    """The groups that the agent is a member of."""
    query = ask.query
    await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    views = await house.groups.of_member(ask.path["agent_id"])
    if query.order == "desc":
        views.reverse()
    ids = [view.group.id for view in views]
    first, last = read_cursor("group", query.after, "after"), read_cursor("group", query.before, "before")
    start = ids.index(first) + 1 if first in ids else 0
    end = ids.index(last) if last in ids else len(ids)
    wanted = [view for view in views[start:end] if query.manager_type in (None, view.group.pattern)]
    return [show_group(view) for view in wanted[: query.limit or OF_AGENT_LIMIT_DEFAULT]]


async def _share(house: House, group: Group, block_id: BlockId) -> GroupView:
    """All agents of the group have the block, and the group says so. Raises AlreadyExists, NotFound."""
    await house.blocks.get(block_id)
    for agent_id in _everybody(group):
        await house.roster.attach_block(agent_id, block_id)
    ids = tuple(dict.fromkeys([*group.block_ids, block_id]))
    return await house.groups.update(group.id, GroupChanges(block_ids=ids))


def _everybody(group: Group) -> tuple[AgentId, ...]:
    manager = () if group.manager_id is None else (group.manager_id,)
    return tuple(dict.fromkeys((*group.agent_ids, *manager)))


async def _unshare(house: House, group: Group, block_id: BlockId) -> GroupView:
    await house.blocks.get(block_id)
    for agent_id in _everybody(group):
        await house.roster.detach_block(agent_id, block_id)
    ids = tuple(one for one in group.block_ids if one != block_id)
    return await house.groups.update(group.id, GroupChanges(block_ids=ids))


ROUTES = (
    Route(
        method="GET",
        path="/v1/groups/",
        name="list_groups",
        summary="List groups",
        tag="groups",
        handler=list_groups,
        query=ListGroups,
        refusals=(404,),
        answer=list[GroupOut],
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/groups/count",
        name="count_groups",
        summary="Count groups",
        tag="groups",
        handler=count_groups,
        answer=int,
        deprecated=True,
    ),
    Route(
        method="POST",
        path="/v1/groups/",
        name="create_group",
        summary="Create a group",
        tag="groups",
        handler=create_group,
        body=GroupIn,
        refusals=(400, 404, 409),
        answer=GroupOut,
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/groups/{group_id}",
        name="retrieve_group",
        summary="Read a group",
        tag="groups",
        handler=retrieve_group,
        refusals=(404,),
        answer=GroupOut,
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/groups/{group_id}",
        name="modify_group",
        summary="Change a group",
        tag="groups",
        handler=modify_group,
        body=GroupEdit,
        refusals=(400, 404, 409),
        answer=GroupOut,
        deprecated=True,
    ),
    Route(
        method="DELETE",
        path="/v1/groups/{group_id}",
        name="delete_group",
        summary="Delete a group; its agents stay",
        tag="groups",
        handler=delete_group,
        refusals=(404, 409),
        answer=MessageOut,
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/groups/{group_id}/blocks/attach/{block_id}",
        name="attach_block_to_group",
        summary="Share a block among the agents of a group",
        tag="groups",
        handler=attach_block,
        refusals=(404, 409),
        answer=None,
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/groups/{group_id}/blocks/detach/{block_id}",
        name="detach_block_from_group",
        summary="Share a block no more",
        tag="groups",
        handler=detach_block,
        refusals=(404, 409),
        answer=None,
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/groups",
        name="list_groups_for_agent",
        summary="List the groups that an agent is in",
        tag="agents",
        handler=list_groups_for_agent,
        query=GroupsOfAgent,
        refusals=(404,),
        answer=list[GroupOut],
    ),
)
