"""The records of steps are what happened: their runs, messages, tools and costs, and the texts that were shown."""

import hashlib

from kelpie.agent.state import RUNS, STATES, Run
from kelpie.agent.steps import SHOWN, STEP_NOTES, STEPS, StepRecord
from kelpie.ids import StepId
from kelpie.llm.messages import ToolCallPart, Usage
from kelpie.memory.history import MESSAGE_PLACES, MESSAGES, StoredMessage
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.watch import Watch

NAME = "steps"


def check_steps(rows: Rows, watch: Watch) -> None:
    """Every record against its run and its messages, when all agents are idle."""
    steps = {record.id: record for record in rows.space(STEPS).values()}
    copied = {parts for parts, place in rows.space(MESSAGE_PLACES).items() if place.copied}  # by a fork
    messages = [each for each in rows.space(MESSAGES).values() if (each.id, each.thread_id) not in copied]
    replies: dict[tuple[str, str], list[StoredMessage]] = {}
    summarised = {message.run_id for message in messages if message.kind == "summary"}
    for message in messages:
        if message.kind == "assistant" and message.step_id is not None:
            replies.setdefault((message.thread_id, message.step_id), []).append(message)
    left = dict(steps)
    for run in rows.space(RUNS).values():
        records = [left.pop(step_id) for step_id in run.step_ids if step_id in left]
        _check_run(run, records, run.id in summarised, watch)
    watch.expect(not left, NAME, f"steps of runs that are gone: {sorted(left)}")
    for record in steps.values():
        _check_reply(record, replies.get((record.thread_id, record.id), []), watch)
    for thread_id, step_id in sorted(replies):
        watch.expect(
            StepId(step_id) in steps, NAME, f"{thread_id} has a reply of {step_id}, of which there is no record"
        )
    notes = {step_id for (step_id,) in rows.space(STEP_NOTES)} - set(steps)
    watch.expect(not notes, NAME, f"notes of steps that are gone: {sorted(notes)}")
    _check_shown(rows, steps, watch)


def _check_run(run: Run, records: list[StepRecord], summarised: bool, watch: Watch) -> None:
    """Each step of the run has its record, in order, ended; and they cost what the run did."""
    numbers = [(record.id, record.number, record.run_id, record.thread_id) for record in records]
    expected = [(step_id, at, run.id, run.thread_id) for at, step_id in enumerate(run.step_ids, start=1)]
    watch.expect(numbers == expected, NAME, f"{run.id} has the steps {numbers}, not {expected}")
    reasons = [record.stop_reason for record in records]
    ends = [*[None for _ in records[:-1]], *([run.stop_reason] if records else [])]
    watch.expect(reasons == ends, NAME, f"the steps of {run.id} ended with {reasons}, not {ends}")
    open_ones = [record.id for record in records if record.status == "pending"]
    watch.expect(not open_ones, NAME, f"{run.id} has ended, its steps {open_ones} have not")
    usage = Usage()
    for record in records:
        usage = usage.plus(record.usage)
    watch.expect(summarised or usage == run.usage, NAME, f"{run.id} cost {run.usage}, its steps {usage}")


def _check_reply(record: StepRecord, replies: list[StoredMessage], watch: Watch) -> None:
    """The reply that it names is the one that there is, and calls the tools that it names."""
    told = [reply.seq for reply in replies]
    kept = [] if record.reply_seq is None else [record.reply_seq]
    watch.expect(told == kept, NAME, f"{record.id} has replies at {told}, its record says {kept}")
    called = {part.name for reply in replies for part in reply.parts if isinstance(part, ToolCallPart)}
    watch.expect(called == set(record.called), NAME, f"{record.id} called {called}, its record says {record.called}")


def _check_shown(rows: Rows, steps: dict[StepId, StepRecord], watch: Watch) -> None:
    """Each text is under its own hash, no record names one that is not kept, and none outlives its agent."""
    kept = rows.space(SHOWN)
    for (agent_id, hash), shown in kept.items():
        found = hashlib.blake2b(shown.text.encode(), digest_size=16).hexdigest()
        watch.expect(found == hash, NAME, f"the text {hash} of {agent_id} is another one")
    wanted = {
        (record.agent_id, hash)
        for record in steps.values()
        if record.shown is not None
        for hash in (record.shown.system, record.shown.tools)
    }
    watch.expect(wanted <= set(kept), NAME, f"texts that steps were shown are gone: {sorted(wanted - set(kept))}")
    agents = {state.thread.agent_id for state in rows.space(STATES).values()}
    orphans = sorted({agent_id for agent_id, _ in kept} - agents)
    watch.expect(not orphans, NAME, f"texts of agents that are gone: {orphans}")
