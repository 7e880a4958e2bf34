"""Groups on the wire: made, read, listed, changed, removed; their shared blocks; their talks."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct

from kelpie.agent.group_talk import Talk, TalkTurn
from kelpie.agent.groups import Group, GroupChanges, GroupView
from kelpie.api.errors import MethodNotAllowed, RunFailed
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
from kelpie.api.letta.message_requests import SendIn, read_key, read_messages
from kelpie.api.letta.message_shapes import (
    MESSAGE_SHAPES,
    ErrorMessage,
    MessageType,
    ShownMessage,
    StopReasonOut,
    UsageOut,
    WireMessage,
    show_messages,
)
from kelpie.api.letta.messages import NO_EDITING, ReplyOut
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.route import Ask, Route
from kelpie.api.sse import DONE, EventStream, frame
from kelpie.errors import KelpieError, NotFound
from kelpie.ids import AgentId, BlockId, parse_id
from kelpie.limits import TURN_STEPS_DEFAULT
from kelpie.llm.messages import Usage
from kelpie.memory.history import StoredMessage
from kelpie.tools.function import builtin_tool_id

LIMIT_DEFAULT = 50
OF_AGENT_LIMIT_DEFAULT = 100
MESSAGES_LIMIT_DEFAULT = 10
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


class ListMessages(Struct, frozen=True, kw_only=True):
    """Which page of what was said in the group."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = MESSAGES_LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None
    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"
    include_return_message_types: list[MessageType] | None = None


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
    view = await house.groups.create(read_group(ask.body, house.groups, project))
    if view.group.pattern == "supervisor":
        assert view.group.manager_id is not None
        await house.roster.attach_tool(view.group.manager_id, builtin_tool_id(SUPERVISOR_TOOL))
    for block_id in read_blocks(ask.body) or ():
        view = await _share(house, view.group, block_id)
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


async def delete_group(house: House, ask: Ask[None, None]) -> None:
    """Remove a group; its agents stay."""
    group_id = ask.path["group_id"]
    await house.groups.all.get(group_id)
    await close_group(house, group_id, with_members=False)


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


async def list_messages(house: House, ask: Ask[ListMessages, None]) -> list[WireMessage]:
    """What was said in the group's newest talks, a page of stored messages."""
    group_id, query = ask.path["group_id"], ask.query
    await house.groups.all.get(group_id)
    stored: list[StoredMessage] = []
    for talk, turns in await house.group_door.talks(group_id):
        stored += (await _said(house, talk, turns))[::-1]
    if query.order == "asc":
        stored.reverse()
    ids: list[str] = [message.id for message in stored]
    first, last = read_cursor("message", query.after, "after"), read_cursor("message", query.before, "before")
    start = ids.index(first) + 1 if first in ids else 0
    end = ids.index(last) if last in ids else len(ids)
    page = stored[start:end][: query.limit or MESSAGES_LIMIT_DEFAULT]
    shown = show_messages(page if query.order == "asc" else page[::-1])
    wanted = query.include_return_message_types
    shown = [one for one in shown if wanted is None or one.message_type in wanted]
    return shown if query.order == "asc" else shown[::-1]


async def send_message(house: House, ask: Ask[None, SendIn]) -> ReplyOut:
    """Say something to the group, and wait until its talk is over."""
    number = await _speak(house, ask)
    messages: list[WireMessage] = []
    usage = Usage()
    steps = 0
    async with aclosing(_follow(house, ask.path["group_id"], number)) as told:
        async for each in told:
            if isinstance(each, Talk):
                if each.error is not None:
                    raise RunFailed(each.error, each.id)
                break
            said, run_usage, run_steps = await _turn_said(house, each)
            messages += show_messages(said)
            usage, steps = usage.plus(run_usage), steps + run_steps
    return ReplyOut(messages=messages, stop_reason=StopReasonOut(stop_reason="end_turn"), usage=_usage(usage, steps))


async def stream_message(house: House, ask: Ask[None, SendIn]) -> EventStream:
    """Say something to the group, and have what is said streamed, turn by turn."""
    number = await _speak(house, ask)
    return EventStream(_frames(house, ask.path["group_id"], number))


async def modify_message(house: House, ask: Ask[None, None]) -> None:
    """Always refused: what was said stays said."""
    raise MethodNotAllowed(NO_EDITING, allow="")


async def reset_messages(house: House, ask: Ask[None, None]) -> None:
    """The group's talks are forgotten; the agents' own histories stay."""
    group_id = ask.path["group_id"]
    await house.groups.all.get(group_id)
    await house.group_door.forget(group_id)


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


async def _speak(house: House, ask: Ask[None, SendIn]) -> int:
    """The talk that this request begins, or began before. Raises NotFound, Busy."""
    group_id = ask.path["group_id"]
    await house.groups.all.get(group_id)
    messages = read_messages(ask.body)
    steps_max = TURN_STEPS_DEFAULT if ask.body.max_steps is None else ask.body.max_steps
    return await house.group_door.speak(group_id, messages, steps_max=steps_max, key=read_key(ask.headers, messages))


def _follow(house: House, group_id: str, number: int) -> AsyncGenerator[TalkTurn | Talk, None]:
    return house.group_door.follow(group_id, number)


async def _turn_said(house: House, turn: TalkTurn) -> tuple[list[StoredMessage], Usage, int]:
    """What the agent said in its turn, and what that cost; of a manager's choice only the cost."""
    said, finished = await house.door.finish(turn.run_id)
    messages = [] if turn.choice else [event.message for event in said]
    return messages, finished.usage, finished.steps


async def _said(house: House, talk: Talk, turns: list[TalkTurn]) -> list[StoredMessage]:
    """What was said in a talk, oldest first: the question once, and the turns; of agents that are gone nothing."""
    found: list[StoredMessage] = []
    for turn in turns:
        if turn.choice:
            continue
        try:
            run = await house.door.get_run(turn.run_id)
        except NotFound:
            continue
        messages = await house.past.messages(run)
        found += messages if not found else [one for one in messages if one.kind != "user"]
    return found


async def _frames(house: House, group_id: str, number: int) -> AsyncGenerator[bytes, None]:
    usage, steps, reason = Usage(), 0, "end_turn"
    try:
        async with aclosing(_follow(house, group_id, number)) as told:
            async for each in told:
                if isinstance(each, Talk):
                    if each.error is not None:
                        yield frame(_error(group_id, each.error.code, each.error.sentence))
                        reason = "error"
                    break
                said, run_usage, run_steps = await _turn_said(house, each)
                usage, steps = usage.plus(run_usage), steps + run_steps
                for shown in show_messages(said):
                    yield frame(shown)
    except KelpieError as error:
        yield frame(_error(group_id, error.code, error.sentence))
        reason = "error"
    yield frame(StopReasonOut(stop_reason=reason))
    yield frame(_usage(usage, steps))
    yield DONE


def _error(group_id: str, code: str, sentence: str) -> ErrorMessage:
    return ErrorMessage(run_id=group_id, error_type=code, message=sentence, detail=sentence)


def _usage(usage: Usage, steps: int) -> UsageOut:
    return UsageOut(
        completion_tokens=usage.output_tokens,
        prompt_tokens=usage.input_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        step_count=steps,
        cached_input_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_written_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        context_tokens=None,
    )


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
        answer=None,
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
        path="/v1/groups/{group_id}/messages",
        name="list_group_messages",
        summary="List what was said in a group",
        tag="groups",
        handler=list_messages,
        query=ListMessages,
        shapes=MESSAGE_SHAPES,
        refusals=(404,),
        answer=list[ShownMessage],
        deprecated=True,
    ),
    Route(
        method="POST",
        path="/v1/groups/{group_id}/messages",
        name="send_group_message",
        summary="Say something to a group; wait until its talk is over",
        tag="groups",
        handler=send_message,
        body=SendIn,
        shapes=MESSAGE_SHAPES,
        begins_turn=True,
        refusals=(400, 404, 409, 429, 502, 503, 504),
        answer=ReplyOut,
        deprecated=True,
    ),
    Route(
        method="POST",
        path="/v1/groups/{group_id}/messages/stream",
        name="send_group_message_streaming",
        summary="Say something to a group; stream its talk",
        tag="groups",
        handler=stream_message,
        body=SendIn,
        streams="always",
        begins_turn=True,
        refusals=(400, 404, 409, 429, 503),
        answer=None,
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/groups/{group_id}/messages/{message_id}",
        name="modify_group_message",
        summary="Refused: messages are immutable",
        tag="groups",
        handler=modify_message,
        refusals=(405,),
        answer=None,
        deprecated=True,
    ),
    Route(
        method="PATCH",
        path="/v1/groups/{group_id}/reset-messages",
        name="reset_group_messages",
        summary="Forget what was said in a group",
        tag="groups",
        handler=reset_messages,
        refusals=(404, 429),
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
