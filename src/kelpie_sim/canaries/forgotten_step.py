"""A step whose tools have returned is not noted as ended."""

from kelpie.agent import steps
from kelpie.agent.state import RunError, StopReason
from kelpie.agent.steps import StepRecord
from kelpie_sim.canaries.plant import Canary, replaced

ended = steps.ended


def leave_open(record: StepRecord, now_us: int, stop_reason: StopReason | None, error: RunError | None) -> StepRecord:
    """Only the last step of a turn ends."""
    return record if stop_reason is None else ended(record, now_us, stop_reason, error)


CANARY = Canary(
    name="forgotten_step",
    breaks="the records of steps are what happened",
    workload="conversations",
    checkers=("steps",),
    plants=(replaced(steps, "ended", leave_open),),
)
