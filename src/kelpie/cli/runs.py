"""`kelpie runs`: what agents did, in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kelpie.cli.client import Client
from kelpie.cli.speech import plain
from kelpie.cli.wire import Event, RunAnswer, StepAnswer, StepTimes
from kelpie.errors import NotFound

LINE_CHARS_MAX = 400
STYLES = {"completed": "green", "success": "green", "failed": "red", "cancelled": "yellow"}
NS_PER_MS = 1_000_000


def show_runs(client: Client, agent: str | None, limit: int, console: Console) -> None:
    """A table of runs, newest first."""
    agent_id = None if agent is None else client.find_agent(agent).id
    found = client.list_runs(agent_id, limit=limit)
    if not found:
        console.print("There is no run yet; `kelpie chat` makes one.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("BEGUN", "RUN", "AGENT", "STATUS", "STEPS", "TOKENS IN", "OUT", "TOOK"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("STEPS", "OUT", "TOOK") else "left")
    for run in found:
        steps = client.list_steps(run.id)
        asked, answered = tokens(steps)
        begun = run.created_at[:19].replace("T", " ")
        counts = (str(len(steps)), str(asked), str(answered), duration(run.total_duration_ns))
        table.add_row(begun, run.id, run.agent_id, Text(ending(run), STYLES.get(run.status, "")), *counts)
    console.print(table)


def show_run(client: Client, run_id: str, console: Console) -> None:
    """One run, step by step: who was asked, what was said and called, what it took."""
    run = client.get_run(run_id)
    steps = client.list_steps(run_id)
    asked, answered = tokens(steps)
    took = duration(run.total_duration_ns)
    head = Text(f"{run.id} of {run.agent_id}: ").append(ending(run), STYLES.get(run.status, ""))
    console.print(head.append(f", {len(steps)} steps, {asked} tokens in, {answered} out, {took}"))
    for number, step in enumerate(steps, start=1):
        console.print(_step_line(number, step, _times(client, step)))
        for line in _said(client, step):
            console.print(Text(f"  {line}"))
    if run.metadata is not None and run.metadata.error is not None:
        console.print(Text(plain(run.metadata.error.message), "red"))


def tokens(steps: Sequence[StepAnswer]) -> tuple[int, int]:
    """What all steps together read and wrote."""
    return sum(step.prompt_tokens or 0 for step in steps), sum(step.completion_tokens or 0 for step in steps)


def ending(run: RunAnswer) -> str:
    """How it ended, where it is more than its status says."""
    if run.stop_reason in (None, "end_turn", run.status):
        return run.status
    return f"{run.status} ({run.stop_reason})"


def duration(ns: int | None) -> str:
    """A time for people."""
    if ns is None:
        return "-"
    return f"{ns // NS_PER_MS} ms" if ns < 10_000 * NS_PER_MS else f"{ns // (1_000 * NS_PER_MS)} s"


def line_of(event: Event) -> str:
    """One message on one line; what is left out of it is counted."""
    call = event.tool_call
    match event.message_type:
        case "tool_call_message" | "approval_request_message":
            text = "calls " + ("" if call is None else f"{call.name}({call.arguments})")
        case "tool_return_message":
            text = f"returned ({event.status}): {event.tool_return}"
        case "reasoning_message":
            text = f"thinks: {event.reasoning}"
        case "assistant_message":
            text = f"says: {event.text}"
        case "user_message":
            text = f"is told: {event.text}"
        case kind:
            text = f"{kind.removesuffix('_message')}: {event.text}"
    text = plain(" ".join(text.split()))
    kept = text[:LINE_CHARS_MAX]
    return kept if kept == text else f"{kept} … ({len(text) - len(kept)} characters more)"


def _step_line(number: int, step: StepAnswer, times: StepTimes) -> Text:
    line = Text(f"\nstep {number}  ", "bold").append(step.model_handle or "no model", "cyan")
    line.append(f"  {step.prompt_tokens or 0} in, {step.completion_tokens or 0} out")
    line.append(f"  model {duration(times.llm_request_ns)}")
    if times.tool_execution_ns is not None:
        line.append(f", tools {duration(times.tool_execution_ns)}")
    return line.append(f"  {step.status or ''}", STYLES.get(step.status or "", ""))


def _times(client: Client, step: StepAnswer) -> StepTimes:
    try:
        return client.measure_step(step.id)
    except NotFound:  # its model is being asked
        return StepTimes()


def _said(client: Client, step: StepAnswer) -> list[str]:
    try:
        return [line_of(event) for event in client.list_step_messages(step.id)]
    except NotFound:
        return ["(the model is being asked)"]
