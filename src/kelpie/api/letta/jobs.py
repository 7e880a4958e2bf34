"""Jobs on the wire: work that nobody waits for, which here is a run in the background under another name.

A job's id is its run's, `job-` in place of `run-`. What is sent to be answered later can so be watched, cancelled and
forgotten by clients of either generation.
"""

from typing import Any

from msgspec import Struct

from kelpie.agent.past import EVERYONE
from kelpie.agent.state import Run
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.api.letta.run_shapes import show_run
from kelpie.api.letta.runs import WhichRuns, is_wanted
from kelpie.api.letta.values import USER_ID
from kelpie.api.route import Ask, Route
from kelpie.errors import NotFound
from kelpie.ids import RunId
from kelpie.storage.paging import Page

LIMIT_DEFAULT = 100
LIMIT_ACTIVE = 50
_JOB, _RUN = "job-", "run-"


class JobOut(Struct, frozen=True, kw_only=True):
    """A job as the wire shows it."""

    created_by_id: str = USER_ID
    last_updated_by_id: str = USER_ID
    created_at: str
    updated_at: str | None
    status: str
    completed_at: str | None
    stop_reason: str | None
    metadata: dict[str, Any] | None
    job_type: str = "run"
    background: bool = True
    agent_id: str
    callback_url: str | None = None
    callback_sent_at: str | None = None
    callback_status_code: int | None = None
    callback_error: str | None = None
    ttft_ns: int | None
    total_duration_ns: int | None
    id: str
    user_id: str = USER_ID


class ListJobs(Struct, frozen=True, kw_only=True):
    """Which jobs, and which page of them. Uploads are no jobs here: they are read when they arrive."""

    source_id: str | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None
    active: bool = False
    ascending: bool = True


class ListActiveJobs(Struct, frozen=True, kw_only=True):
    """Which page of the jobs that have not ended."""

    source_id: str | None = None
    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_ACTIVE
    ascending: bool = True


def show_job(run: Run) -> JobOut:
    """A run in the background as a job."""
    shown = show_run(run)
    return JobOut(
        created_at=shown.created_at,
        updated_at=shown.completed_at or shown.created_at,
        status=shown.status,
        completed_at=shown.completed_at,
        stop_reason=shown.stop_reason,
        metadata=shown.metadata,
        agent_id=shown.agent_id,
        ttft_ns=shown.ttft_ns,
        total_duration_ns=shown.total_duration_ns,
        id=_JOB + run.id.removeprefix(_RUN),
    )


async def list_jobs(house: House, ask: Ask[ListJobs, None]) -> list[JobOut]:
    """A page of them."""
    query = ask.query
    page = read_page(
        "job", before=query.before, after=query.after, limit=query.limit, order=query.order, limit_default=LIMIT_DEFAULT
    )
    return await _listed(house, query.source_id, page, active=query.active)


async def list_active_jobs(house: House, ask: Ask[ListActiveJobs, None]) -> list[JobOut]:
    """A page of those that have not ended."""
    query = ask.query
    order: Order = "asc" if query.ascending else "desc"
    page = read_page(
        "job", before=query.before, after=query.after, limit=query.limit, order=order, limit_default=LIMIT_ACTIVE
    )
    return await _listed(house, query.source_id, page, active=True)


async def retrieve_job(house: House, ask: Ask[None, None]) -> JobOut:
    """One job."""
    return show_job(await find_job(house, ask.path["job_id"]))


async def cancel_job(house: House, ask: Ask[None, None]) -> JobOut:
    """Cancel it; one that has ended stays as it ended."""
    run = await find_job(house, ask.path["job_id"])
    await house.door.cancel(run.thread_id, [run.id])
    return show_job(await house.past.run(run.id))


async def delete_job(house: House, ask: Ask[None, None]) -> JobOut:
    """Forget one that has ended."""
    run = await find_job(house, ask.path["job_id"])
    await house.past.delete_run(run.id)
    return show_job(run)


async def find_job(house: House, job_id: str) -> Run:
    """The run of a job. Raises NotFound."""
    try:
        run = await house.past.run(RunId(_run_id(job_id)))
    except NotFound:
        raise _not_found(job_id) from None
    if not run.options.background:
        raise _not_found(job_id)
    return run


async def _listed(house: House, source_id: str | None, page: Page, *, active: bool) -> list[JobOut]:
    if source_id is not None:
        return []
    wanted = WhichRuns(background=True, active=active)
    runs = Page(
        before=None if page.before is None else _run_id(page.before),
        after=None if page.after is None else _run_id(page.after),
        limit=page.limit,
        newest_first=page.newest_first,
    )
    return [show_job(run) for run in await house.past.runs(EVERYONE, runs, lambda run: is_wanted(run, wanted))]


def _run_id(job_id: str) -> str:
    return _RUN + job_id.removeprefix(_JOB)


def _not_found(job_id: str) -> NotFound:
    return NotFound(f"Job with id '{job_id}' not found", job_id=job_id)


ROUTES = (
    Route(
        method="GET",
        path="/v1/jobs/",
        name="list_jobs",
        summary="List jobs: runs in the background",
        tag="jobs",
        handler=list_jobs,
        query=ListJobs,
        answer=list[JobOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/jobs/active",
        name="list_active_jobs",
        summary="List the jobs that have not ended",
        tag="jobs",
        handler=list_active_jobs,
        query=ListActiveJobs,
        answer=list[JobOut],
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/jobs/{job_id}",
        name="retrieve_job",
        summary="Read a job",
        tag="jobs",
        handler=retrieve_job,
        answer=JobOut,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/jobs/{job_id}/cancel",
        name="cancel_job",
        summary="Cancel a job",
        tag="jobs",
        handler=cancel_job,
        answer=JobOut,
        refusals=(404,),
    ),
    Route(
        method="DELETE",
        path="/v1/jobs/{job_id}",
        name="delete_job",
        summary="Delete a job that has ended",
        tag="jobs",
        handler=delete_job,
        answer=JobOut,
        refusals=(404, 409),
    ),
)
