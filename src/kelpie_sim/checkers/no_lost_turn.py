"""Every accepted message is served once, in order, to its end (invariants 3, 5, 6 and 13), after everything healed."""

from collections import Counter

from kelpie.agent.state import RUNS, Run
from kelpie.llm.messages import ToolCallPart, ToolReturnPart
from kelpie.memory.history import MESSAGES, StoredMessage, searchable_text
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.ledger import Ledger, Sent
from kelpie_sim.tools import SimTools
from kelpie_sim.watch import Watch

NAME = "no_lost_turn"


def check_turns(rows: Rows, ledger: Ledger, tools: SimTools, watch: Watch) -> None:
    """All of it; agents that somebody tried to remove are left out where their rows are needed."""
    runs = {run_id: run for (run_id,), run in rows.space(RUNS).items()}
    histories: dict[str, list[StoredMessage]] = {}
    for message in rows.space(MESSAGES).values():
        histories.setdefault(message.thread_id, []).append(message)
    for sent in ledger.sent:
        _check_sent(sent, runs, histories.get(sent.thread_id, []), ledger, watch)
    _check_order(ledger, runs, histories, watch)
    for thread_id, history in histories.items():
        _check_steps(thread_id, history, watch)
    for execution in tools.repeated():
        watch.blame(NAME, f"{execution.tool} was run again under the key {execution.key}")


def _check_sent(sent: Sent, runs: dict[str, Run], history: list[StoredMessage], ledger: Ledger, watch: Watch) -> None:
    if len(sent.run_ids) > 1:
        watch.blame(NAME, f"the key {sent.key} was given the runs {sent.run_ids}")
    if sent.agent_id in ledger.doomed or sent.thread_id in ledger.doomed:
        return
    times = _times_said(sent, history)
    if sent.undone:
        watch.expect(times == 0, NAME, f"{sent.marker} was answered {sent.undone} and was accepted all the same")
    watch.expect(times <= 1, NAME, f"{sent.marker} stands {times} times in the history of {sent.thread_id}")
    if sent.acked_s is None:
        return
    run = runs.get(sent.run_ids[0])
    if run is None:
        watch.blame(NAME, f"{sent.marker} was accepted as {sent.run_ids[0]}, of which there is no record")
        return
    watch.expect(run.completed_at_us is not None, NAME, f"{run.id} of {sent.marker} is still {run.status}")
    cancelled = run.status == "cancelled"
    watch.expect(not cancelled or sent.cancel, NAME, f"{run.id} of {sent.marker} was cancelled by nobody")
    never_begun = cancelled and run.steps == 0
    if times != (0 if never_begun else 1):
        watch.blame(NAME, f"{sent.marker} was accepted as {run.id} ({run.status}) and is {times} times in the history")


def _times_said(sent: Sent, history: list[StoredMessage]) -> int:
    return sum(message.kind == "user" and _marker_in(message) == sent.marker for message in history)


def _marker_in(message: StoredMessage) -> str:
    return searchable_text(message).split(" ", 1)[0]


def _check_order(ledger: Ledger, runs: dict[str, Run], histories: dict[str, list[StoredMessage]], watch: Watch) -> None:
    """Of one client to one thread: what was accepted before the next was sent stands before it."""
    seqs: dict[str, int] = {}
    for history in histories.values():
        for message in history:
            run = runs.get(message.run_id or "")
            if message.kind == "user" and (run is None or run.thread_id == message.thread_id):  # else it is a copy
                seqs.setdefault(_marker_in(message), message.seq)
    last: dict[tuple[str, str], Sent] = {}
    for sent in ledger.sent:
        before = last.get((sent.client, sent.thread_id))
        if sent.marker not in seqs:
            continue
        if before is not None and before.acked_s is not None and before.acked_s < sent.begun_s:
            after = seqs[before.marker] < seqs[sent.marker]
            watch.expect(after, NAME, f"{before.marker} was accepted before {sent.marker} and served after it")
        last[sent.client, sent.thread_id] = sent


def _check_steps(thread_id: str, history: list[StoredMessage], watch: Watch) -> None:
    """One reply for each step, and one result for each of its calls, behind it; turns do not mingle."""
    replies = Counter(message.step_id for message in history if message.kind == "assistant")
    for step_id, count in replies.items():
        watch.expect(count == 1, NAME, f"{count} replies of {step_id} are in the history of {thread_id}")
    served = [message.run_id for message in history if message.run_id is not None]
    turns = [run_id for at, run_id in enumerate(served) if at == 0 or served[at - 1] != run_id]
    for run_id, count in Counter(turns).items():
        watch.expect(count == 1, NAME, f"the messages of {run_id} are mingled with those of other runs of {thread_id}")
    open_calls: list[str] = []
    for message in history:
        if message.kind in ("summary", "approval"):
            continue
        returned = [part.call_id for part in message.parts if isinstance(part, ToolReturnPart)]
        if sorted(returned) != sorted(open_calls):
            watch.blame(NAME, f"{thread_id} message {message.seq}: calls {open_calls}, results {returned}")
        open_calls = [part.call_id for part in message.parts if isinstance(part, ToolCallPart)]
    watch.expect(not open_calls, NAME, f"{thread_id}: the calls {open_calls} have no result")
