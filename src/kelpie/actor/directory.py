"""The single owner of each address, by an epoch that is claimed in one store transaction.

An owner row says which node, under which epoch of its lease, holds an actor, and the actor's own epoch, which
grows with every claim. The claim's commit gives the row a version; that version is the fence: every later
commit of the activation checks it. Whoever claims after us changes the row, and from that moment none of our
commits can succeed, whatever we believe and however late they arrive.
An actor that went to sleep with nothing on its way is woken on the same node under the claim that it has.
"""

from msgspec import Struct

from kelpie.actor.call import ActorAddress
from kelpie.cluster.lease import LEASES, is_dead
from kelpie.errors import NotOwner
from kelpie.ids import NodeId
from kelpie.limits import RETRY_AFTER_MS
from kelpie.storage.records import Batch, Found, Records, Space
from kelpie.storage.store import Check


class Owner(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """Who holds an actor. `epoch` is the actor's; `node_epoch` the node's when it claimed."""

    node: NodeId
    node_epoch: int
    epoch: int


OWNERS = Space("owner", Owner)  # at(address)


class Claim(Struct, frozen=True, kw_only=True):
    """A successful claim: the epoch, and the check that fences every commit made under it."""

    address: ActorAddress
    epoch: int
    fence: Check


class Directory:
    """Claims addresses for one node."""

    def __init__(self, records: Records, node: NodeId) -> None:
        self._records = records
        self._node = node

    async def claim(self, address: ActorAddress, node_epoch: int, *, fresh: bool) -> Claim:
        """Become the owner. Raises NotOwner (a living node holds it), Conflict (somebody claimed just now).

        A claim that this node made under the same lease is taken up again as it is, without a write, unless `fresh`
        asks for a new epoch: that is needed when a commit under the old one may still be on its way.
        """
        assert node_epoch >= 1, "a node claims only under a lease"
        held = await self._records.get(OWNERS.at(address))
        if held is not None and not await self._is_free(held.value, node_epoch):
            raise NotOwner(
                f"'{address}' is held by node '{held.value.node}'",
                node=held.value.node,
                retry_after_ms=RETRY_AFTER_MS,
            )
        if not fresh and held is not None and self._is_own(held.value, node_epoch):
            return Claim(address=address, epoch=held.value.epoch, fence=Check(held.key, held.version))
        return await self._write(address, held, node_epoch)

    async def is_orphan(self, address: ActorAddress, node_epoch: int) -> bool:
        """Whether nobody alive, or this node itself, holds the address."""
        held = await self._records.get(OWNERS.at(address))
        return held is None or await self._is_free(held.value, node_epoch)

    def _is_own(self, owner: Owner, node_epoch: int) -> bool:
        """Whether this node wrote the row under the lease that it holds now."""
        return owner.node == self._node and owner.node_epoch == node_epoch

    async def _is_free(self, owner: Owner, node_epoch: int) -> bool:
        if owner.node == self._node:
            assert owner.node_epoch <= node_epoch, "our own lease epoch never goes back"
            return True
        lease = await self._records.get(LEASES.at(owner.node))
        now_ms = await self._records.store.now_ms()
        return is_dead(None if lease is None else lease.value, owner.node_epoch, now_ms)

    async def _write(self, address: ActorAddress, held: Found[Owner] | None, node_epoch: int) -> Claim:
        epoch = 1 if held is None else held.value.epoch + 1
        batch = Batch()
        if held is None:
            batch.check_absent(OWNERS.at(address))
        else:
            batch.check(held)
        batch.put(OWNERS.at(address), Owner(node=self._node, node_epoch=node_epoch, epoch=epoch))
        version = await self._records.commit(batch)
        assert version > 0
        return Claim(address=address, epoch=epoch, fence=Check(OWNERS.at(address).key, version))
