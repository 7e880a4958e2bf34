"""Who cancels a schedule is told that it is gone while its message is still on its way to the agent."""

from msgspec import Struct

from kelpie.actor.recovery import Done
from kelpie.agent.schedules import Schedule, ScheduleErrand, Unschedule
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced
from kelpie_sim.faults import Fault, FaultKind, FaultPlan

answer = ScheduleErrand.answer


async def forget_at_once(
    self: ScheduleErrand, state: Schedule, body: Struct, batch: Batch
) -> tuple[Schedule | None, Struct]:
    """As ScheduleErrand.answer, whatever is under way."""
    if not isinstance(body, Unschedule):
        return await answer(self, state, body, batch)
    self._links.remove(batch, state.agent_id, state.id)
    return None, Done()


CANARY = Canary(
    name="hasty_cancel",
    breaks="nothing is sent after an acknowledged cancellation",
    workload="schedules",
    checkers=("schedules",),
    plants=(replaced(ScheduleErrand, "answer", forget_at_once),),
    plan=FaultPlan(faults=(Fault(kind=FaultKind.STORE_SLOW, percent=50, ms_max=2_000),)),
)
