"""Runs as the wire shows them: the record, its cost, its measures, and its spans."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from kelpie.agent.past import Step
from kelpie.agent.state import Run
from kelpie.api.letta.message_requests import read_shown_as
from kelpie.api.letta.values import ORGANIZATION_ID, micros_date, optional_date
from kelpie.llm.messages import Usage

NS_PER_US = 1_000
StopReasonName = Literal[
    "end_turn", "error", "llm_api_error", "invalid_llm_response", "invalid_tool_call", "max_steps",
    "max_tokens_exceeded", "no_tool_call", "tool_rule", "cancelled", "insufficient_credits", "requires_approval",
    "context_window_overflow_in_system_prompt",
]  # fmt: skip


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


class RunMetricsOut(Struct, frozen=True, kw_only=True):
    """What a run took, in nanoseconds."""

    id: str
    organization_id: str = ORGANIZATION_ID
    agent_id: str
    project_id: str | None = None
    run_start_ns: int
    run_ns: int | None
    num_steps: int
    tools_used: list[str] | None
    template_id: str | None = None
    base_template_id: str | None = None


def duration_ns(run: Run) -> int | None:
    """How long the run took, from its acceptance; None while it has not ended."""
    return None if run.completed_at_us is None else max(0, run.completed_at_us - run.created_at_us) * NS_PER_US


def show_run(run: Run) -> RunOut:
    """A run as the wire shows it."""
    first_us = run.first_token_at_us
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
        request_config=_show_config(run),
        stop_reason=run.stop_reason,
        ttft_ns=None if first_us is None else max(0, first_us - run.created_at_us) * NS_PER_US,
        total_duration_ns=duration_ns(run),
    )


def _show_config(run: Run) -> RequestConfigOut:
    """How the run's messages were to be shown."""
    asked = read_shown_as(run.options)
    return RequestConfigOut(
        use_assistant_message=asked.use_assistant_message,
        assistant_message_tool_name=asked.assistant_message_tool_name,
        assistant_message_tool_kwarg=asked.assistant_message_tool_kwarg,
        include_return_message_types=asked.include_return_message_types,
    )


def show_prompt_details(usage: Usage) -> PromptDetails:
    """Of what the prompt's tokens were."""
    return PromptDetails(
        cached_tokens=usage.cached_tokens,
        cache_read_tokens=usage.cached_tokens,
        cache_creation_tokens=usage.cache_written_tokens,
    )


def show_run_usage(usage: Usage) -> RunUsageOut:
    """What a run cost."""
    return RunUsageOut(
        completion_tokens=usage.output_tokens,
        prompt_tokens=usage.input_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=show_prompt_details(usage),
        completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
    )


def show_run_metrics(run: Run, steps: Sequence[Step], tool_ids: Mapping[str, str]) -> RunMetricsOut:
    """What a run took; tools that are there no more go by their names."""
    called = dict.fromkeys(name for step in steps for name in step.record.called)
    return RunMetricsOut(
        id=run.id,
        agent_id=run.agent_id,
        run_start_ns=run.created_at_us * NS_PER_US,
        run_ns=duration_ns(run),
        num_steps=len(steps),
        tools_used=[tool_ids.get(name, name) for name in called] or None,
    )


def show_spans(run: Run, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What happened when, as spans: the run, its steps, and within each its first token and its tools."""
    root = _span(run, run.id, None, "root", run.created_at_us * NS_PER_US, duration_ns(run), run.status)
    root["attributes"] = {"agent_id": run.agent_id, "stop_reason": run.stop_reason}
    return [root, *[span for step in steps for span in _step_spans(run, step)]]


def _step_spans(run: Run, step: Step) -> list[dict[str, Any]]:
    record = step.record
    start_ns = record.begun_at_us * NS_PER_US
    whole = _span(run, record.id, run.id, "agent_step", start_ns, record.step_ns, record.status)
    whole["attributes"] = {
        "step_id": record.id,
        "model": None if record.info is None else record.info.handle,
        "prompt_tokens": record.usage.input_tokens,
        "completion_tokens": record.usage.output_tokens,
        "stop_reason": record.stop_reason,
    }
    spans = [whole]
    if record.first_ns is not None:
        first = f"{record.id}-first"
        spans.append(_span(run, first, record.id, "time_to_first_token", start_ns, record.first_ns, record.status))
    if record.called:
        begun_ns = start_ns + (record.asked_ns or 0)
        tools = f"{record.id}-tools"
        spans.append(_span(run, tools, record.id, "tool_execution", begun_ns, record.tools_ns, record.status))
        spans[-1]["attributes"] = {"tools": list(record.called)}
    return spans


def _span(
    run: Run, id: str, parent: str | None, name: str, start_ns: int, took_ns: int | None, status: str
) -> dict[str, Any]:
    return {
        "trace_id": run.id.removeprefix("run-").replace("-", ""),
        "span_id": id,
        "parent_span_id": parent,
        "span_name": name,
        "start_time_ns": start_ns,
        "duration_ns": took_ns,
        "status": status,
    }
