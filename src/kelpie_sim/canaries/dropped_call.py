"""Of the calls of one reply only the first is run; the others get no result."""

import msgspec

from kelpie.agent import actor
from kelpie.agent.effects import Decision, Replied, RunTools, Told
from kelpie.agent.state import Turn
from kelpie.agent.turn import step
from kelpie.ids import StepId
from kelpie_sim.canaries.plant import Canary, replaced


def step_with_one_call(turn: Turn, told: Told, next_step_id: StepId) -> Decision | None:
    """As turn.step, but a reply has at most one call."""
    decision = step(turn, told, next_step_id)
    if decision is None or not isinstance(told, Replied) or not isinstance(decision.effect, RunTools):
        return decision
    kept = msgspec.structs.replace(decision.turn, calls=decision.turn.calls[:1])
    effect = msgspec.structs.replace(decision.effect, calls=decision.effect.calls[:1])
    return msgspec.structs.replace(decision, turn=kept, effect=effect)


CANARY = Canary(
    name="dropped_call",
    breaks="all calls of a reply are run",
    workload="conversations",
    checkers=("no_lost_turn",),
    plants=(replaced(actor, "step", step_with_one_call),),
)
