"""A reminder that an actor was called for twice, since it was slow, is served twice."""

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import Remind, disarm
from kelpie.agent import group_talk
from kelpie.storage.records import Batch, Records
from kelpie_sim.canaries.plant import Canary, replaced
from kelpie_sim.faults import Fault, FaultKind, FaultPlan


async def take_blindly(records: Records, batch: Batch, address: ActorAddress, remind: Remind) -> bool:
    """As recovery.take_reminder, without a look at whether it stands."""
    disarm(batch, address, remind.name, remind.due_ms)
    return True


CANARY = Canary(
    name="served_twice",
    breaks="each turn of who is watched is counted once",
    workload="groups",
    checkers=("talks",),
    plants=(replaced(group_talk, "take_reminder", take_blindly),),
    plan=FaultPlan(faults=(Fault(kind=FaultKind.STORE_SLOW, percent=50, ms_max=4_000),)),
)
