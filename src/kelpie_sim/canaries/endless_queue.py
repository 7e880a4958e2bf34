"""An agent takes messages without end, however many wait already."""

from kelpie.agent import admission
from kelpie_sim.canaries.plant import Canary, replaced

CANARY = Canary(
    name="endless_queue",
    breaks="every queue is bounded, and full is an answer",
    workload="crowd",
    checkers=("limits_hold",),
    plants=(replaced(admission, "TURNS_QUEUED_MAX", 10**6),),
)
