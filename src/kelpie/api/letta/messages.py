"""Messages on the wire: sent and answered at once, as a stream or later; listed; runs cancelled."""

from typing import Any

from msgspec import Struct

from kelpie.agent.listing import run_not_found
from kelpie.agent.state import RunOptions
from kelpie.api.errors import MethodNotAllowed, RunFailed
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import SendIn, read_key, read_messages, read_options
from kelpie.api.letta.message_shapes import (
    MESSAGE_SHAPES,
    MessageType,
    ShownMessage,
    StopReasonOut,
    UsageOut,
    WireMessage,
    show_message,
    show_messages,
    show_stop,
    show_usage,
)
from kelpie.api.letta.paging import Order, PageLimit, read_cursor
from kelpie.api.letta.runs import RunOut, find_run, show_run
from kelpie.api.letta.stream_view import StreamOptions, stream_run
from kelpie.api.route import Ask, Route
from kelpie.api.sse import EventStream
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, MessageId, RunId

LIMIT_DEFAULT = 100
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
    logprobs: dict[str, Any] | None = None
    turns: list[dict[str, Any]] | None = None


class ListMessages(Struct, frozen=True, kw_only=True):
    """Which page of the history. `limit` counts stored messages, of which one may be several wire messages."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    include_return_message_types: list[MessageType] | None = None


class CancelIn(Struct, frozen=True, kw_only=True):
    """Which runs; none named: all that have not ended."""

    run_ids: list[str] | None = None


async def list_messages(house: House, ask: Ask[ListMessages, None]) -> list[WireMessage]:
    """A page of the agent's history; before and after are messages in the order asked for."""
    agent_id, query = AgentId(ask.path["agent_id"]), ask.query
    await house.roster.get_settings(agent_id)  # rows of an agent that was deleted may be there for a while
    newest_first = query.order == "desc"
    after = await _place(house, agent_id, query.after, "after")
    before = await _place(house, agent_id, query.before, "before")
    lower, upper = (before, after) if newest_first else (after, before)
    stored = await house.history.list(
        agent_id,
        after_seq=lower,
        before_seq=upper,
        limit=query.limit or LIMIT_DEFAULT,
        newest_first=newest_first,
    )
    shown = show_messages(stored[::-1] if newest_first else stored)
    if query.include_return_message_types is not None:
        shown = [message for message in shown if message.message_type in query.include_return_message_types]
    return shown[::-1] if newest_first else shown


async def send_message(house: House, ask: Ask[None, SendIn]) -> ReplyOut | EventStream:
    """Say something to the agent, and wait for the answer or have it streamed."""
    if ask.body.streaming:
        return await _stream(house, ask)
    options = read_options(ask.body, streamed=False, background=False)
    run_id = await _accept(house, ask, options)
    said, finished = await house.door.finish(run_id)
    if finished.error is not None:
        raise RunFailed(finished.error, run_id)
    wanted = StreamWanted(ask.body)
    shown = [one for event in said for one in show_message(event.message) if wanted.includes(one)]
    return ReplyOut(messages=shown, stop_reason=show_stop(finished), usage=show_usage(finished))


async def stream_message(house: House, ask: Ask[None, SendIn]) -> EventStream:
    """Say something to the agent, and have the answer streamed."""
    return await _stream(house, ask)


async def send_message_async(house: House, ask: Ask[None, SendIn]) -> RunOut:
    """Say something to the agent, and ask for the answer later. The run is shown as it was when it was accepted."""
    options = read_options(ask.body, streamed=False, background=True)
    run = await house.door.get_accepted(await _accept(house, ask, options))
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
        if message.message_type == "summary_message" and not self.summaries:
            return False
        return self.types is None or message.message_type in self.types


async def _place(house: House, agent_id: AgentId, cursor: str | None, field: str) -> int | None:
    """Where in the history a cursor stands. Raises NotFound."""
    message_id = read_cursor("message", cursor, field)
    return None if message_id is None else await house.history.place(agent_id, MessageId(message_id))


async def _stream(house: House, ask: Ask[None, SendIn]) -> EventStream:
    body = ask.body
    background = bool(body.background)
    run_id = await _accept(house, ask, read_options(body, streamed=True, background=background))
    wanted = StreamWanted(body)
    options = StreamOptions(
        tokens=bool(body.stream_tokens),
        numbered=background,
        pings=body.include_pings is not False,
        types=wanted.types,
        summaries=wanted.summaries,
    )
    return stream_run(house.world, house.door, run_id, options)


async def _accept(house: House, ask: Ask[None, SendIn], options: RunOptions) -> RunId:
    """The run of this request. An unknown model is refused before anything is accepted."""
    messages = read_messages(ask.body)
    if options.model is not None:
        await house.roster.find_model(options.model)
    return await house.door.send(AgentId(ask.path["agent_id"]), messages, options, key=read_key(ask.headers, messages))


ROUTES = (
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/messages",
        name="list_messages",
        summary="List the messages of an agent",
        tag="messages",
        handler=list_messages,
        query=ListMessages,
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
