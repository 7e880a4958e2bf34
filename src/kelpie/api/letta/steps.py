"""Steps on the wire: listed, read, measured, traced; and what people say of them."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from kelpie.agent.past import Step
from kelpie.agent.state import Run
from kelpie.agent.steps import StepNote
from kelpie.agent.tracing import trace_of
from kelpie.api.letta.house import House
from kelpie.api.letta.message_shapes import MESSAGE_SHAPES, ShownMessage, WireMessage
from kelpie.api.letta.paging import Order, PageLimit, read_cursor, read_page
from kelpie.api.letta.runs import ListRunMessages, page_of_messages
from kelpie.api.letta.step_shapes import (
    Feedback,
    ProviderTraceOut,
    StepMetricsOut,
    StepOut,
    show_step,
    show_step_metrics,
    show_trace,
)
from kelpie.api.letta.values import optional_moment
from kelpie.api.route import Ask, Route
from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.ids import AgentId, RunId, StepId
from kelpie.limits import STEP_TAGS_MAX, TAG_CHARS_MAX

LIMIT_DEFAULT = 50
_Tag = Annotated[str, Meta(max_length=TAG_CHARS_MAX)]


class ListSteps(Struct, frozen=True, kw_only=True):
    """Which steps, and which page of them."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    model: str | None = None
    agent_id: str | None = None
    trace_ids: list[str] | None = None
    feedback: Feedback | None = None
    has_feedback: bool | None = None
    tags: list[str] | None = None
    project_id: str | None = None


class FeedbackIn(Struct, frozen=True, kw_only=True):
    """Whether a step was good; tags are added to those that it has."""

    feedback: Feedback | None = None
    tags: list[_Tag] | None = None


async def list_steps(house: House, ask: Ask[ListSteps, None]) -> list[StepOut]:
    """Steps of all agents or of one, in the order of their runs."""
    query = ask.query
    page = read_page(
        "step",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )
    agent_id = read_cursor("agent", query.agent_id, "agent_id")
    from_us, to_us = optional_moment(query.start_date, "start_date"), optional_moment(query.end_date, "end_date")
    if query.project_id is not None or query.trace_ids:
        return []  # projects and traces of theirs are of the hosted service: no step here belongs to one

    def may_have(run: Run) -> bool:
        if to_us is not None and run.created_at_us > to_us:
            return False
        return from_us is None or run.completed_at_us is None or run.completed_at_us >= from_us

    def is_wanted(step: Step) -> bool:
        return _is_wanted(step, query, from_us, to_us)

    found = await house.past.steps(None if agent_id is None else AgentId(agent_id), page, may_have, is_wanted)
    return [show_step(step) for step in found]


async def retrieve_step(house: House, ask: Ask[None, None]) -> StepOut:
    """One step."""
    return show_step(await house.past.step(StepId(ask.path["step_id"])))


async def retrieve_step_metrics(house: House, ask: Ask[None, None]) -> StepMetricsOut:
    """What it took."""
    return show_step_metrics(await house.past.step(StepId(ask.path["step_id"])))


async def retrieve_step_trace(house: House, ask: Ask[None, None]) -> ProviderTraceOut | None:
    """What was sent to the model and what came back; null of a step that ended before its model was asked."""
    step = await house.past.step(StepId(ask.path["step_id"]))
    trace = await trace_of(house.records, step.record)
    return None if trace is None else show_trace(step, trace)


async def list_step_messages(house: House, ask: Ask[ListRunMessages, None]) -> list[WireMessage]:
    """What was said in the step; of a run's first step also what the client sent."""
    step = await house.past.step(StepId(ask.path["step_id"]))
    stored = await house.past.messages(await house.past.run(RunId(step.record.run_id)))
    return page_of_messages([message for message in stored if message.step_id == step.record.id], ask.query)


async def modify_step_feedback(house: House, ask: Ask[None, FeedbackIn]) -> StepOut:
    """Whether it was good."""
    body = ask.body

    def change(note: StepNote) -> StepNote:
        tags = tuple(dict.fromkeys([*note.tags, *(body.tags or ())]))
        if len(tags) > STEP_TAGS_MAX:
            raise LimitExceeded(
                f"a step has at most {STEP_TAGS_MAX} tags", limit="STEP_TAGS_MAX", maximum=STEP_TAGS_MAX
            )
        return msgspec.structs.replace(note, feedback=body.feedback, tags=tags)

    return show_step(await house.past.note(StepId(ask.path["step_id"]), change))


async def modify_step_transaction(house: House, ask: Ask[None, None]) -> StepOut:
    """Which transaction of the client's it belongs to."""
    transaction_id = ask.path["transaction_id"]
    if len(transaction_id) > TAG_CHARS_MAX:
        raise InvalidInput(f"a transaction's id has at most {TAG_CHARS_MAX} characters", field="transaction_id")
    step_id = StepId(ask.path["step_id"])
    return show_step(
        await house.past.note(step_id, lambda note: msgspec.structs.replace(note, transaction_id=transaction_id))
    )


def _is_wanted(step: Step, query: ListSteps, from_us: int | None, to_us: int | None) -> bool:
    record, note = step.record, step.note
    if from_us is not None and record.begun_at_us < from_us:
        return False
    if to_us is not None and record.begun_at_us > to_us:
        return False
    if query.model is not None and (record.info is None or query.model not in (record.info.model, record.info.handle)):
        return False
    if query.feedback is not None and note.feedback != query.feedback:
        return False
    if query.has_feedback is not None and (note.feedback is not None) != query.has_feedback:
        return False
    return not query.tags or any(tag in note.tags for tag in query.tags)


ROUTES = (
    Route(
        method="GET",
        path="/v1/steps/",
        name="list_steps",
        summary="List steps",
        tag="steps",
        handler=list_steps,
        query=ListSteps,
        answer=list[StepOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/steps/{step_id}",
        name="retrieve_step",
        summary="Read a step",
        tag="steps",
        handler=retrieve_step,
        answer=StepOut,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/steps/{step_id}/metrics",
        name="retrieve_metrics_for_step",
        summary="What a step took",
        tag="steps",
        handler=retrieve_step_metrics,
        answer=StepMetricsOut,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/steps/{step_id}/trace",
        name="retrieve_trace_for_step",
        summary="What was sent to the model and what came back",
        tag="steps",
        handler=retrieve_step_trace,
        answer=ProviderTraceOut | None,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/telemetry/{step_id}",
        name="retrieve_provider_trace",
        summary="As /v1/steps/{step_id}/trace",
        tag="telemetry",
        handler=retrieve_step_trace,
        answer=ProviderTraceOut | None,
        refusals=(404,),
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/steps/{step_id}/messages",
        name="list_messages_for_step",
        summary="List the messages of a step",
        tag="steps",
        handler=list_step_messages,
        query=ListRunMessages,
        answer=list[ShownMessage],
        shapes=MESSAGE_SHAPES,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/steps/{step_id}/feedback",
        name="modify_feedback_for_step",
        summary="Say whether a step was good",
        tag="steps",
        handler=modify_step_feedback,
        body=FeedbackIn,
        answer=StepOut,
        refusals=(404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/steps/{step_id}/transaction/{transaction_id}",
        name="update_step_transaction_id",
        summary="Say which transaction a step belongs to",
        tag="steps",
        handler=modify_step_transaction,
        answer=StepOut,
        refusals=(400, 404, 409),
    ),
)
