"""An agent that is removed leaves its inbox behind."""

from kelpie.agent import inbox
from kelpie.agent.state import AgentState
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced


def forget_nothing(batch: Batch, state: AgentState) -> None:
    """Everything stays."""


CANARY = Canary(
    name="orphan_rows",
    breaks="nothing is left of what was removed",
    workload="lifecycle",
    checkers=("derived",),
    plants=(replaced(inbox, "forget_all", forget_nothing),),
)
