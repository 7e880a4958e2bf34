"""Conversations on the wire: made, forked, read, listed, changed, deleted, spoken to, followed.

Where one is spoken to, `default` with an `agent_id` beside it means the agent's default thread, and so does an agent's
id in the place of a conversation's, as older clients write it.
"""

from typing import Literal

from msgspec import UNSET, Struct

from kelpie.agent.conversations import ConversationChanges, ConversationFilter, ConversationView, NewConversation
from kelpie.api.errors import Malformed
from kelpie.api.letta.agent_requests import AgentFieldsIn, ModelSettingsIn, Tokens, read_sampling
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import SendIn
from kelpie.api.letta.message_shapes import MESSAGE_SHAPES, ShownMessage, WireMessage
from kelpie.api.letta.messages import ListMessages, ReplyOut, read_page_of, send_to, show_page, stream_from
from kelpie.api.letta.models import MODEL_SETTINGS_SHAPES, ModelSettingsOut, show_model_settings
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.letta.runs import ResumeIn, find_run, stream_again
from kelpie.api.letta.threads import read_conversation_id, read_thread
from kelpie.api.letta.values import USER_ID, micros_date, optional_date, read_date
from kelpie.api.route import Ask, Route
from kelpie.api.sse import EventStream
from kelpie.errors import InvalidInput, NotFound
from kelpie.ids import AgentId, MessageId
from kelpie.llm.messages import Sampling

LIMIT_DEFAULT = 50


class ConversationOut(Struct, frozen=True, kw_only=True):
    """A conversation as the wire shows it."""

    created_by_id: str | None = USER_ID
    last_updated_by_id: str | None = USER_ID
    created_at: str
    updated_at: str
    id: str
    agent_id: str
    summary: str | None
    description: str | None
    in_context_message_ids: list[str]
    isolated_block_ids: list[str]
    model: str | None
    context_window_limit: int | None
    model_settings: ModelSettingsOut | None
    last_message_at: str | None
    archived: bool
    archived_at: str | None


class ConversationFieldsIn(Struct, frozen=True, kw_only=True):
    """What may be said when a conversation is made and when it is changed; null says nothing."""

    summary: str | None = None
    description: str | None = None
    model: str | None = None
    context_window_limit: Tokens | None = None
    model_settings: ModelSettingsIn | None = None


class CreateConversationIn(ConversationFieldsIn, frozen=True, kw_only=True):
    """A conversation to be made."""

    isolated_block_labels: list[str] | None = None
    hidden: bool | None = None


class UpdateConversationIn(ConversationFieldsIn, frozen=True, kw_only=True):
    """What is to change of a conversation."""

    archived: bool | None = None
    last_message_at: str | None = None


class OfAgent(Struct, frozen=True, kw_only=True):
    """Whose default thread `default` is."""

    agent_id: str | None = None


class ListConversations(Struct, frozen=True, kw_only=True):
    """Which conversations, and which page of them. Those that are hidden or archived are not unless asked for."""

    agent_id: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    after: str | None = None
    before: str | None = None
    summary_search: str | None = None
    archive_status: Literal["unarchived", "archived", "all"] = "unarchived"
    order: Order = "desc"
    order_by: Literal["created_at", "last_run_completion", "last_message_at"] = "created_at"


class ListOfConversation(ListMessages, frozen=True, kw_only=True):
    """Which page of a conversation's messages."""

    agent_id: str | None = None


class ForkConversation(OfAgent, frozen=True, kw_only=True):
    """From where to fork: after a message, or from all that the model sees."""

    message_id: str | None = None
    hidden: bool | None = None


class RecompileConversation(Struct, frozen=True, kw_only=True):
    """Whether to keep what is made."""

    dry_run: bool = False


class SendToConversationIn(SendIn, frozen=True, kw_only=True):
    """A request to a conversation; it is streamed unless that is refused."""

    agent_id: str | None = None
    streaming: bool | None = True


class ResumeConversationIn(ResumeIn, frozen=True, kw_only=True):
    """Which run to follow: one that is named, one that was sent a message, or the one that is under way."""

    agent_id: str | None = None
    run_id: str | None = None
    otid: str | None = None


async def create_conversation(house: House, ask: Ask[OfAgent, CreateConversationIn | None]) -> ConversationOut:
    """A new conversation of an agent."""
    body = ask.body or CreateConversationIn()
    agent_id = read_cursor("agent", ask.query.agent_id, "agent_id")
    if agent_id is None:
        raise Malformed("Field required", place=("query", "agent_id"), kind="missing")
    new = NewConversation(
        summary=body.summary,
        description=body.description,
        model=await _model(house, body),
        context_window_tokens=body.context_window_limit,
        sampling=_sampling(body),
        isolated_labels=tuple(body.isolated_block_labels or ()),
        hidden=body.hidden,
    )
    return await show_conversation(house, await house.conversations.create(AgentId(agent_id), new))


async def list_conversations(house: House, ask: Ask[ListConversations, None]) -> list[ConversationOut]:
    """A page of conversations, the newest first unless asked otherwise."""
    query = ask.query
    page = read_page(
        "conv",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )
    agent_id = read_cursor("agent", query.agent_id, "agent_id")
    wanted = ConversationFilter(
        agent_id=None if agent_id is None else AgentId(agent_id),
        text=query.summary_search,
        archived={"unarchived": False, "archived": True, "all": None}[query.archive_status],
    )
    views = await house.conversations.find(wanted, page, query.order_by)
    return [await show_conversation(house, view) for view in views]


async def retrieve_conversation(house: House, ask: Ask[None, None]) -> ConversationOut:
    """One conversation."""
    conversation_id = read_conversation_id(ask.path["conversation_id"])
    return await show_conversation(house, await house.conversations.get(conversation_id))


async def update_conversation(house: House, ask: Ask[None, UpdateConversationIn]) -> ConversationOut:
    """Edit a conversation."""
    conversation_id, body = read_conversation_id(ask.path["conversation_id"]), ask.body
    sampling, last_message = _sampling(body), body.last_message_at
    now = (await house.conversations.get(conversation_id)).conversation
    archived_at_us = now.archived_at_us or house.world.wall.now_us() if body.archived else None
    changes = ConversationChanges(
        summary=UNSET if body.summary is None else body.summary,
        description=UNSET if body.description is None else body.description,
        context_window_tokens=UNSET if body.context_window_limit is None else body.context_window_limit,
        model=UNSET if body.model is None else await _model(house, body),
        sampling=UNSET if sampling is None else sampling,
        archived_at_us=UNSET if body.archived is None else archived_at_us,
        last_message_at_us=UNSET if last_message is None else read_date(last_message, "last_message_at"),
    )
    return await show_conversation(house, await house.conversations.update(conversation_id, changes))


async def delete_conversation(house: House, ask: Ask[None, None]) -> None:
    """Remove a conversation with its history and the blocks that were its own."""
    conversation_id = read_conversation_id(ask.path["conversation_id"])
    await house.conversations.get(conversation_id)
    await house.door.delete(conversation_id)


async def fork_conversation(house: House, ask: Ask[ForkConversation, None]) -> ConversationOut:
    """A new conversation that begins with what the model sees in this one."""
    query = ask.query
    thread = await read_thread(house, ask.path["conversation_id"], query.agent_id)
    message_id = read_cursor("message", query.message_id, "message_id")
    up_to = None if message_id is None else MessageId(message_id)
    return await show_conversation(house, await house.conversations.fork(thread, up_to=up_to, hidden=query.hidden))


async def list_conversation_messages(house: House, ask: Ask[ListOfConversation, None]) -> list[WireMessage]:
    """A page of the conversation's history, in the order asked for; of an agent's own thread oldest first."""
    query = ask.query
    thread = await read_thread(house, ask.path["conversation_id"], query.agent_id)
    shown = show_page(await read_page_of(house, thread, query), query)
    return shown if query.order == "asc" or thread.conversation_id is None else shown[::-1]


async def send_conversation_message(house: House, ask: Ask[None, SendToConversationIn]) -> ReplyOut | EventStream:
    """Say something to a conversation, and have the answer streamed, or wait for it."""
    thread = await read_thread(house, ask.path["conversation_id"], ask.body.agent_id)
    if ask.body.streaming is False:
        return await send_to(house, thread.id, ask.body, ask.headers)
    return await stream_from(house, thread.id, ask.body, ask.headers)


async def stream_conversation(house: House, ask: Ask[None, ResumeConversationIn | None]) -> EventStream:
    """The messages of a run of the conversation after a number, and then live ones until it ends."""
    body = ask.body or ResumeConversationIn()
    thread = await read_thread(house, ask.path["conversation_id"], body.agent_id)
    if body.run_id is not None:
        run = await find_run(house, body.run_id)
        if run.thread_id != thread.id:
            raise NotFound(f"Run with id '{run.id}' not found in this conversation", run_id=run.id)
        return stream_again(house, run, body)
    if body.otid is not None:
        found = await house.door.find_run(thread, body.otid)
        if found is None:
            raise NotFound(f"No run was sent a message with otid '{body.otid[:80]}'", otid=body.otid[:80])
        return stream_again(house, found, body)
    active = await house.door.find_active_run(thread)
    if active is None:
        raise InvalidInput("No active runs found for this conversation.", field="conversation_id")
    return stream_again(house, await house.door.get_run(active), body)


async def cancel_conversation(house: House, ask: Ask[OfAgent, None]) -> dict[str, str]:
    """Cancel the runs of a conversation that have not ended; the status of each."""
    thread = await read_thread(house, ask.path["conversation_id"], ask.query.agent_id)
    return {**await house.door.cancel(thread.id, None)}


async def recompile_conversation(house: House, ask: Ask[RecompileConversation, OfAgent | None]) -> str:
    """The system prompt made anew; it is kept unless that is not wanted."""
    thread = await read_thread(house, ask.path["conversation_id"], None if ask.body is None else ask.body.agent_id)
    if ask.query.dry_run:
        return await house.performer.compile(thread)
    return await house.door.recompile(thread.id)


async def show_conversation(house: House, view: ConversationView) -> ConversationOut:
    """A conversation as the wire shows it."""
    own = view.conversation
    settings = None
    if own.sampling is not None:
        model = own.model or (await house.roster.get_settings(own.agent_id)).model
        settings = show_model_settings(await house.memo.recall(model), own.sampling)
    return ConversationOut(
        created_at=micros_date(own.created_at_us),
        updated_at=micros_date(own.updated_at_us),
        id=own.id,
        agent_id=own.agent_id,
        summary=own.summary,
        description=own.description,
        in_context_message_ids=[entry.id for entry in view.state.window],
        isolated_block_ids=[ref.id for ref in own.blocks],
        model=own.model,
        context_window_limit=own.context_window_tokens,
        model_settings=settings,
        last_message_at=optional_date(view.last_message_at_us),
        archived=own.archived_at_us is not None,
        archived_at=optional_date(own.archived_at_us),
    )


async def _model(house: House, wire: ConversationFieldsIn) -> str | None:
    """The model that is asked for, if there is such a one."""
    return None if wire.model is None else (await house.roster.find_model(wire.model)).handle


def _sampling(wire: ConversationFieldsIn) -> Sampling | None:
    if wire.model_settings is None:
        return None
    return read_sampling(AgentFieldsIn(model_settings=wire.model_settings), Sampling())


_PATH = "/v1/conversations/{conversation_id}"
ROUTES = (
    Route(
        method="POST",
        path="/v1/conversations/",
        name="create_conversation",
        summary="Make a conversation of an agent",
        tag="conversations",
        handler=create_conversation,
        query=OfAgent,
        body=CreateConversationIn | None,
        body_needed=False,
        answer=ConversationOut,
        shapes=MODEL_SETTINGS_SHAPES,
        refusals=(400, 404),
    ),
    Route(
        method="GET",
        path="/v1/conversations/",
        name="list_conversations",
        summary="List conversations",
        tag="conversations",
        handler=list_conversations,
        query=ListConversations,
        answer=list[ConversationOut],
        shapes=MODEL_SETTINGS_SHAPES,
        refusals=(400, 404),
    ),
    Route(
        method="GET",
        path=_PATH,
        name="retrieve_conversation",
        summary="Read a conversation",
        tag="conversations",
        handler=retrieve_conversation,
        answer=ConversationOut,
        shapes=MODEL_SETTINGS_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path=_PATH,
        name="update_conversation",
        summary="Edit a conversation",
        tag="conversations",
        handler=update_conversation,
        body=UpdateConversationIn,
        answer=ConversationOut,
        shapes=MODEL_SETTINGS_SHAPES,
        refusals=(400, 404, 409),
    ),
    Route(
        method="DELETE",
        path=_PATH,
        name="delete_conversation",
        summary="Delete a conversation",
        tag="conversations",
        handler=delete_conversation,
        answer=None,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/fork",
        name="fork_conversation",
        summary="Begin another conversation with what the model sees in this one",
        tag="conversations",
        handler=fork_conversation,
        query=ForkConversation,
        answer=ConversationOut,
        shapes=MODEL_SETTINGS_SHAPES,
        refusals=(400, 404),
    ),
    Route(
        method="GET",
        path=f"{_PATH}/messages",
        name="list_conversation_messages",
        summary="List the messages of a conversation",
        tag="conversations",
        handler=list_conversation_messages,
        query=ListOfConversation,
        answer=list[ShownMessage],
        shapes=MESSAGE_SHAPES,
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/messages",
        name="send_conversation_message",
        summary="Send messages to a conversation; stream the answer, or wait for it with `streaming: false`",
        tag="conversations",
        handler=send_conversation_message,
        body=SendToConversationIn,
        answer=ReplyOut,
        shapes=MESSAGE_SHAPES,
        streams="maybe",
        begins_turn=True,
        refusals=(400, 404, 409, 429, 502, 503, 504),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/stream",
        name="retrieve_conversation_stream",
        summary="Stream a run of a conversation, from its beginning or from a number",
        tag="conversations",
        handler=stream_conversation,
        body=ResumeConversationIn | None,
        body_needed=False,
        answer=None,
        streams="always",
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/cancel",
        name="cancel_conversation",
        summary="Cancel the runs of a conversation",
        tag="conversations",
        handler=cancel_conversation,
        query=OfAgent,
        answer=dict[str, str],
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/recompile",
        name="recompile_conversation",
        summary="Make the system prompt of a conversation anew",
        tag="conversations",
        handler=recompile_conversation,
        query=RecompileConversation,
        body=OfAgent | None,
        body_needed=False,
        answer=str,
        refusals=(400, 404),
    ),
)
