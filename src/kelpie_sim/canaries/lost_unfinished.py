"""The row that brings an agent back after a crash is not written: a turn whose owner dies is never taken up again."""

from kelpie.actor.call import ActorAddress
from kelpie.agent import journal
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced


def begin_unnoticed(batch: Batch, address: ActorAddress) -> None:
    """Nobody is told that work has begun."""


CANARY = Canary(
    name="lost_unfinished",
    breaks="what was accepted is finished after a crash",
    workload="conversations",
    checkers=("liveness",),
    plants=(replaced(journal, "begin_work", begin_unnoticed),),
)
