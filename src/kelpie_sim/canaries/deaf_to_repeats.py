"""An answer that is given again, since the first reply was lost, is refused when the agent has asked anew meanwhile."""

from kelpie.agent import approvals
from kelpie.agent.state import AgentState, InputMessage
from kelpie.ids import RunId
from kelpie_sim.canaries.plant import Canary, replaced

answered_before = approvals.answered_before


def look_at_what_waits(state: AgentState, message: InputMessage) -> RunId | None:
    """As approvals.answered_before, but whoever answers while something waits means that."""
    return None if state.awaiting is not None else answered_before(state, message)


CANARY = Canary(
    name="deaf_to_repeats",
    breaks="a lost answer to the client is given again",
    workload="approvals",
    checkers=("verdicts",),
    plants=(replaced(approvals, "answered_before", look_at_what_waits),),
)
