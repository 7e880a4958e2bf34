"""Whoever waits for an answer is told that nothing happened when the store fails after the message was accepted."""

from kelpie.agent import door
from kelpie.errors import Unavailable
from kelpie.ids import RunId
from kelpie_sim.canaries.plant import Canary, replaced


async def bear_nothing(run_id: RunId, failures: int, error: Unavailable) -> None:
    """The first failure is the answer."""
    raise error


CANARY = Canary(
    name="impatient_reader",
    breaks="nothing happened means that nothing happened",
    workload="hurried",
    checkers=("no_lost_turn",),
    plants=(replaced(door, "_bear", bear_nothing),),
)
