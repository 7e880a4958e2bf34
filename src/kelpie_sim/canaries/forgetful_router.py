"""A call that was lost in the middle is made again, and what the last attempt says is taken for the whole truth."""

import asyncio

from msgspec import Struct

from kelpie.actor.call import Call
from kelpie.actor.router import Router
from kelpie.errors import ActivationLost, Conflict, StoreDown
from kelpie.limits import CALL_ATTEMPT_MS, CALL_ATTEMPTS_MAX
from kelpie_sim.canaries.plant import Canary, replaced
from kelpie_sim.faults import Fault, FaultKind, FaultPlan


async def attempt_afresh(self: Router, call: Call) -> Struct:
    """As Router._attempts, without a memory."""
    for attempt in range(CALL_ATTEMPTS_MAX - 1):
        try:
            return await self._host.deliver(call)
        except (ActivationLost, Conflict, StoreDown):
            await asyncio.sleep(CALL_ATTEMPT_MS * 2**attempt / 1000)
    return await self._host.deliver(call)


CANARY = Canary(
    name="forgetful_router",
    breaks="nothing happened means that nothing happened",
    workload="hurried",
    checkers=("no_lost_turn",),
    plants=(replaced(Router, "_attempts", attempt_afresh),),
    plan=FaultPlan(
        faults=(
            Fault(kind=FaultKind.STORE_DOWN, percent=25),
            Fault(kind=FaultKind.STORE_UNKNOWN, percent=25),
            Fault(kind=FaultKind.STORE_CRASH, every_ms=5_000, ms_max=20_000),
            Fault(kind=FaultKind.STORE_CUT, every_ms=4_000, ms_max=30_000),
        )
    ),
)
