"""Events are published before their commit: readers may be told what never was."""

from kelpie.agent.journal import Draft
from kelpie.agent.owner import ThreadOwner
from kelpie_sim.canaries.plant import Canary, replaced

commit_sealed = ThreadOwner._commit_sealed


async def speak_then_commit(self: ThreadOwner, draft: Draft) -> None:
    """As ThreadOwner._commit_sealed, in the other order."""
    for run_id, event in draft.events:
        self._outbox.publish(run_id, event.number, event)
    await commit_sealed(self, draft)


CANARY = Canary(
    name="speak_first",
    breaks="nothing leaves before its commit",
    workload="conversations",
    checkers=("spoken",),
    plants=(replaced(ThreadOwner, "_commit_sealed", speak_then_commit),),
)
