"""Runs on the wire: read, listed; their messages, steps, cost, and streams, from the beginning or from a number."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from kelpie.agent.past import ACTIVE, Whose, run_not_found
from kelpie.agent.state import Run
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import read_speech
from kelpie.api.letta.message_shapes import MESSAGE_SHAPES, ShownMessage, WireMessage, show_messages
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.letta.run_shapes import (
    RunMetricsOut,
    RunOut,
    RunUsageOut,
    StopReasonName,
    show_run,
    show_run_metrics,
    show_run_usage,
    show_spans,
)
from kelpie.api.letta.step_shapes import StepOut, show_step
from kelpie.api.letta.stream_view import StreamOptions, stream_run
from kelpie.api.route import Ask, Route
from kelpie.api.sse import EventStream
from kelpie.errors import InvalidInput, NotFound
from kelpie.ids import AgentId, ConversationId, RunId, parse_id
from kelpie.limits import PAGE_ROWS_MAX
from kelpie.memory.history import StoredMessage

LIMIT_DEFAULT = 100
DEFAULT_THREAD = "default"


class WhichRuns(Struct, frozen=True, kw_only=True):
    """Which runs."""

    agent_id: str | None = None
    agent_ids: list[str] | None = None
    statuses: list[str] | None = None
    background: bool | None = None
    stop_reason: StopReasonName | None = None
    conversation_id: str | None = None
    active: bool = False


class ListRuns(WhichRuns, frozen=True, kw_only=True):
    """Which runs, and which page of them."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None
    ascending: bool = False


class ListActiveRuns(Struct, frozen=True, kw_only=True):
    """Whose runs that have not ended."""

    agent_id: str | None = None
    background: bool | None = None


class ListRunMessages(Struct, frozen=True, kw_only=True):
    """Which page of a run's messages."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "asc"
    order_by: str | None = None


class ListRunSteps(Struct, frozen=True, kw_only=True):
    """Which page of a run's steps."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None


class TraceOfRun(Struct, frozen=True, kw_only=True):
    """How many spans at most."""

    limit: PageLimit = PAGE_ROWS_MAX


class ResumeIn(Struct, frozen=True, kw_only=True):
    """From where to go on: `starting_after` is the last number that the client has."""

    starting_after: Annotated[int, Meta(ge=0)] | None = None
    include_pings: bool | None = None


async def find_run(house: House, run_id: str) -> Run:
    """The run. Raises NotFound also for what can be no run's id."""
    try:
        parse_id("run", run_id)
    except InvalidInput:
        raise run_not_found(RunId(run_id)) from None
    return await house.past.run(RunId(run_id))


async def list_runs(house: House, ask: Ask[ListRuns, None]) -> list[RunOut]:
    """Runs of all agents, or those that are asked for."""
    query = ask.query
    order: Order = "asc" if query.ascending else query.order
    page = read_page(
        "run", before=query.before, after=query.after, limit=query.limit, order=order, limit_default=LIMIT_DEFAULT
    )
    whose = read_whose(query)
    return [show_run(run) for run in await house.past.runs(whose, page, lambda run: is_wanted(run, query))]


async def list_active_runs(house: House, ask: Ask[ListActiveRuns, None]) -> list[RunOut]:
    """Runs that have not ended."""
    query = WhichRuns(agent_id=ask.query.agent_id, background=ask.query.background, active=True)
    return [show_run(run) for run in await house.past.every_run(read_whose(query), lambda run: is_wanted(run, query))]


async def retrieve_run(house: House, ask: Ask[None, None]) -> RunOut:
    """One run."""
    return show_run(await find_run(house, ask.path["run_id"]))


async def delete_run(house: House, ask: Ask[None, None]) -> None:
    """Forget a run that has ended; what was said in it stays in the agent's history."""
    await house.past.delete_run((await find_run(house, ask.path["run_id"])).id)


async def list_run_messages(house: House, ask: Ask[ListRunMessages, None]) -> list[WireMessage]:
    """What the client sent and what the agent answered, in a page of stored messages."""
    return page_of_messages(await house.past.messages(await find_run(house, ask.path["run_id"])), ask.query)


async def retrieve_run_usage(house: House, ask: Ask[None, None]) -> RunUsageOut:
    """What the run has cost so far."""
    return show_run_usage((await find_run(house, ask.path["run_id"])).usage)


async def retrieve_run_metrics(house: House, ask: Ask[None, None]) -> RunMetricsOut:
    """What the run took."""
    run = await find_run(house, ask.path["run_id"])
    steps = await house.past.steps_of(run)
    named = await house.tools.named(sorted({name for step in steps for name in step.record.called}))
    return show_run_metrics(run, steps, {name: tool.id for name, tool in named.items()})


async def list_run_steps(house: House, ask: Ask[ListRunSteps, None]) -> list[StepOut]:
    """The run's steps, those of a running one as well."""
    query = ask.query
    steps = await house.past.steps_of(await find_run(house, ask.path["run_id"]))
    shown = steps if query.order == "asc" else steps[::-1]
    ids: list[str] = [step.record.id for step in shown]
    start, end = cut(ids, "step", query.before, query.after)
    return [show_step(step) for step in shown[start:end][: query.limit or LIMIT_DEFAULT]]


async def retrieve_run_trace(house: House, ask: Ask[TraceOfRun, None]) -> list[dict[str, Any]]:
    """What happened when, as spans."""
    run = await find_run(house, ask.path["run_id"])
    return show_spans(run, await house.past.steps_of(run))[: ask.query.limit]


async def stream_of_run(house: House, ask: Ask[None, ResumeIn | None]) -> EventStream:
    """The run's messages after a number, and then live ones until it ends."""
    run = await find_run(house, ask.path["run_id"])
    return stream_again(house, run, ask.body or ResumeIn())


def stream_again(house: House, run: Run, resume: ResumeIn) -> EventStream:
    """A run's numbered stream from behind the last number that the client has."""
    options = StreamOptions(
        numbered=True,
        seen=resume.starting_after or 0,
        pings=resume.include_pings is not False,
        speech=read_speech(run.options),
    )
    return stream_run(house.world, house.door, run.id, options)


def read_whose(query: WhichRuns) -> Whose:
    """Which list has the runs: that of the one conversation or agent that is named, else that of all."""
    named = _agents(query)
    for agent_id in named:
        read_cursor("agent", agent_id, "agent_id")
    if query.conversation_id not in (None, "", DEFAULT_THREAD):
        conversation_id = read_cursor("conv", query.conversation_id, "conversation_id")
        return Whose(conversation_id=ConversationId(str(conversation_id)))
    return Whose(agent_id=AgentId(named[0])) if len(named) == 1 else Whose()


def is_wanted(run: Run, query: WhichRuns) -> bool:
    """Whether the run is one of those that are asked for."""
    if query.active and run.status not in ACTIVE:
        return False
    if query.statuses and run.status not in query.statuses:
        return False
    if query.background is not None and run.options.background != query.background:
        return False
    named = _agents(query)
    if named and run.agent_id not in named:
        return False
    if query.conversation_id == DEFAULT_THREAD and run.conversation_id is not None:
        return False
    return query.stop_reason is None or run.stop_reason == query.stop_reason


def page_of_messages(stored: list[StoredMessage], query: ListRunMessages) -> list[WireMessage]:
    """A page of stored messages, which come oldest first, as the wire shows them; `before` and `after` are in time."""
    start, end = cut([message.id for message in stored], "message", query.before, query.after)
    limit = query.limit or LIMIT_DEFAULT
    if query.order == "asc":
        return show_messages(stored[start:end][:limit])
    return show_messages(stored[start:end][-limit:])[::-1]


def cut(ids: list[str], kind: str, before: str | None, after: str | None) -> tuple[int, int]:
    """Where the page begins and ends within `ids`. Raises NotFound for an unknown cursor."""
    first, last = read_cursor(kind, after, "after"), read_cursor(kind, before, "before")
    for cursor in (first, last):
        if cursor is not None and cursor not in ids:
            raise NotFound(f"'{cursor}' is not in this list", id=cursor)
    return 0 if first is None else ids.index(first) + 1, len(ids) if last is None else ids.index(last)


def _agents(query: WhichRuns) -> list[str]:
    return list(dict.fromkeys([*([] if query.agent_id is None else [query.agent_id]), *(query.agent_ids or [])]))


ROUTES = (
    Route(
        method="GET",
        path="/v1/runs/",
        name="list_runs",
        summary="List runs",
        tag="runs",
        handler=list_runs,
        query=ListRuns,
        answer=list[RunOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/runs/active",
        name="list_active_runs",
        summary="List the runs that have not ended",
        tag="runs",
        handler=list_active_runs,
        query=ListActiveRuns,
        answer=list[RunOut],
        deprecated=True,
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
        method="DELETE",
        path="/v1/runs/{run_id}",
        name="delete_run",
        summary="Delete a run that has ended; its messages stay",
        tag="runs",
        handler=delete_run,
        answer=None,
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path="/v1/runs/{run_id}/metrics",
        name="retrieve_metrics_for_run",
        summary="What a run took",
        tag="runs",
        handler=retrieve_run_metrics,
        answer=RunMetricsOut,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/runs/{run_id}/steps",
        name="list_steps_for_run",
        summary="List the steps of a run",
        tag="runs",
        handler=list_run_steps,
        query=ListRunSteps,
        answer=list[StepOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/runs/{run_id}/trace",
        name="retrieve_trace_for_run",
        summary="What happened in a run, when, as spans",
        tag="runs",
        handler=retrieve_run_trace,
        query=TraceOfRun,
        answer=list[dict[str, Any]],
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
