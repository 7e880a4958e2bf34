"""Identities as the wire has them: what is sent, what is shown, and the way between them and ours."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from kelpie.agent.identities import Identity, IdentityChanges, IdentityKind, IdentityView, Property, PropertyKind
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import read_cursor
from kelpie.api.letta.values import ORGANIZATION_ID
from kelpie.ids import UUID_PATTERN, AgentId, BlockId

AgentIdIn = Annotated[str, Meta(pattern=f"^agent-{UUID_PATTERN}$")]
BlockIdIn = Annotated[str, Meta(pattern=f"^block-{UUID_PATTERN}$")]
PROPERTY_VALUE = Meta(extra_json_schema={"type": ["string", "number", "boolean", "object"]})
_PYTHON_TYPES: dict[PropertyKind, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "json": (dict, list),
}


class PropertyIn(Struct, frozen=True, kw_only=True):
    """One thing that is known of an identity."""

    key: Annotated[str, Meta(min_length=1)]
    value: Any
    type: PropertyKind


class PropertyOut(Struct, frozen=True, kw_only=True):
    """The same, shown."""

    key: str
    value: Annotated[Any, PROPERTY_VALUE]
    type: PropertyKind


class IdentityOut(Struct, frozen=True, kw_only=True):
    """An identity as the wire shows it."""

    id: str
    identifier_key: str
    name: str
    identity_type: IdentityKind
    project_id: str | None = None
    agent_ids: tuple[str, ...] = ()
    block_ids: tuple[str, ...] = ()
    organization_id: str | None = ORGANIZATION_ID
    properties: list[PropertyOut]


class IdentityIn(Struct, frozen=True, kw_only=True):
    """An identity to be made, or to be as said here from now on."""

    identifier_key: str
    name: str
    identity_type: IdentityKind
    project_id: str | None = None
    agent_ids: list[AgentIdIn] | None = None
    block_ids: list[BlockIdIn] | None = None
    properties: list[PropertyIn] | None = None


class IdentityEdit(Struct, frozen=True, kw_only=True):
    """What is to change; what is absent or null stays as it is."""

    identifier_key: str | None = None
    name: str | None = None
    identity_type: IdentityKind | None = None
    agent_ids: list[AgentIdIn] | None = None
    block_ids: list[BlockIdIn] | None = None
    properties: list[PropertyIn] | None = None


def read_changes(wire: IdentityIn | IdentityEdit, *, with_properties: bool = True) -> IdentityChanges:
    """What is to be from now on."""
    return IdentityChanges(
        key=wire.identifier_key if wire.identifier_key is not None else UNSET,
        name=wire.name if wire.name is not None else UNSET,
        kind=wire.identity_type if wire.identity_type is not None else UNSET,
        properties=_properties(wire.properties) if with_properties else UNSET,
        agent_ids=UNSET if wire.agent_ids is None else tuple(AgentId(one) for one in dict.fromkeys(wire.agent_ids)),
        block_ids=UNSET if wire.block_ids is None else tuple(BlockId(one) for one in dict.fromkeys(wire.block_ids)),
    )


def read_properties(wire: list[PropertyIn]) -> tuple[Property, ...]:
    """The properties. Raises Malformed for a value that is not what its type says."""
    kept: dict[str, Property] = {}
    for at, one in enumerate(wire):
        wrong = isinstance(one.value, bool) and one.type != "boolean"
        if wrong or not isinstance(one.value, _PYTHON_TYPES[one.type]):
            raise Malformed(f"the value is not of the type '{one.type}'", place=("body", "properties", at, "value"))
        kept[one.key] = Property(key=one.key, value=Raw(msgspec.json.encode(one.value)), kind=one.type)
    return tuple(kept.values())


def show_view(view: IdentityView) -> IdentityOut:
    """An identity with what belongs to it."""
    return msgspec.structs.replace(show_identity(view.identity), agent_ids=view.agent_ids, block_ids=view.block_ids)


def show_identity(identity: Identity) -> IdentityOut:
    """An identity as a part of an agent, where what else it has is left out."""
    return IdentityOut(
        id=identity.id,
        identifier_key=identity.key,
        name=identity.name,
        identity_type=identity.kind,
        project_id=identity.project_id,
        properties=[PropertyOut(key=one.key, value=one.value, type=one.kind) for one in identity.properties],
    )


def _properties(wire: list[PropertyIn] | None) -> tuple[Property, ...] | UnsetType:
    return UNSET if wire is None else read_properties(wire)


async def owners_of(house: House, identity_id: str | None, keys: list[str] | None) -> tuple[str, ...] | None:
    """The identities that a list is narrowed to; None: it is not."""
    if identity_id is None and not keys:
        return None
    wanted = read_cursor("identity", identity_id, "identity_id")
    named = None if not keys else [one.id for one in await house.identities.of_keys(keys)]
    if wanted is None:
        return tuple(named or ())
    return (wanted,) if named is None or wanted in named else ()
