"""Every bound of `kelpie.limits` that can be seen from the store holds at every commit (invariant 10)."""

from kelpie.agent.state import STATES
from kelpie.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_OPERATIONS_MAX,
    KEY_BYTES_MAX,
    TOOL_CALLS_PER_STEP_MAX,
    TURNS_QUEUED_MAX,
    VALUE_BYTES_MAX,
    WINDOW_MESSAGES_MAX,
)
from kelpie.memory.blocks import BLOCKS
from kelpie.storage.store import Put
from kelpie_sim.checkers.rows import put_records, touched
from kelpie_sim.store import Applied, SimStoreServer
from kelpie_sim.watch import Watch

NAME = "limits_hold"
_WINDOW_SLACK = 8  # what one step may add before the window is looked at again


class LimitsHold:
    """Shown every applied commit."""

    def __init__(self, server: SimStoreServer, watch: Watch) -> None:
        self._watch = watch
        server.observers.append(self._observe)

    def _observe(self, applied: Applied) -> None:
        sizes = [len(write.value) for write in applied.writes if isinstance(write, Put)]
        keys = [len(check.key) for check in applied.checks] + [len(touched(write)) for write in applied.writes]
        self._at_most(applied, "VALUE_BYTES_MAX", max(sizes, default=0), VALUE_BYTES_MAX)
        self._at_most(applied, "KEY_BYTES_MAX", max(keys), KEY_BYTES_MAX)
        self._at_most(applied, "COMMIT_BYTES_MAX", sum(sizes) + sum(keys), COMMIT_BYTES_MAX)
        self._at_most(applied, "COMMIT_OPERATIONS_MAX", len(keys), COMMIT_OPERATIONS_MAX)
        for state in put_records(applied.writes, STATES).values():
            calls = 0 if state.turn is None else len(state.turn.calls)
            self._at_most(applied, "TURNS_QUEUED_MAX", len(state.queue), TURNS_QUEUED_MAX)
            self._at_most(applied, "WINDOW_MESSAGES_MAX", len(state.window), WINDOW_MESSAGES_MAX + _WINDOW_SLACK)
            self._at_most(applied, "TOOL_CALLS_PER_STEP_MAX", calls, TOOL_CALLS_PER_STEP_MAX * 2)
            if state.turn is not None:
                self._at_most(applied, "a turn's steps", state.turn.step, state.turn.steps_max)
        for block in put_records(applied.writes, BLOCKS).values():
            bound = max(block.limit_chars, 0)
            if not block.read_only and len(block.value) > bound and block.value.rpartition("\n")[2].startswith("mark-"):
                self._watch.blame(NAME, f"a tool left {len(block.value)} characters in {block.id}, over {bound}")

    def _at_most(self, applied: Applied, limit: str, value: int, maximum: int) -> None:
        if value > maximum:
            self._watch.blame(NAME, f"{limit}: {value} in a commit of {applied.host}, at most {maximum}", applied.at_ms)
