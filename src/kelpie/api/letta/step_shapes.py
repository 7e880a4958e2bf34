"""Steps as the wire shows them: the record, its measures, and the trace of its model call."""

from typing import Any, Literal

from msgspec import Raw, Struct

from kelpie.agent.past import Step
from kelpie.agent.tracing import Trace
from kelpie.api.letta.run_shapes import NS_PER_US, CompletionDetails, PromptDetails, show_prompt_details
from kelpie.api.letta.values import ORGANIZATION_ID, USER_ID, micros_date

Feedback = Literal["positive", "negative"]


class StepOut(Struct, frozen=True, kw_only=True):
    """A step as the wire shows it."""

    id: str
    origin: str | None = None
    organization_id: str = ORGANIZATION_ID
    provider_id: str | None = None
    run_id: str
    agent_id: str
    provider_name: str | None
    provider_category: str | None
    model: str | None
    model_handle: str | None
    model_endpoint: str | None
    context_window_limit: int | None
    completion_tokens: int | None
    prompt_tokens: int | None
    total_tokens: int | None
    cached_input_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    completion_tokens_details: CompletionDetails | None
    prompt_tokens_details: PromptDetails | None
    stop_reason: str | None
    tags: tuple[str, ...]
    tid: str | None
    trace_id: str | None = None
    request_id: str | None = None
    messages: list[dict[str, Any]] = []
    feedback: Feedback | None
    project_id: str | None = None
    error_type: str | None
    error_data: dict[str, Any] | None
    status: str


class StepMetricsOut(Struct, frozen=True, kw_only=True):
    """What a step took, in nanoseconds."""

    id: str
    organization_id: str = ORGANIZATION_ID
    provider_id: str | None = None
    run_id: str
    agent_id: str
    step_start_ns: int
    llm_request_start_ns: int | None
    llm_request_ns: int | None
    tool_execution_ns: int | None
    step_ns: int | None
    base_template_id: str | None = None
    template_id: str | None = None
    project_id: str | None = None


class ProviderTraceOut(Struct, frozen=True, kw_only=True):
    """What was sent to the model and what came back."""

    created_by_id: str = USER_ID
    last_updated_by_id: str = USER_ID
    created_at: str
    updated_at: str
    id: str
    request_json: Raw
    response_json: Raw
    step_id: str
    agent_id: str
    agent_tags: list[str] | None = None
    call_type: str = "agent_step"
    run_id: str
    source: str | None = None
    org_id: str = ORGANIZATION_ID
    user_id: str = USER_ID
    compaction_settings: dict[str, Any] | None = None
    llm_config: dict[str, Any] | None = None
    billing_context: dict[str, Any] | None = None


def show_step(step: Step) -> StepOut:
    """A step as the wire shows it."""
    record, info, usage, error = step.record, step.record.info, step.record.usage, step.record.error
    answered = record.finish is not None
    return StepOut(
        id=record.id,
        run_id=record.run_id,
        agent_id=record.agent_id,
        provider_name=None if info is None else info.provider,
        provider_category=None if info is None else "byok" if info.stored else "base",
        model=None if info is None else info.model,
        model_handle=None if info is None else info.handle,
        model_endpoint=None if info is None else info.endpoint,
        context_window_limit=record.context_tokens or None,
        completion_tokens=usage.output_tokens if answered else None,
        prompt_tokens=usage.input_tokens if answered else None,
        total_tokens=usage.input_tokens + usage.output_tokens if answered else None,
        cached_input_tokens=usage.cached_tokens or None,
        cache_write_tokens=usage.cache_written_tokens or None,
        reasoning_tokens=usage.reasoning_tokens or None,
        completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning_tokens) if answered else None,
        prompt_tokens_details=show_prompt_details(usage) if answered else None,
        stop_reason=record.stop_reason,
        tags=step.note.tags,
        tid=step.note.transaction_id,
        feedback=step.note.feedback,
        error_type=None if error is None else error.code,
        error_data=None if error is None else {"message": error.sentence},
        status=record.status,
    )


def show_step_metrics(step: Step) -> StepMetricsOut:
    """What a step took. The model's call is the first that it does."""
    record = step.record
    start_ns = record.begun_at_us * NS_PER_US
    return StepMetricsOut(
        id=record.id,
        run_id=record.run_id,
        agent_id=record.agent_id,
        step_start_ns=start_ns,
        llm_request_start_ns=None if record.asked_ns is None else start_ns,
        llm_request_ns=record.asked_ns,
        tool_execution_ns=record.tools_ns,
        step_ns=record.step_ns,
    )


def show_trace(step: Step, trace: Trace) -> ProviderTraceOut:
    """The trace of a step's model call."""
    record = step.record
    answered_at = micros_date(record.begun_at_us + (record.asked_ns or 0) // NS_PER_US)
    return ProviderTraceOut(
        created_at=answered_at,
        updated_at=answered_at,
        id=f"provider_trace-{record.id.removeprefix('step-')}",
        request_json=trace.request,
        response_json=trace.reply,
        step_id=record.id,
        agent_id=record.agent_id,
        run_id=record.run_id,
    )
