"""A node that has lost an agent refuses what it is asked by what it still remembers of it."""

from collections.abc import Awaitable

from msgspec import Struct

from kelpie.agent.owner import ThreadOwner
from kelpie_sim.canaries.plant import Canary, replaced
from kelpie_sim.faults import Fault, FaultKind, FaultPlan


async def as_anybody(self: ThreadOwner, answering: Awaitable[Struct]) -> Struct:
    """As ThreadOwner._as_owner, without a look at the lease."""
    return await answering


CANARY = Canary(
    name="deposed_owner",
    breaks="only the owner speaks for an agent, also when it refuses",
    workload="approvals",
    checkers=("verdicts",),
    plants=(replaced(ThreadOwner, "_as_owner", as_anybody),),
    plan=FaultPlan(faults=(Fault(kind=FaultKind.STORE_CUT, every_ms=4_000, ms_max=20_000),)),
)
