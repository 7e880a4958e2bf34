"""Runs with their steps: what an agent has done, as it is listed and counted. After agents and conversations."""

from typing import Any, get_args

import msgspec

from kelpie.agent.state import (
    AGENT_RUNS,
    AGENTS,
    CONVERSATION_RUNS,
    CONVERSATIONS,
    RUNS,
    RUNS_BY_TIME,
    Run,
    RunError,
    RunIndex,
    RunOptions,
    RunStatus,
)
from kelpie.agent.steps import STEP_NOTES, STEPS, StepNote, StepRecord, StepStatus
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.ids import AgentId, ConversationId, RunId, StepId
from kelpie.importing.journal import digest
from kelpie.importing.letta.agents import Agents, read_stop
from kelpie.importing.letta.ground import Ground, checked_id
from kelpie.importing.letta.kinds import sum_of
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.llm.messages import Usage
from kelpie.llm.model import ModelInfo
from kelpie.storage.records import Batch

ENDED: tuple[str, ...] = ("completed", "failed", "cancelled")
STEP_STATUSES: tuple[str, ...] = get_args(StepStatus)
LOST = RunError(code="run_stalled", sentence="the server that it ran on ended before it did")
NO_USAGE = Usage()


class Runs:
    """Runs and steps keep their ids. One that never ended there has failed: nobody goes on with it."""

    name, table = "runs", "runs"

    def __init__(self, ground: Ground, agents: Agents) -> None:
        self._ground = ground
        self._agents = agents

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A run with its steps."""
        records, id = self._ground.house.records, RunId(checked_id("run", row))
        if await records.get(RUNS.at(id)) is not None:
            return Present()
        agent_id = AgentId(row["agent_id"])
        if agent_id not in self._agents.coming and await records.get(AGENTS.at(agent_id)) is None:
            return Staying(reason="its agent did not come along")
        steps = await self._steps(row, agent_id)
        run = read_run(row, id, agent_id, steps)
        index = RunIndex(id=id, created_at_us=run.created_at_us)
        batch.check_absent(RUNS.at(id))
        batch.put(RUNS.at(id), run)
        batch.put(RUNS_BY_TIME.at(run.created_at_us, id), index)
        batch.put(AGENT_RUNS.at(agent_id, run.created_at_us, id), index)
        conversation_id = run.conversation_id
        if conversation_id is not None and await records.get(CONVERSATIONS.at(conversation_id)) is not None:
            batch.put(CONVERSATION_RUNS.at(conversation_id, run.created_at_us, id), index)
        total = digest(RUNS.at(id), run)
        for step, note in steps:
            batch.put_new(STEPS.at(step.id), step)
            total += digest(STEPS.at(step.id), step)
            if note != StepNote():
                batch.put_new(STEP_NOTES.at(step.id), note)
        also(batch, Carried(sum=total, parts={"steps": len(steps)}))
        return DONE

    async def stored(self, id: str) -> int:
        """The run and its steps as they are stored."""
        run = await self._ground.house.records.get(RUNS.at(id))
        step_ids = () if run is None else run.value.step_ids
        return await sum_of(self._ground, RUNS.at(id)) + await sum_of(self._ground, *map(STEPS.at, step_ids))

    async def _steps(self, row: Row, agent_id: AgentId) -> list[tuple[StepRecord, StepNote]]:
        rows = await self._ground.links("steps", "id", run_id=row["id"])
        rows.sort(key=lambda one: (read_time(one["created_at"]), one["id"]))
        metrics = {one["id"]: one for one in await self._ground.links("step_metrics", "id", run_id=row["id"])}
        return [
            (read_step(one, row, agent_id, number, metrics.get(one["id"], {})), read_note(one))
            for number, one in enumerate(rows, start=1)
        ]


def read_run(row: Row, id: RunId, agent_id: AgentId, steps: list[tuple[StepRecord, StepNote]]) -> Run:
    """A run that has ended."""
    usage = NO_USAGE
    for step, _ in steps:
        usage = usage.plus(step.usage)
    status: RunStatus = msgspec.convert(row["status"] if row["status"] in ENDED else "failed", RunStatus)
    lost = row["status"] not in ENDED
    conversation_id = row.get("conversation_id")
    ended = row.get("completed_at") or row.get("updated_at") or row["created_at"]
    return Run(
        id=id,
        agent_id=agent_id,
        conversation_id=None if conversation_id is None else ConversationId(conversation_id),
        status=status,
        input=(),
        options=RunOptions(background=bool(row.get("background"))),
        created_at_us=read_time(row["created_at"]),
        completed_at_us=read_time(ended),
        stop_reason="error" if lost else read_stop(row.get("stop_reason")),
        error=LOST if lost else None,
        usage=usage,
        steps=len(steps),
        step_ids=tuple(step.id for step, _ in steps),
    )


def read_step(row: Row, run: Row, agent_id: AgentId, number: int, metrics: dict[str, Any]) -> StepRecord:
    """A step. What it asked and was shown is not kept there in a form that could be shown again."""
    status = str(row.get("status") or "success").lower()
    status = "failed" if status == "pending" or status not in STEP_STATUSES else status
    failed = status == "failed"
    conversation_id = run.get("conversation_id")
    return StepRecord(
        id=StepId(row["id"]),
        run_id=RunId(run["id"]),
        agent_id=agent_id,
        conversation_id=None if conversation_id is None else ConversationId(conversation_id),
        number=number,
        begun_at_us=read_time(row["created_at"]),
        status=msgspec.convert(status, StepStatus),
        info=_info(row),
        finish=None if failed else "tool_calls" if row.get("stop_reason") is None else "stop",
        usage=Usage(
            input_tokens=row.get("prompt_tokens") or 0,
            output_tokens=row.get("completion_tokens") or 0,
            cached_tokens=row.get("cached_input_tokens") or 0,
            cache_written_tokens=row.get("cache_write_tokens") or 0,
            reasoning_tokens=row.get("reasoning_tokens") or 0,
        ),
        stop_reason=read_stop(row.get("stop_reason")),
        error=_error(row) if failed else None,
        asked_ns=metrics.get("llm_request_ns"),
        tools_ns=metrics.get("tool_execution_ns"),
        step_ns=metrics.get("step_ns"),
    )


def read_note(row: Row) -> StepNote:
    """What people said of a step."""
    feedback = row.get("feedback")
    return StepNote(
        feedback=feedback if feedback in ("positive", "negative") else None,
        tags=tuple(row.get("tags") or ()),
        transaction_id=row.get("tid"),
    )


def _info(row: Row) -> ModelInfo | None:
    model = row.get("model")
    if model is None:
        return None
    provider = row.get("provider_name") or "unknown"
    return ModelInfo(
        handle=row.get("model_handle") or f"{provider}/{model}",
        provider=provider,
        provider_kind="anthropic" if provider == "anthropic" else "openai",
        model=model,
        endpoint=row.get("model_endpoint") or "",
        context_tokens=row.get("context_window_limit") or 0,
        output_tokens_max=0,
    )


def _error(row: Row) -> RunError:
    data = row.get("error_data")
    said = data.get("message") if isinstance(data, dict) else None
    return LOST if said is None else RunError(code="model_unavailable", sentence=str(said)[:1_000])
