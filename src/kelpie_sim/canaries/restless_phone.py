"""A call to another agent that is made again after a crash is a new message to it."""

from kelpie.agent import agent_tools
from kelpie.agent.agent_tools import Phone
from kelpie.ids import AgentId
from kelpie_sim.canaries.plant import Canary, replaced


def key_of_this_attempt(phone: Phone, target: AgentId) -> str:
    """Another key for each attempt."""
    return phone.door._world.entropy.take_bytes(8).hex()


CANARY = Canary(
    name="restless_phone",
    breaks="what an agent says to another comes once",
    workload="agent_calls",
    checkers=("agent_calls",),
    plants=(replaced(agent_tools, "_key", key_of_this_attempt),),
)
