"""An errand stays where it is, although the agent that it needs is held by another node for as long as that lives."""

from typing import NoReturn

from kelpie.agent.errand import Errand
from kelpie.errors import ActivationLost
from kelpie_sim.canaries.plant import Canary, replaced


async def stay(self: Errand) -> NoReturn:
    """As Errand._let_go, but it remains this node's."""
    raise ActivationLost("begun anew, here")


CANARY = Canary(
    name="stubborn_errand",
    breaks="what was accepted is finished, wherever its agents are",
    workload="schedules",
    checkers=("liveness",),
    plants=(replaced(Errand, "_let_go", stay),),
)
