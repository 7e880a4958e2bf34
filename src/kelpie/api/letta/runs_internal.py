"""Runs as dashboards ask for them: filtered by steps, tools and duration, and in the order of how long they took."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta

from kelpie.agent.state import Run
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit
from kelpie.api.letta.run_shapes import RunOut, duration_ns, show_run
from kelpie.api.letta.runs import LIMIT_DEFAULT, WhichRuns, cut, find_run, is_wanted, read_whose
from kelpie.api.letta.values import optional_moment
from kelpie.api.route import Ask, Route
from kelpie.errors import InvalidInput, NotFound

_Compared = Literal["eq", "gte", "lte"]


class ListInternalRuns(WhichRuns, frozen=True, kw_only=True):
    """Which runs, in which order, and which page of them."""

    run_id: str | None = None
    template_family: str | None = None
    step_count: int | None = None
    step_count_operator: _Compared = "eq"
    tools_used: list[str] | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: Literal["created_at", "duration"] = "created_at"
    ascending: bool = False
    project_id: str | None = None
    duration_percentile: Annotated[int, Meta(ge=1, le=100)] | None = None
    duration_value: int | None = None
    duration_operator: Literal["gt", "lt", "eq"] | None = None
    start_date: str | None = None
    end_date: str | None = None


async def list_internal_runs(house: House, ask: Ask[ListInternalRuns, None]) -> list[RunOut]:
    """Every run that is asked for is looked at before the page is cut: what is slow is known only of all of them."""
    query = ask.query
    if (query.duration_value is None) != (query.duration_operator is None):
        raise InvalidInput("duration_value and duration_operator are given together", field="duration_value")
    if query.project_id is not None or query.template_family is not None:
        return []  # of the hosted service: no run here belongs to one
    runs = [run for run in await _candidates(house, query) if _fits(run, query)]
    if query.tools_used:
        runs = await _that_used(house, runs, query.tools_used)
    if query.duration_percentile is not None:
        runs = slower_than(runs, query.duration_percentile)
    if query.order_by == "duration":
        runs.sort(key=lambda run: duration_ns(run) or 0, reverse=True)
    if query.order == "asc" or query.ascending:
        runs.reverse()
    start, end = cut([run.id for run in runs], "run", query.before, query.after)
    return [show_run(run) for run in runs[start:end][: query.limit or LIMIT_DEFAULT]]


def slower_than(runs: Sequence[Run], percentile: int) -> list[Run]:
    """Those that took longer than so many percent of those that have ended; at 100 the slowest."""
    durations = sorted(taken for run in runs if (taken := duration_ns(run)) is not None)
    if not durations:
        return []
    bound = durations[min(len(durations) - 1, len(durations) * percentile // 100)]
    return [run for run in runs if (taken := duration_ns(run)) is not None and taken >= bound]


async def _candidates(house: House, query: ListInternalRuns) -> list[Run]:
    """The runs of the list that is asked for, newest first."""
    if query.run_id is None:
        return await house.past.every_run(read_whose(query), lambda run: is_wanted(run, query))
    try:
        run = await find_run(house, query.run_id)
    except NotFound:
        return []
    return [run] if is_wanted(run, query) else []


def _fits(run: Run, query: ListInternalRuns) -> bool:
    """Whether the run's own record fits what only this list is asked."""
    from_us, to_us = optional_moment(query.start_date, "start_date"), optional_moment(query.end_date, "end_date")
    if from_us is not None and run.created_at_us < from_us:
        return False
    if to_us is not None and run.created_at_us > to_us:
        return False
    if query.step_count is not None:
        wanted = query.step_count
        fits = {"eq": run.steps == wanted, "gte": run.steps >= wanted, "lte": run.steps <= wanted}
        if not fits[query.step_count_operator]:
            return False
    if query.duration_value is None or query.duration_operator is None:
        return True
    taken, bound = duration_ns(run), query.duration_value
    return (
        taken is not None and {"gt": taken > bound, "lt": taken < bound, "eq": taken == bound}[query.duration_operator]
    )


async def _that_used(house: House, runs: Sequence[Run], tools: Sequence[str]) -> list[Run]:
    """Those in which one of the tools, named or by id, was called."""
    found: list[Run] = []
    for run in runs:
        called = {name for step in await house.past.steps_of(run) for name in step.record.called}
        named = await house.tools.named(sorted(called))
        if not {*called, *(tool.id for tool in named.values())}.isdisjoint(tools):
            found.append(run)
    return found


ROUTES = (
    Route(
        method="GET",
        path="/v1/_internal_runs/",
        name="list_internal_runs",
        summary="List runs by steps, tools and duration",
        tag="_internal_runs",
        handler=list_internal_runs,
        query=ListInternalRuns,
        answer=list[RunOut],
        refusals=(400, 404),
    ),
)
