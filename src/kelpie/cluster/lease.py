"""Who may act until when: pure rules about a node's lease. No clock, no store, no await.

A node proves that it lives by renewing one row. Think of a library card: it carries the date on which it
expires, as the library's clock reads, and a number that changes whenever it lapsed and was issued again.
Two clocks are involved and never compared with each other: the row's times are the store's clock; the node's
own belief is counted on its monotonic clock from the moment it *sent* the renewal, which is earlier than the
moment the store wrote it. So belief always ends before the row does, however slow the answer was.

Leases give liveness only. Safety comes from the fence: each commit of an actor checks that the actor's owner
row is still the one written by its claim (`actor/directory.py`).
"""

from msgspec import Struct

from kelpie.ids import NodeId
from kelpie.limits import LEASE_GRACE_MS, LEASE_MARGIN_MS, LEASE_MS
from kelpie.storage.records import Space


class NodeLease(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A node's row. `epoch` goes up when the node starts, and when it renews after the lease had lapsed."""

    node: NodeId
    epoch: int
    expires_ms: int  # store clock


LEASES = Space("lease", NodeLease)  # at(node_id)


def renew(old: NodeLease | None, node: NodeId, epoch: int, store_now_ms: int) -> NodeLease:
    """The row to write. `epoch` is the one this node holds, 0 when it has just started."""
    assert epoch >= 0
    assert old is None or old.node == node
    continues = old is not None and old.epoch == epoch and store_now_ms < old.expires_ms
    issued = epoch if continues else max(epoch, old.epoch if old is not None else 0) + 1
    assert issued >= 1
    return NodeLease(node=node, epoch=issued, expires_ms=store_now_ms + LEASE_MS)


def belief_ends_ms(sent_ms: int) -> int:
    """Until when, on the node's own monotonic clock, it may believe in a renewal that it sent at `sent_ms`."""
    assert LEASE_MARGIN_MS < LEASE_MS
    return sent_ms + LEASE_MS - LEASE_MARGIN_MS


def is_dead(lease: NodeLease | None, epoch: int, store_now_ms: int) -> bool:
    """Whether what the node owned under `epoch` may be taken from it."""
    if lease is None or lease.epoch != epoch:
        return True
    return store_now_ms >= lease.expires_ms + LEASE_GRACE_MS
