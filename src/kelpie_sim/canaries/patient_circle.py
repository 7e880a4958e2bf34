"""Nobody looks whether the agent that is asked waits for the one who asks."""

from kelpie.agent import agent_tools
from kelpie.agent.agent_tools import Phone
from kelpie.ids import AgentId
from kelpie_sim.canaries.plant import Canary, replaced


async def ask_anybody(phone: Phone, caller: object, target: AgentId) -> None:
    """It will answer some time."""


CANARY = Canary(
    name="patient_circle",
    breaks="agents that wait for each other are told so at once",
    workload="agent_calls",
    checkers=("liveness",),
    plants=(replaced(agent_tools, "_check_free", ask_anybody),),
)
