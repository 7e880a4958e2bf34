"""A node believes in its lease for ever, so it begins side effects when others may already own its agents."""

from kelpie.actor.host import Host
from kelpie_sim.canaries.plant import Canary, replaced
from kelpie_sim.faults import Fault, FaultKind, FaultPlan

CANARY = Canary(
    name="belief_forever",
    breaks="a node's belief in its lease ends before the stored lease does",
    workload="conversations",
    checkers=("lease",),
    plan=FaultPlan(
        faults=(Fault(kind=FaultKind.STORE_DOWN, percent=40),)  # renewals need three good answers in a row
    ),
    plants=(replaced(Host, "believes", property(lambda self: True)),),
)
