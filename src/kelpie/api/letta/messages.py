"""Messages on the wire: sent and answered at once, as a stream or later; listed; runs cancelled."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from kelpie.agent.past import run_not_found
from kelpie.agent.state import RunOptions
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.api.errors import MethodNotAllowed, RunFailed
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import SendIn, read_key, read_messages, read_options, read_speech
from kelpie.api.letta.message_shapes import (
    MESSAGE_SHAPES,
    PLAIN_SPEECH,
    MessageType,
    ShownMessage,
    Speech,
    StopReasonOut,
    UsageOut,
    WireMessage,
    show_message,
    show_messages,
    show_stop,
    show_usage,
)
from kelpie.api.letta.paging import Order, PageLimit, read_cursor
from kelpie.api.letta.run_shapes import RunOut, show_run
from kelpie.api.letta.runs import find_run
from kelpie.api.letta.stream_view import StreamOptions, stream_run, with_events
from kelpie.api.letta.threads import read_thread
from kelpie.api.route import Ask, Route
from kelpie.api.sse import EventStream
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, AnyThreadId, MessageId, RunId
from kelpie.memory.history import MessageIndex, StoredMessage

LIMIT_DEFAULT = 100
LOGPROBS = Meta(extra_json_schema={"type": ["object", "null"]})  # as the provider told them
Headers = Mapping[bytes, bytes]
RUNS_CANCELLED_MAX = 100
NO_EDITING = (
    "Message editing is no longer supported. Messages are immutable as they may be shared across multiple"
    " conversations via forking."
)


class ReplyOut(Struct, frozen=True, kw_only=True):
    """The whole answer to a request."""

    messages: list[ShownMessage]
    stop_reason: StopReasonOut
    usage: UsageOut
    logprobs: Annotated[Any, LOGPROBS] = None
    turns: list[dict[str, Any]] | None = None


class ListMessages(Struct, frozen=True, kw_only=True):
    """Which page of the history. `limit` counts stored messages, of which one may be several wire messages.

    `before` and `after` are messages, in time and whatever the order; `desc` begins at the newest."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"
    group_id: str | None = None
    include_err: bool | None = None  # nothing that failed is kept as a message
    include_return_message_types: list[MessageType] | None = None


class ListOfAgent(ListMessages, frozen=True, kw_only=True):
    """Of an agent; `conversation_id` is one of its conversations, or `default`; without it all of them are meant."""

    conversation_id: str | None = None
    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"


class CancelIn(Struct, frozen=True, kw_only=True):
    """Which runs; none named: all that have not ended."""

    run_ids: list[str] | None = None


async def list_messages(house: House, ask: Ask[ListOfAgent, None]) -> list[WireMessage]:
    """A page of the agent's messages, within it always the oldest first: what clients of the retired server rely on."""
    agent_id, query = AgentId(ask.path["agent_id"]), ask.query
    await house.roster.get_settings(agent_id)  # rows of an agent that was deleted may be there for a while
    if query.conversation_id is None:
        return await list_indexed(house, agent_id, query)
    thread = await read_thread(house, query.conversation_id, agent_id)
    if thread.agent_id != agent_id:
        raise thread_not_found(thread.id)
    return show_page(await read_page_of(house, thread, query), query)


async def read_page_of(house: House, thread: Thread, query: ListMessages) -> list[StoredMessage]:
    """A page of one thread's history, in the order asked for. Raises NotFound for a message that it has not."""
    if query.group_id is not None:
        return []  # a group's messages stand in histories of its own agents, and none says that it is the group's
    return await house.history.list(
        thread.id,
        after_seq=await _place(house, thread, query.after, "after"),
        before_seq=await _place(house, thread, query.before, "before"),
        limit=query.limit or LIMIT_DEFAULT,
        newest_first=query.order == "desc",
    )


async def list_indexed(house: House, agent_id: AgentId | None, query: ListMessages) -> list[WireMessage]:
    """A page of the messages of an agent, whatever their thread, or of all agents."""
    if query.group_id is not None:
        return []
    after, before = read_cursor("message", query.after, "after"), read_cursor("message", query.before, "before")
    stored = await MessageIndex(house.records, agent_id, house.listing.present).page(
        after=None if after is None else MessageId(after),
        before=None if before is None else MessageId(before),
        limit=query.limit or LIMIT_DEFAULT,
        newest_first=query.order == "desc",
    )
    return show_page(stored, query)


def show_page(stored: Sequence[StoredMessage], query: ListMessages) -> list[WireMessage]:
    """A page that was read in the order asked for, as the wire shows it: the oldest first."""
    speech = PLAIN_SPEECH
    if isinstance(query, ListOfAgent):
        tool = query.assistant_message_tool_name if query.use_assistant_message else None
        speech = Speech(tool=tool, kwarg=query.assistant_message_tool_kwarg)
    shown = show_messages(stored[::-1] if query.order == "desc" else stored, speech)
    if query.include_return_message_types is None:
        return shown
    return [message for message in shown if message.message_type in query.include_return_message_types]


async def send_message(house: House, ask: Ask[None, SendIn]) -> ReplyOut | EventStream:
    """Say something to the agent, and wait for the answer or have it streamed."""
    agent_id = AgentId(ask.path["agent_id"])
    if ask.body.streaming:
        return await stream_from(house, agent_id, ask.body, ask.headers)
    return await send_to(house, agent_id, ask.body, ask.headers)


async def stream_message(house: House, ask: Ask[None, SendIn]) -> EventStream:
    """Say something to the agent, and have the answer streamed."""
    return await stream_from(house, AgentId(ask.path["agent_id"]), ask.body, ask.headers)


async def send_to(house: House, thread_id: AnyThreadId, body: SendIn, headers: Headers) -> ReplyOut:
    """Say something to a thread, and wait for the answer."""
    options = read_options(body, streamed=False, background=False)
    run_id = await _accept(house, thread_id, body, headers, options)
    said, finished = await house.door.finish(run_id)
    if finished.error is not None:
        raise RunFailed(finished.error, run_id)
    wanted = StreamWanted(body)
    speech = read_speech(options)
    shown = [one for event in said for one in with_events(show_message(event.message, speech)) if wanted.includes(one)]
    logprobs = None if options.logprobs is None else await house.door.get_logprobs(run_id)
    return ReplyOut(messages=shown, stop_reason=show_stop(finished), usage=show_usage(finished), logprobs=logprobs)


async def send_message_async(house: House, ask: Ask[None, SendIn]) -> RunOut:
    """Say something to the agent, and ask for the answer later. The run is shown as it was when it was accepted."""
    agent_id = AgentId(ask.path["agent_id"])
    options = read_options(ask.body, streamed=False, background=True)
    run = await house.door.get_accepted(await _accept(house, agent_id, ask.body, ask.headers, options))
    shown = show_run(run)
    return RunOut(
        id=shown.id,
        status="created",
        created_at=shown.created_at,
        agent_id=shown.agent_id,
        conversation_id=shown.conversation_id,
        background=True,
        metadata={"run_type": "send_message_async", "lettuce": None},
    )


async def cancel_message(house: House, ask: Ask[None, CancelIn | None]) -> dict[str, str]:
    """Cancel runs of the agent; the status of each."""
    agent_id = AgentId(ask.path["agent_id"])
    await house.roster.get_settings(agent_id)
    named = None if ask.body is None else ask.body.run_ids
    if named is None:
        return {**await house.door.cancel(agent_id, None)}
    if len(named) > RUNS_CANCELLED_MAX:
        raise InvalidInput(f"run_ids names more than {RUNS_CANCELLED_MAX} runs", field="run_ids")
    runs = [await find_run(house, run_id) for run_id in dict.fromkeys(named)]
    for run in runs:
        if run.agent_id != agent_id:
            raise run_not_found(run.id)
    return {**await house.door.cancel(agent_id, [run.id for run in runs])} if runs else {}


async def modify_message(house: House, ask: Ask[None, None]) -> None:
    """Always refused: what was said stays said."""
    raise MethodNotAllowed(NO_EDITING, allow="")


class StreamWanted:
    """Which messages the sender asked to be shown."""

    def __init__(self, body: SendIn) -> None:
        asked = body.include_return_message_types
        self.types = None if asked is None else frozenset(asked)
        self.summaries = bool(body.include_compaction_messages)

    def includes(self, message: WireMessage) -> bool:
        """Whether this one."""
        if message.message_type in ("summary_message", "event_message") and not self.summaries:
            return False
        return self.types is None or message.message_type in self.types


async def stream_from(house: House, thread_id: AnyThreadId, body: SendIn, headers: Headers) -> EventStream:
    """Say something to a thread, and have the answer streamed."""
    background = bool(body.background)
    run_options = read_options(body, streamed=True, background=background)
    run_id = await _accept(house, thread_id, body, headers, run_options)
    wanted = StreamWanted(body)
    options = StreamOptions(
        tokens=bool(body.stream_tokens),
        numbered=background,
        pings=body.include_pings is not False,
        types=wanted.types,
        summaries=wanted.summaries,
        speech=read_speech(run_options),
    )
    return stream_run(house.world, house.door, run_id, options)


async def _place(house: House, thread: Thread, cursor: str | None, field: str) -> int | None:
    """Where in the history a cursor stands. Raises NotFound."""
    message_id = read_cursor("message", cursor, field)
    return None if message_id is None else await house.history.place(thread.id, MessageId(message_id))


async def _accept(house: House, thread_id: AnyThreadId, body: SendIn, headers: Headers, options: RunOptions) -> RunId:
    """The run of this request. An unknown model is refused before anything is accepted."""
    messages = read_messages(body)
    if options.model is not None:
        await house.roster.find_model(options.model)
    return await house.door.send(thread_id, messages, options, key=read_key(headers, messages))


ROUTES = (
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/messages",
        name="list_messages",
        summary="List the messages of an agent",
        tag="messages",
        handler=list_messages,
        query=ListOfAgent,
        answer=list[ShownMessage],
        shapes=MESSAGE_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/messages",
        name="send_message",
        summary="Send messages; wait for the answer, or stream it with `streaming: true`",
        tag="messages",
        handler=send_message,
        body=SendIn,
        answer=ReplyOut,
        shapes=MESSAGE_SHAPES,
        streams="maybe",
        begins_turn=True,
        refusals=(400, 404, 409, 429, 502, 503, 504),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/messages/stream",
        name="create_agent_message_stream",
        summary="Send messages and stream the answer",
        tag="messages",
        handler=stream_message,
        body=SendIn,
        answer=None,
        streams="always",
        begins_turn=True,
        refusals=(400, 404, 429, 503),
        deprecated=True,
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/messages/async",
        name="create_agent_message_async",
        summary="Send messages; the answer is asked for later",
        tag="messages",
        handler=send_message_async,
        body=SendIn,
        answer=RunOut,
        begins_turn=True,
        refusals=(400, 404, 429, 503),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/messages/cancel",
        name="cancel_message",
        summary="Cancel runs of an agent",
        tag="messages",
        handler=cancel_message,
        body=CancelIn | None,
        body_needed=False,
        answer=dict[str, str],
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/agents/{agent_id}/messages/{message_id}",
        name="modify_message",
        summary="Refused: messages are immutable",
        tag="messages",
        handler=modify_message,
        answer=None,
        refusals=(405,),
        deprecated=True,
    ),
)
