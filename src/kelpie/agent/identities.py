"""Identities: whom agents and blocks belong to, in the words of whoever runs this server.

Which agents have an identity is written in their settings and as links, always by one commit; which blocks, as links
alone. A link is only made while the identity is as it was read, and it is written again by that commit, so that a
removal which looked for links before loses against it.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from kelpie.agent.state import AGENTS, AgentSettings
from kelpie.errors import AlreadyExists, Conflict, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import AgentId, BlockId, IdentityId, new_id
from kelpie.limits import (
    AGENT_NAME_CHARS_MAX,
    EDIT_ATTEMPTS_MAX,
    IDENTITIES_PER_AGENT_MAX,
    IDENTITY_PROPERTIES_MAX,
    LINKS_MAX,
    METADATA_BYTES_MAX,
)
from kelpie.memory.blocks import BLOCKS
from kelpie.storage.collection import Collection, Links, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Found, Records, Space, stand_back
from kelpie.world import World

IdentityKind = Literal["org", "user", "other"]
PropertyKind = Literal["string", "number", "boolean", "json"]
REMOVED_PER_COMMIT = 16  # links of an identity, each with settings of possibly RECORD_BYTES_MAX


class Property(Struct, frozen=True, kw_only=True):
    """One thing that is known of an identity; `value` is JSON of the kind that is named."""

    key: str
    value: Raw
    kind: PropertyKind


class Identity(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """Somebody. `key` is what other programs call it, unique within the project."""

    key: str
    name: str
    kind: IdentityKind
    project_id: str | None = None
    properties: tuple[Property, ...] = ()

    @property
    def unique_name(self) -> str:
        """What no other identity has."""
        return f"{self.project_id or ''}\0{self.key}"


class IdentityChanges(Struct, frozen=True, kw_only=True):
    """What an edit changes; UNSET stays as it is. Properties are those afterwards, agents and blocks as well."""

    key: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    kind: IdentityKind | UnsetType = UNSET
    properties: tuple[Property, ...] | UnsetType = UNSET
    agent_ids: tuple[AgentId, ...] | UnsetType = UNSET
    block_ids: tuple[BlockId, ...] | UnsetType = UNSET


class IdentityView(Struct, frozen=True, kw_only=True):
    """An identity with what belongs to it, in the order in which it was attached."""

    identity: Identity
    agent_ids: tuple[str, ...]
    block_ids: tuple[str, ...]


IDENTITIES = Space("identity", Identity, large=True)  # at(identity_id)
IDENTITY_AGENTS, IDENTITY_BLOCKS = "identity_agent", "identity_block"  # links: the identity left
_BY_KEY = "identity_key"  # links: the hash of the key left, whatever the project


class Identities:
    """The identities in the store."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world
        self.all = Collection(
            records, world.entropy, IDENTITIES, "Identity", name_of=lambda identity: identity.unique_name
        )
        self.agents = Links(records, IDENTITY_AGENTS)
        self.blocks = Links(records, IDENTITY_BLOCKS)
        self._keys = Links(records, _BY_KEY)

    # -- read ----------------------------------------------------------------------------------------------

    async def view(self, identity: Identity) -> IdentityView:
        """The identity with what belongs to it."""
        agent_ids, block_ids = await self.agents.rights_of(identity.id), await self.blocks.rights_of(identity.id)
        return IdentityView(identity=identity, agent_ids=tuple(agent_ids), block_ids=tuple(block_ids))

    async def get(self, identity_id: str) -> IdentityView:
        """One identity. Raises NotFound."""
        return await self.view((await self.all.get(identity_id)).value)

    async def page(self, page: Page, is_wanted: Callable[[Identity], bool]) -> list[IdentityView]:
        """A page of identities."""
        return [await self.view(identity) for identity in await self.all.page(page, is_wanted)]

    async def of_keys(self, keys: Sequence[str]) -> list[Identity]:
        """The identities that have one of these keys, in any project."""
        found = [one for key in dict.fromkeys(keys) for one in await self._keys.rights_of(_hash(key))]
        return await self.all.get_many(found[:LINKS_MAX]) if found else []

    async def agents_of(self, identity_ids: Sequence[str]) -> tuple[str, ...]:
        """The agents that have any of these identities, each once."""
        ids = [one for identity_id in identity_ids for one in await self.agents.rights_of(identity_id)]
        return tuple(dict.fromkeys(ids))

    async def blocks_of(self, identity_ids: Sequence[str]) -> tuple[str, ...]:
        """The blocks that belong to any of these identities, each once."""
        ids = [one for identity_id in identity_ids for one in await self.blocks.rights_of(identity_id)]
        return tuple(dict.fromkeys(ids))

    # -- made and changed ----------------------------------------------------------------------------------

    async def create(self, changes: IdentityChanges, project_id: str | None) -> IdentityView:
        """A new identity; key, name and kind are given. Raises AlreadyExists (the key), NotFound (agents, blocks)."""
        assert isinstance(changes.key, str) and isinstance(changes.name, str)
        assert changes.kind is not UNSET
        properties = () if changes.properties is UNSET else changes.properties
        identity = Identity(
            id=new_id("identity", self._world.entropy),
            created_at_us=self._world.wall.now_us(),
            key=changes.key,
            name=changes.name,
            kind=changes.kind,
            project_id=project_id,
            properties=properties,
        )
        _check(identity)
        await self._check_there(changes)
        made = await self.all.create(identity, lambda batch: self._put_key(batch, identity))
        await self._set_links(made.id, changes)
        return await self.view(made)

    async def upsert(self, changes: IdentityChanges, project_id: str | None) -> IdentityView:
        """The identity of that key with these changes; a new one if there is none."""
        assert isinstance(changes.key, str)
        for _ in range(EDIT_ATTEMPTS_MAX):
            found = await self.all.find_named(f"{project_id or ''}\0{changes.key}")
            if found is not None:
                return await self.update(found.value.id, changes)
            try:
                return await self.create(changes, project_id)
            except AlreadyExists:
                continue  # somebody else made it just now
        raise Conflict(f"identity '{changes.key[:80]}' is being made and removed by others")

    async def update(self, identity_id: str, changes: IdentityChanges) -> IdentityView:
        """Edit an identity. Agents and blocks are given or taken one by one. Raises NotFound, AlreadyExists."""
        await self._check_there(changes)
        fields = {name: getattr(changes, name) for name in ("key", "name", "kind", "properties")}
        given = {name: value for name, value in fields.items() if value is not UNSET}
        await self._edit(identity_id, lambda now: msgspec.structs.replace(now, **given))
        await self._set_links(identity_id, changes)
        return await self.get(identity_id)

    async def merge_properties(self, identity_id: str, properties: tuple[Property, ...]) -> None:
        """Those of these keys are replaced, the others stay."""
        keys = {one.key for one in properties}

        def merge(now: Identity) -> Identity:
            kept = [one for one in now.properties if one.key not in keys]
            return msgspec.structs.replace(now, properties=(*kept, *properties))

        await self._edit(identity_id, merge)

    async def delete(self, identity_id: str) -> None:
        """Take it from every agent and block that has it, then remove it. Raises NotFound, Conflict."""
        for attempt in range(2 * LINKS_MAX // REMOVED_PER_COMMIT + EDIT_ATTEMPTS_MAX):
            found = await self.all.get(identity_id)
            agent_ids = (await self.agents.rights_of(identity_id))[:REMOVED_PER_COMMIT]
            block_ids = (await self.blocks.rights_of(identity_id))[:REMOVED_PER_COMMIT]
            assert found.value.id == identity_id
            assert len(agent_ids) + len(block_ids) <= 2 * REMOVED_PER_COMMIT
            batch = Batch()
            for agent in await self._records.get_all([AGENTS.at(agent_id) for agent_id in agent_ids]):
                if agent is not None:
                    _put_identities(batch, agent, tuple(one for one in agent.value.identities if one != identity_id))
            for agent_id in agent_ids:
                self.agents.remove(batch, identity_id, agent_id)
            for block_id in block_ids:
                self.blocks.remove(batch, identity_id, block_id)
            if not agent_ids and not block_ids:
                self.all.remove(batch, found)
                self._keys.remove(batch, _hash(found.value.key), identity_id)
            if await self._committed(batch, attempt) and not agent_ids and not block_ids:
                return
        raise Conflict(f"identity '{identity_id}' is being attached by others while it is removed")

    def put_new(self, batch: Batch, identity: Identity) -> None:
        """A new identity that nothing belongs to yet, as part of a commit. Raises InvalidInput, LimitExceeded."""
        _check(identity)
        self.all.put_new(batch, identity)
        self._put_key(batch, identity)

    # -- attached and detached -----------------------------------------------------------------------------

    async def attach_agent(self, identity_id: str, agent_id: AgentId) -> None:
        """The agent has the identity; no change if it has. Raises NotFound, LimitExceeded."""
        await self._set_agent(identity_id, agent_id, True)

    async def detach_agent(self, identity_id: str, agent_id: AgentId) -> None:
        """The agent has it no more; no change if it had not. Raises NotFound."""
        await self._set_agent(identity_id, agent_id, False)

    async def attach_block(self, identity_id: str, block_id: BlockId) -> None:
        """The block belongs to the identity. Raises NotFound."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            identity, block = await self._records.get_two(IDENTITIES.at(identity_id), BLOCKS.at(block_id))
            if identity is None:
                raise self.all.not_found(identity_id)
            if block is None:
                raise NotFound(f"Block with id '{block_id}' not found", block_id=block_id)
            if await self.blocks.has(identity_id, block_id):
                return
            assert identity.value.id == identity_id
            assert block.value.id == block_id
            batch = Batch()
            batch.check(block)
            self.all.put_changed(batch, identity, identity.value)
            batch.put(BLOCKS.at(block_id), block.value)  # a removal that is under way loses
            self.blocks.put(batch, identity_id, block_id, self._world.wall.now_us())
            if await self._committed(batch, attempt):
                return
        raise Conflict(f"identity '{identity_id}' is being changed by others")

    async def detach_block(self, identity_id: str, block_id: BlockId) -> None:
        """The block belongs to it no more. Raises NotFound (the identity)."""
        await self.all.get(identity_id)
        batch = Batch()
        self.blocks.remove(batch, identity_id, block_id)
        await self._records.commit(batch)

    async def forget_block(self, batch: Batch, block_id: BlockId) -> None:
        """The block is removed by this commit, and with it what says whose it was."""
        for identity_id in await self.blocks.lefts_of(block_id):
            self.blocks.remove(batch, identity_id, block_id)

    async def put_agent(self, batch: Batch, identity_ids: Sequence[str], agent_id: AgentId, at_us: int) -> None:
        """A new agent has these identities; its settings are the caller's. Raises NotFound."""
        assert len(set(identity_ids)) == len(identity_ids)
        for identity_id in identity_ids:
            found = await self.all.get(identity_id)
            self.all.put_changed(batch, found, found.value)
            self.agents.put(batch, identity_id, agent_id, at_us)

    async def set_of_agent(self, agent_id: AgentId, identity_ids: Sequence[str]) -> None:
        """Exactly these identities from now on. Raises NotFound."""
        for identity_id in identity_ids:
            await self.all.get(identity_id)
        found = await self._records.get(AGENTS.at(agent_id))
        have = () if found is None else found.value.identities
        for identity_id in have:
            if identity_id not in identity_ids:
                await self.detach_agent(identity_id, agent_id)
        for identity_id in identity_ids:
            if identity_id not in have:
                await self.attach_agent(identity_id, agent_id)

    # -- inside --------------------------------------------------------------------------------------------

    async def _set_agent(self, identity_id: str, agent_id: AgentId, has: bool) -> None:
        for attempt in range(EDIT_ATTEMPTS_MAX):
            agent, identity = await self._records.get_two(AGENTS.at(agent_id), IDENTITIES.at(identity_id))
            if agent is None:
                raise NotFound(f"Agent with id '{agent_id}' not found", agent_id=agent_id)
            if identity is None:
                raise self.all.not_found(identity_id)
            if (identity_id in agent.value.identities) == has:
                return
            assert agent.value.id == agent_id
            assert identity.value.id == identity_id
            batch = Batch()
            self.all.put_changed(batch, identity, identity.value)
            rest = tuple(one for one in agent.value.identities if one != identity_id)
            if has:
                _put_identities(batch, agent, (*rest, IdentityId(identity_id)))
                self.agents.put(batch, identity_id, agent_id, self._world.wall.now_us())
            else:
                _put_identities(batch, agent, rest)
                self.agents.remove(batch, identity_id, agent_id)
            if await self._committed(batch, attempt):
                return
        raise Conflict(f"agent '{agent_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def _edit(self, identity_id: str, change: Callable[[Identity], Identity]) -> None:
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self.all.get(identity_id)
            changed = change(found.value)
            if changed == found.value:
                return
            _check(changed)
            batch = Batch()
            if changed.key != found.value.key:
                other = await self.all.find_named(changed.unique_name)
                if other is not None:
                    raise AlreadyExists(f"there is an identity with identifier_key '{changed.key[:200]}'")
                self._keys.remove(batch, _hash(found.value.key), identity_id)
                self._put_key(batch, changed)
            self.all.put_changed(batch, found, changed)
            assert changed.id == identity_id
            assert changed.created_at_us == found.value.created_at_us
            if await self._committed(batch, attempt):
                return
        raise Conflict(f"identity '{identity_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    async def _check_there(self, changes: IdentityChanges) -> None:
        """NotFound if an agent or block to be attached is not there."""
        for agent_id in changes.agent_ids or ():
            if await self._records.get(AGENTS.at(agent_id)) is None:
                raise NotFound(f"Agent with id '{agent_id}' not found", agent_id=agent_id)
        for block_id in changes.block_ids or ():
            if await self._records.get(BLOCKS.at(block_id)) is None:
                raise NotFound(f"Block with id '{block_id}' not found", block_id=block_id)

    async def _set_links(self, identity_id: str, changes: IdentityChanges) -> None:
        if changes.agent_ids is not UNSET:
            have = await self.agents.rights_of(identity_id)
            for agent_id in have:
                if agent_id not in changes.agent_ids:
                    await self.detach_agent(identity_id, AgentId(agent_id))
            for agent_id in changes.agent_ids:
                await self.attach_agent(identity_id, agent_id)
        if changes.block_ids is not UNSET:
            for block_id in await self.blocks.rights_of(identity_id):
                if block_id not in changes.block_ids:
                    await self.detach_block(identity_id, BlockId(block_id))
            for block_id in changes.block_ids:
                await self.attach_block(identity_id, block_id)
        assert identity_id

    def _put_key(self, batch: Batch, identity: Identity) -> None:
        self._keys.put(batch, _hash(identity.key), identity.id, identity.created_at_us)

    async def _committed(self, batch: Batch, attempt: int) -> bool:
        try:
            await self._records.commit(batch)
        except Conflict:
            await stand_back(min(attempt, EDIT_ATTEMPTS_MAX), self._world.entropy)
            return False
        return True


def forget_identities(records: Records, batch: Batch, settings: AgentSettings) -> None:
    """The agent is removed by this commit, and with it what says whose it was."""
    for identity_id in settings.identities:
        Links(records, IDENTITY_AGENTS).remove(batch, identity_id, settings.id)


def _put_identities(batch: Batch, found: Found[AgentSettings], identities: tuple[IdentityId, ...]) -> None:
    if len(identities) > IDENTITIES_PER_AGENT_MAX:
        raise LimitExceeded(
            f"identity_ids: {len(identities)} identities are over the limit of {IDENTITIES_PER_AGENT_MAX}",
            limit="IDENTITIES_PER_AGENT_MAX",
            maximum=IDENTITIES_PER_AGENT_MAX,
        )
    batch.check(found)
    batch.put(AGENTS.at(found.value.id), msgspec.structs.replace(found.value, identities=identities))


def _check(identity: Identity) -> None:
    """InvalidInput or LimitExceeded unless the identity may be stored."""
    for field, text in (("identifier_key", identity.key), ("name", identity.name)):
        if not text.strip():
            raise InvalidInput(f"{field} is not blank", field=field)
        _check_size(field, len(text), "AGENT_NAME_CHARS_MAX", AGENT_NAME_CHARS_MAX)
    _check_size("project_id", len(identity.project_id or ""), "AGENT_NAME_CHARS_MAX", AGENT_NAME_CHARS_MAX)
    _check_size("properties", len(identity.properties), "IDENTITY_PROPERTIES_MAX", IDENTITY_PROPERTIES_MAX)
    size = sum(len(one.key) + len(bytes(one.value)) for one in identity.properties)
    _check_size("properties", size, "METADATA_BYTES_MAX", METADATA_BYTES_MAX)
    assert len({one.key for one in identity.properties}) <= len(identity.properties)


def _check_size(field: str, size: int, limit: str, maximum: int) -> None:
    if size > maximum:
        raise LimitExceeded(
            f"{field}: {size} is over the limit of {maximum}", field=field, limit=limit, maximum=maximum
        )


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
