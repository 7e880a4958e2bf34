"""Whether an agent may take a run: what is accepted here can always be begun, and can always be ended. Pure."""

import msgspec

from kelpie.agent.state import AgentState, Run, RunError
from kelpie.errors import Busy, LimitExceeded
from kelpie.limits import RETRY_AFTER_MS, RUN_INPUT_BYTES_MAX, TURNS_QUEUED_MAX, WINDOW_ENTRIES_MAX

_ENCODER = msgspec.json.Encoder()
NO_ROOM = RunError(
    code="limit_exceeded",
    sentence=(
        f"the conversation would have more than {WINDOW_ENTRIES_MAX} messages that could not be summarised;"
        " reset the agent's messages, or see to it that its model can be reached"
    ),
)


def check_run(state: AgentState, run: Run) -> None:
    """Raises Busy when too many runs wait, LimitExceeded when the run can never be begun."""
    assert run.input, "a run has input"
    assert not state.deleting
    if len(state.queue) >= TURNS_QUEUED_MAX:
        raise Busy(
            f"{TURNS_QUEUED_MAX} messages wait for '{state.id}' already; it is busy with another active run",
            limit="TURNS_QUEUED_MAX",
            maximum=TURNS_QUEUED_MAX,
            retry_after_ms=RETRY_AFTER_MS,
        )
    size = len(_ENCODER.encode(run.input)) + len(_ENCODER.encode(run.options)) - len(b"{}")
    if size > RUN_INPUT_BYTES_MAX:
        raise LimitExceeded(
            f"the messages, and what is said beside them, have {size} bytes and may have {RUN_INPUT_BYTES_MAX}",
            limit="RUN_INPUT_BYTES_MAX",
            maximum=RUN_INPUT_BYTES_MAX,
        )
    if not has_room(state, run):
        raise LimitExceeded(NO_ROOM.sentence, limit="WINDOW_ENTRIES_MAX", maximum=WINDOW_ENTRIES_MAX)


def has_room(state: AgentState, run: Run) -> bool:
    """Whether the run's messages still go into the window, with what one step more may add."""
    assert run.thread_id == state.id
    return len(state.window) + len(run.input) < WINDOW_ENTRIES_MAX
