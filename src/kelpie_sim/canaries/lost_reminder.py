"""A reminder is noted in the agent's state and armed nowhere: it never fires."""

from kelpie.actor.call import ActorAddress
from kelpie.agent import inbox
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced


def arm_nothing(batch: Batch, address: ActorAddress, name: str, due_ms: int) -> None:
    """Nobody will be called."""


CANARY = Canary(
    name="lost_reminder",
    breaks="an alarm fires at least once",
    workload="reminders",
    checkers=("reminders",),
    plants=(replaced(inbox, "arm", arm_nothing),),
)
