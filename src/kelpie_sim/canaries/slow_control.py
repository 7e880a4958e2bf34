"""A call in the control lane waits until no turn runs: whoever cancels waits for the model."""

from kelpie.actor.mailbox import Letter, Mailbox
from kelpie.agent.actor import AgentActor
from kelpie_sim.canaries.plant import Canary, replaced
from kelpie_sim.faults import Fault, FaultKind, FaultPlan

serve_next = AgentActor._serve_next


class NoLetters(Mailbox):
    """Shown to the actor while a turn runs."""

    def take(self, now_ms: int) -> Letter | None:
        """Nothing, whatever waits."""
        return None


async def serve_turn_first(self: AgentActor, mailbox: Mailbox) -> bool:
    """As AgentActor._serve_next, but letters wait for the turn."""
    return await serve_next(self, NoLetters() if self._state.turn is not None else mailbox)


CANARY = Canary(
    name="slow_control",
    breaks="the control lane's delay does not depend on the turn's length",
    workload="conversations",
    checkers=("control",),
    plants=(replaced(AgentActor, "_serve_next", serve_turn_first),),
    plan=FaultPlan(faults=(Fault(kind=FaultKind.MODEL_SLOW, percent=100, ms_max=120_000),)),
)
