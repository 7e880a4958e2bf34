"""A resumed turn makes every open call again, whether its tool allows that or not."""

from kelpie.agent.performer import Performer
from kelpie_sim.canaries.plant import Canary, replaced


async def always_repeatable(self: Performer, name: str) -> bool:
    """Every tool may be called again."""
    return True


CANARY = Canary(
    name="double_tool",
    breaks="a side effect is repeated only if its tool allows it",
    workload="conversations",
    checkers=("no_lost_turn",),
    plants=(replaced(Performer, "is_repeatable", always_repeatable),),
)
