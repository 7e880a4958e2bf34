"""Identities, before the agents that have them, with the blocks that belong to them."""

from typing import Any, get_args

import msgspec
from msgspec import Raw

from kelpie.agent.identities import IDENTITIES, Identity, IdentityKind, Property, PropertyKind
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.errors import InvalidInput
from kelpie.importing.journal import digest
from kelpie.importing.letta.ground import Ground, checked_id
from kelpie.importing.letta.kinds import sum_of
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.memory.blocks import BLOCKS
from kelpie.storage.records import Batch


class Identities:
    """Identities keep their ids. After blocks; agents name them when they come."""

    name, table = "identities", "identities"

    def __init__(self, ground: Ground, *, dry: bool) -> None:
        self._ground = ground
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """An identity, and whose blocks are whose."""
        house, id = self._ground.house, checked_id("identity", row)
        if await house.records.get(IDENTITIES.at(id)) is not None:
            return Present()
        identity = Identity(
            id=id,
            key=row["identifier_key"],
            name=row["name"],
            kind=_kind(row["identity_type"]),
            project_id=row.get("project_id"),
            properties=tuple(_property(one) for one in row.get("properties") or ()),
            created_at_us=read_time(row["created_at"]),
        )
        if await house.identities.all.find_named(identity.unique_name) is not None:
            return Staying(reason="an identity of that key is here already")
        house.identities.put_new(batch, identity)
        without: set[str] = set()
        for link in await self._ground.links("identities_blocks", "block_id", identity_id=id):
            block = await house.records.get(BLOCKS.at(link["block_id"]))
            if block is not None:
                batch.check(block)
                house.identities.blocks.put(batch, id, link["block_id"], identity.created_at_us)
            elif not self._dry:
                without.add("a block that belongs to it did not come along")
        also(batch, Carried(sum=digest(IDENTITIES.at(id), identity), without=tuple(sorted(without))))
        return DONE

    async def stored(self, id: str) -> int:
        """The identity as it is stored."""
        return await sum_of(self._ground, IDENTITIES.at(id))


def _kind(written: str) -> IdentityKind:
    if written not in get_args(IdentityKind):
        raise InvalidInput(f"identities of type '{written[:40]}' are not known")
    return msgspec.convert(written, IdentityKind)


def _property(one: dict[str, Any]) -> Property:
    kind = one.get("type") or "json"
    if kind not in get_args(PropertyKind):
        raise InvalidInput(f"properties of type '{str(kind)[:40]}' are not known")
    value = Raw(msgspec.json.encode(one.get("value")))
    return Property(key=str(one["key"]), value=value, kind=msgspec.convert(kind, PropertyKind))
