"""A schedule trusts the reminder that wakes it, and does not look at the calendar."""

import msgspec
from msgspec import Struct

from kelpie.actor.recovery import Done, Remind, begin_work, take_reminder
from kelpie.agent.schedules import DUE, Schedule, ScheduleErrand
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced

answer = ScheduleErrand.answer


async def begin_at_once(
    self: ScheduleErrand, state: Schedule, body: Struct, batch: Batch
) -> tuple[Schedule | None, Struct]:
    """As ScheduleErrand.answer, but what wakes it says that it is time."""
    if not isinstance(body, Remind) or body.name != DUE or state.due_ms is None:
        return await answer(self, state, body, batch)
    if await take_reminder(self._records, batch, self._tenure.address, body):
        begin_work(batch, self._tenure.address)
        return msgspec.structs.replace(state, sending_ms=state.due_ms, due_ms=None), Done()
    return state, Done()


CANARY = Canary(
    name="early_bird",
    breaks="nothing is sent before it is due",
    workload="schedules",
    checkers=("schedules",),
    plants=(replaced(ScheduleErrand, "answer", begin_at_once),),
)
