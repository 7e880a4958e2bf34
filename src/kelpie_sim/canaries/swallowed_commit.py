"""A commit of which nothing is known is taken for a good one."""

from kelpie.actor.tenure import Tenure
from kelpie.errors import CommitUnknown
from kelpie.storage.records import Batch
from kelpie_sim.canaries.plant import Canary, replaced

commit = Tenure.commit


async def commit_hopefully(self: Tenure, batch: Batch) -> int:
    """As Tenure.commit, with a version of its own making when the store gave none."""
    try:
        return await commit(self, batch)
    except CommitUnknown:
        self._ended = False
        return 10**9


CANARY = Canary(
    name="swallowed_commit",
    breaks="what was acknowledged is durable",
    workload="conversations",
    checkers=("spoken", "no_lost_turn", "liveness"),
    plants=(replaced(Tenure, "commit", commit_hopefully),),
)
