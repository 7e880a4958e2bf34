"""Events are published before their commit: readers may be told what never was."""

from kelpie.agent.actor import AgentActor
from kelpie.agent.journal import Draft
from kelpie_sim.canaries.plant import Canary, replaced

commit_sealed = AgentActor._commit_sealed


async def speak_then_commit(self: AgentActor, draft: Draft) -> None:
    """As AgentActor._commit_sealed, in the other order."""
    for run_id, event in draft.events:
        self._outbox.publish(run_id, event.number, event)
    await commit_sealed(self, draft)


CANARY = Canary(
    name="speak_first",
    breaks="nothing leaves before its commit",
    workload="conversations",
    checkers=("spoken",),
    plants=(replaced(AgentActor, "_commit_sealed", speak_then_commit),),
)
