"""A request's key is not looked for: a repeat gets a turn of its own."""

from kelpie.agent import inbox
from kelpie.agent.calls import Send
from kelpie.agent.owner import ThreadOwner
from kelpie.agent.state import AgentState
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced


async def seen_nothing(self: ThreadOwner, send: Send) -> None:
    """No request was ever seen before."""


def remember_nothing(batch: Batch, state: AgentState, send: Send, now_ms: int) -> AgentState:
    """No request will be seen again."""
    return state


CANARY = Canary(
    name="no_dedupe",
    breaks="a message changes state at most once",
    workload="conversations",
    checkers=("no_lost_turn",),
    plants=(replaced(ThreadOwner, "_seen", seen_nothing), replaced(inbox, "remember", remember_nothing)),
)
