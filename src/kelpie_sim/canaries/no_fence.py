"""An activation commits without its fence and without a look at the state's version: a lost owner goes on writing."""

from kelpie.actor.tenure import Tenure
from kelpie.agent.state import STATES
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced


async def commit_unfenced(self: Tenure, batch: Batch) -> int:
    """As Tenure.commit, without what makes it safe."""
    state = STATES.at(self.address).key
    batch.checks = [check for check in batch.checks if check.key != state]
    return await self._records.commit(batch)


CANARY = Canary(
    name="no_fence",
    breaks="only the owner of the current epoch commits",
    workload="conversations",
    checkers=("single_owner",),
    plants=(replaced(Tenure, "commit", commit_unfenced),),
)
