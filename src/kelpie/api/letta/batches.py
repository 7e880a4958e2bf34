"""Batches of messages on the wire: many requests to many agents, answered later."""

from typing import Any

from msgspec import Struct

from kelpie.agent.batches import BatchView
from kelpie.agent.past import ACTIVE
from kelpie.agent.state import Run
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import SendIn, read_messages, read_options
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.letta.runs import cut
from kelpie.api.letta.values import USER_ID, micros_date, optional_date
from kelpie.api.route import Ask, Route
from kelpie.errors import InvalidInput, KelpieError, LimitExceeded
from kelpie.ids import AgentId, RunId, parse_id
from kelpie.limits import BATCH_REQUESTS_MAX, IDEMPOTENCY_KEY_BYTES_MAX
from kelpie.llm.messages import TextPart, ToolCallPart, ToolReturnPart
from kelpie.memory.history import StoredMessage

LIMIT_DEFAULT = 100


class BatchRequestIn(SendIn, frozen=True, kw_only=True):
    """One request of a batch."""

    agent_id: str


class BatchIn(Struct, frozen=True, kw_only=True):
    """The requests."""

    requests: list[BatchRequestIn]
    callback_url: str | None = None


class BatchOut(Struct, frozen=True, kw_only=True):
    """A batch as the wire shows it."""

    created_by_id: str = USER_ID
    last_updated_by_id: str = USER_ID
    created_at: str
    updated_at: str | None
    status: str
    completed_at: str | None
    stop_reason: str | None = None
    metadata: dict[str, Any] | None
    job_type: str = "batch"
    background: bool = True
    agent_id: str | None = None
    callback_url: str | None = None
    callback_sent_at: str | None = None
    callback_status_code: int | None = None
    callback_error: str | None = None
    ttft_ns: int | None = None
    total_duration_ns: int | None
    id: str
    user_id: str = USER_ID


class ListBatches(Struct, frozen=True, kw_only=True):
    """Which page of the batches."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None


class ListBatchMessages(ListBatches, frozen=True, kw_only=True):
    """Which page of a batch's messages."""

    agent_id: str | None = None


class TextContentOut(Struct, frozen=True, kw_only=True):
    """Words."""

    type: str = "text"
    text: str
    signature: str | None = None


class FunctionOut(Struct, frozen=True, kw_only=True):
    """Which tool is called, and with what."""

    name: str
    arguments: str


class CallOut(Struct, frozen=True, kw_only=True):
    """A tool call."""

    id: str
    function: FunctionOut
    type: str = "function"


class ReturnOut(Struct, frozen=True, kw_only=True):
    """What came of a tool call."""

    tool_call_id: str
    status: str
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None
    func_response: str


class RecordedMessage(Struct, frozen=True, kw_only=True):
    """A message in the form in which it is kept, one for each, not one for each part."""

    id: str
    role: str
    created_at: str
    agent_id: str
    content: list[TextContentOut] | None
    name: str | None
    tool_calls: list[CallOut] | None
    tool_call_id: str | None
    tool_returns: list[ReturnOut]
    step_id: str | None
    run_id: str | None
    otid: str | None
    sender_id: str | None
    conversation_id: str | None


class BatchMessagesOut(Struct, frozen=True, kw_only=True):
    """The messages of a batch."""

    messages: list[RecordedMessage]


def show_batch(view: BatchView) -> BatchOut:
    """A batch as the wire shows it."""
    record, ended_us = view.record, view.completed_at_us
    statuses = [run.status for run in view.runs]
    return BatchOut(
        created_at=micros_date(record.created_at_us),
        updated_at=micros_date(ended_us or record.created_at_us),
        status=view.status,
        completed_at=optional_date(ended_us),
        metadata={
            "requests": len(record.run_ids),
            "run_ids": list(record.run_ids),
            **{status: statuses.count(status) for status in sorted(set(statuses))},
        },
        total_duration_ns=None if ended_us is None else max(0, ended_us - record.created_at_us) * 1_000,
        id=record.id,
    )


def record_message(stored: StoredMessage) -> RecordedMessage:
    """A message as it is kept; what a model thought is not among what it said."""
    texts = [TextContentOut(text=part.text) for part in stored.parts if isinstance(part, TextPart)]
    calls = [
        CallOut(id=part.call_id, function=FunctionOut(name=part.name, arguments=part.arguments))
        for part in stored.parts
        if isinstance(part, ToolCallPart)
    ]
    returns = [
        ReturnOut(
            tool_call_id=part.call_id,
            status="success" if part.ok else "error",
            stdout=part.stdout,
            stderr=part.stderr,
            func_response=part.text,
        )
        for part in stored.parts
        if isinstance(part, ToolReturnPart)
    ]
    return RecordedMessage(
        id=stored.id,
        role=stored.kind,
        created_at=micros_date(stored.created_at_us),
        agent_id=stored.agent_id,
        content=texts or None,
        name=stored.name,
        tool_calls=calls or None,
        tool_call_id=returns[0].tool_call_id if returns else None,
        tool_returns=returns,
        step_id=stored.step_id,
        run_id=stored.run_id,
        otid=stored.otid,
        sender_id=stored.sender_id,
        conversation_id=stored.conversation_id,
    )


async def create_batch(house: House, ask: Ask[None, BatchIn]) -> BatchOut:
    """Send all of it, or nothing: a request that cannot be sent takes those before it back."""
    body = ask.body
    if body.callback_url:
        raise InvalidInput("callback_url is not supported by this server", field="callback_url")
    if not 0 < len(body.requests) <= BATCH_REQUESTS_MAX:
        raise LimitExceeded(
            f"a batch has 1 to {BATCH_REQUESTS_MAX} requests", limit="BATCH_REQUESTS_MAX", maximum=BATCH_REQUESTS_MAX
        )
    key = ask.headers.get(b"idempotency-key", b"")[:IDEMPOTENCY_KEY_BYTES_MAX].decode("latin-1")
    sent: list[RunId] = []
    try:
        for at, request in enumerate(body.requests):
            sent.append(await _send(house, request, f"batch:{at}:{key}" if key else None))
    except KelpieError:
        await house.batches.cancel_runs(tuple(await house.past.some_runs(tuple(sent))))
        raise
    return show_batch(await house.batches.create(tuple(sent)))


async def list_batches(house: House, ask: Ask[ListBatches, None]) -> list[BatchOut]:
    """A page of them."""
    query = ask.query
    page = read_page(
        "job", before=query.before, after=query.after, limit=query.limit, order=query.order, limit_default=LIMIT_DEFAULT
    )
    return [show_batch(view) for view in await house.batches.page(page)]


async def retrieve_batch(house: House, ask: Ask[None, None]) -> BatchOut:
    """One batch."""
    return show_batch(await house.batches.get(_batch_id(ask.path["batch_id"])))


async def cancel_batch(house: House, ask: Ask[None, None]) -> None:
    """Cancel what has not ended of it."""
    await house.batches.cancel(_batch_id(ask.path["batch_id"]))


async def list_batch_messages(house: House, ask: Ask[ListBatchMessages, None]) -> BatchMessagesOut:
    """What was said in the runs of a batch that have ended."""
    query = ask.query
    view = await house.batches.get(_batch_id(ask.path["batch_id"]))
    agent_id = read_cursor("agent", query.agent_id, "agent_id")
    found: list[StoredMessage] = []
    for run in view.runs:
        if _has_ended(run) and agent_id in (None, run.agent_id):
            found += await house.past.messages(run)
    found.sort(key=lambda message: (message.created_at_us, message.agent_id, message.seq))
    ordered = found if query.order == "asc" else found[::-1]
    start, end = cut([message.id for message in ordered], "message", query.before, query.after)
    return BatchMessagesOut(messages=list(map(record_message, ordered[start:end][: query.limit or LIMIT_DEFAULT])))


async def _send(house: House, request: BatchRequestIn, key: str | None) -> RunId:
    agent_id = AgentId(parse_id("agent", request.agent_id))
    options = read_options(request, streamed=False, background=True)
    if options.model is not None:
        await house.roster.find_model(options.model)
    return await house.door.send(agent_id, read_messages(request), options, key=key)


def _has_ended(run: Run) -> bool:
    return run.status not in ACTIVE


def _batch_id(text: str) -> str:
    return str(read_cursor("job", text, "batch_id"))


ROUTES = (
    Route(
        method="POST",
        path="/v1/messages/batches",
        name="create_batch",
        summary="Send many requests to agents; the answers are asked for later",
        tag="messages",
        handler=create_batch,
        body=BatchIn,
        answer=BatchOut,
        begins_turn=True,
        refusals=(400, 404, 429, 503),
    ),
    Route(
        method="GET",
        path="/v1/messages/batches",
        name="list_batches",
        summary="List batches",
        tag="messages",
        handler=list_batches,
        query=ListBatches,
        answer=list[BatchOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/messages/batches/{batch_id}",
        name="retrieve_batch",
        summary="Read a batch",
        tag="messages",
        handler=retrieve_batch,
        answer=BatchOut,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/messages/batches/{batch_id}/messages",
        name="list_messages_for_batch",
        summary="List the messages of a batch",
        tag="messages",
        handler=list_batch_messages,
        query=ListBatchMessages,
        answer=BatchMessagesOut,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/messages/batches/{batch_id}/cancel",
        name="cancel_batch",
        summary="Cancel what has not ended of a batch",
        tag="messages",
        handler=cancel_batch,
        answer=None,
        refusals=(404,),
    ),
)
