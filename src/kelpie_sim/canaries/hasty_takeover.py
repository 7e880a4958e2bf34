"""A node takes agents over as soon as it likes, whether their owner's lease has ended or not."""

from kelpie.actor import directory
from kelpie.cluster.lease import NodeLease
from kelpie_sim.canaries.plant import Canary, replaced


def always_dead(lease: NodeLease | None, epoch: int, store_now_ms: int) -> bool:
    """Every other node is dead."""
    return True


CANARY = Canary(
    name="hasty_takeover",
    breaks="nobody takes over from a living node",
    workload="conversations",
    checkers=("single_owner",),
    plants=(replaced(directory, "is_dead", always_dead),),
)
