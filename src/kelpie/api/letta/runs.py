"""Runs on the wire: read, listed; their messages, cost, and streams, from the beginning or from a number."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from kelpie.agent.listing import run_not_found
from kelpie.agent.state import Run
from kelpie.api.letta.house import House
from kelpie.api.letta.message_shapes import MESSAGE_SHAPES, ShownMessage, WireMessage, show_messages
from kelpie.api.letta.paging import Order, PageLimit, read_cursor
from kelpie.api.letta.stream_view import StreamOptions, stream_run
from kelpie.api.letta.values import micros_date, optional_date
from kelpie.api.route import Ask, Route
from kelpie.api.sse import EventStream
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId, RunId, parse_id
from kelpie.limits import EVENTS_PER_RUN_MAX
from kelpie.memory.history import StoredMessage
from kelpie.storage.paging import Page

LIMIT_DEFAULT = 100
PAGE_ROWS = 200
AGENTS_PER_LIST_MAX = 64
_RUNNING = ("created", "running")


class RequestConfigOut(Struct, frozen=True, kw_only=True):
    """How messages of the run are to be shown."""

    use_assistant_message: bool = True
    assistant_message_tool_name: str = "send_message"
    assistant_message_tool_kwarg: str = "message"
    include_return_message_types: list[str] | None = None


class RunOut(Struct, frozen=True, kw_only=True):
    """A run as the wire shows it."""

    id: str
    status: str
    created_at: str
    completed_at: str | None = None
    agent_id: str
    conversation_id: str | None = None
    base_template_id: str | None = None
    background: bool | None
    metadata: dict[str, Any] | None
    request_config: RequestConfigOut | None = RequestConfigOut()
    stop_reason: str | None = None
    callback_url: str | None = None
    callback_sent_at: str | None = None
    callback_status_code: int | None = None
    callback_error: str | None = None
    ttft_ns: int | None = None
    total_duration_ns: int | None = None


class PromptDetails(Struct, frozen=True, kw_only=True):
    """Of what the prompt's tokens were."""

    cached_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_tokens: int | None


class CompletionDetails(Struct, frozen=True, kw_only=True):
    """Of what the completion's tokens were."""

    reasoning_tokens: int | None


class RunUsageOut(Struct, frozen=True, kw_only=True):
    """What a run cost."""

    completion_tokens: int
    prompt_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails | None
    completion_tokens_details: CompletionDetails | None


class ListRuns(Struct, frozen=True, kw_only=True):
    """Whose runs, and which page of them."""

    agent_id: str | None = None
    agent_ids: list[str] | None = None
    statuses: list[str] | None = None
    background: bool | None = None
    stop_reason: str | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    ascending: bool = False
    active: bool = False


class ListRunMessages(Struct, frozen=True, kw_only=True):
    """Which page of a run's messages."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "asc"


class ResumeIn(Struct, frozen=True, kw_only=True):
    """From where to go on: `starting_after` is the last number that the client has."""

    starting_after: Annotated[int, Meta(ge=0)] | None = None
    include_pings: bool | None = None


def show_run(run: Run) -> RunOut:
    """A run as the wire shows it."""
    duration_us = None if run.completed_at_us is None else run.completed_at_us - run.created_at_us
    metadata: dict[str, Any] = {"run_type": "send_message_async" if run.options.background else "send_message"}
    if run.error is not None:
        metadata["error"] = {"type": run.error.code, "message": run.error.sentence}
    return RunOut(
        id=run.id,
        status=run.status,
        created_at=micros_date(run.created_at_us),
        completed_at=optional_date(run.completed_at_us),
        agent_id=run.agent_id,
        conversation_id=run.conversation_id,
        background=run.options.background,
        metadata=metadata,
        stop_reason=run.stop_reason,
        total_duration_ns=None if duration_us is None else max(0, duration_us) * 1_000,
    )


async def find_run(house: House, run_id: str) -> Run:
    """The run. Raises NotFound also for what can be no run's id."""
    try:
        parse_id("run", run_id)
    except InvalidInput:
        raise run_not_found(RunId(run_id)) from None
    return await house.door.get_run(RunId(run_id))


async def list_runs(house: House, ask: Ask[ListRuns, None]) -> list[RunOut]:
    """The runs of one agent, or of the agents named."""
    query = ask.query
    agent_ids = [*([] if query.agent_id is None else [query.agent_id]), *(query.agent_ids or [])]
    if not agent_ids:
        raise InvalidInput("runs are listed by agent: give agent_id", field="agent_id")
    if len(agent_ids) > AGENTS_PER_LIST_MAX:
        raise InvalidInput(f"agent_ids names more than {AGENTS_PER_LIST_MAX} agents", field="agent_ids")
    page = Page(
        before=read_cursor("run", query.before, "before"),
        after=read_cursor("run", query.after, "after"),
        limit=query.limit or LIMIT_DEFAULT,
        newest_first=query.order == "desc" and not query.ascending,
    )
    runs: list[Run] = []
    for agent_id in dict.fromkeys(agent_ids):
        read_cursor("agent", agent_id, "agent_id")
        runs += await house.listing.runs(AgentId(agent_id), page, lambda run: _is_wanted(run, query))
    runs.sort(key=lambda run: (run.created_at_us, run.id), reverse=page.newest_first)
    return [show_run(run) for run in runs[: page.limit]]


async def retrieve_run(house: House, ask: Ask[None, None]) -> RunOut:
    """One run."""
    return show_run(await find_run(house, ask.path["run_id"]))


async def list_run_messages(house: House, ask: Ask[ListRunMessages, None]) -> list[WireMessage]:
    """What the client sent and what the agent answered, in a page of stored messages."""
    run = await find_run(house, ask.path["run_id"])
    query = ask.query
    stored = await messages_of_run(house, run)
    if query.order == "desc":
        stored.reverse()
    ids: list[str] = [message.id for message in stored]
    first, last = read_cursor("message", query.after, "after"), read_cursor("message", query.before, "before")
    start = ids.index(first) + 1 if first in ids else 0
    end = ids.index(last) if last in ids else len(ids)
    shown = show_messages(sorted(stored[start:end][: query.limit or LIMIT_DEFAULT], key=lambda message: message.seq))
    return shown if query.order == "asc" else shown[::-1]


async def retrieve_run_usage(house: House, ask: Ask[None, None]) -> RunUsageOut:
    """What the run has cost so far."""
    usage = (await find_run(house, ask.path["run_id"])).usage
    return RunUsageOut(
        completion_tokens=usage.output_tokens,
        prompt_tokens=usage.input_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=PromptDetails(
            cached_tokens=usage.cached_tokens,
            cache_read_tokens=usage.cached_tokens,
            cache_creation_tokens=usage.cache_written_tokens,
        ),
        completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
    )


async def stream_of_run(house: House, ask: Ask[None, ResumeIn | None]) -> EventStream:
    """The run's messages after a number, and then live ones until it ends."""
    run = await find_run(house, ask.path["run_id"])
    return stream_again(house, run.id, ask.body or ResumeIn())


def stream_again(house: House, run_id: RunId, resume: ResumeIn) -> EventStream:
    """A run's numbered stream from behind the last number that the client has."""
    options = StreamOptions(numbered=True, seen=resume.starting_after or 0, pings=resume.include_pings is not False)
    return stream_run(house.world, house.door, run_id, options)


async def messages_of_run(house: House, run: Run) -> list[StoredMessage]:
    """The run's messages, oldest first: found from the newest backwards, until before the run was accepted."""
    found: list[StoredMessage] = []
    before: int | None = None
    for _ in range(EVENTS_PER_RUN_MAX):
        page = await house.history.list(run.thread_id, before_seq=before, limit=PAGE_ROWS, newest_first=True)
        found += [message for message in page if message.run_id == run.id]
        older = [message for message in page if message.run_id != run.id]
        passed = bool(found) and any(message.seq < found[-1].seq for message in older)
        if len(page) < PAGE_ROWS or passed or page[-1].created_at_us < run.created_at_us:
            break
        before = page[-1].seq
    return found[::-1]


def _is_wanted(run: Run, query: ListRuns) -> bool:
    if query.active and run.status not in _RUNNING:
        return False
    if query.statuses and run.status not in query.statuses:
        return False
    if query.background is not None and run.options.background != query.background:
        return False
    return query.stop_reason is None or run.stop_reason == query.stop_reason


ROUTES = (
    Route(
        method="GET",
        path="/v1/runs/",
        name="list_runs",
        summary="List the runs of agents",
        tag="runs",
        handler=list_runs,
        query=ListRuns,
        answer=list[RunOut],
        refusals=(400, 404),
    ),
    Route(
        method="GET",
        path="/v1/runs/{run_id}",
        name="retrieve_run",
        summary="Read a run",
        tag="runs",
        handler=retrieve_run,
        answer=RunOut,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/runs/{run_id}/messages",
        name="list_messages_for_run",
        summary="List the messages of a run",
        tag="runs",
        handler=list_run_messages,
        query=ListRunMessages,
        answer=list[ShownMessage],
        shapes=MESSAGE_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/runs/{run_id}/usage",
        name="retrieve_usage_for_run",
        summary="What a run cost",
        tag="runs",
        handler=retrieve_run_usage,
        answer=RunUsageOut,
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/runs/{run_id}/stream",
        name="retrieve_stream_for_run",
        summary="Stream a run, from its beginning or from a number",
        tag="runs",
        handler=stream_of_run,
        body=ResumeIn | None,
        body_needed=False,
        answer=None,
        streams="always",
        refusals=(404,),
    ),
)
