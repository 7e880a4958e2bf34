"""Keys are forgotten an hour after they were seen, instead of a day."""

from kelpie.agent import inbox
from kelpie_sim.canaries.plant import Canary, replaced

CANARY = Canary(
    name="early_sweep",
    breaks="a repeat within a day gets the first answer",
    workload="reminders",
    checkers=("reminders", "no_lost_turn"),
    plants=(replaced(inbox, "INBOX_KEPT_MS", 3_600_000),),
)
