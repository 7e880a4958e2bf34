"""Providers that clients add while the server runs: their records, with the keys sealed.

A record is read whenever one of its models is asked, so a change is in force at the next call, on every node, and
nothing has to be loaded when a server starts. What is built from a record (`providers.py`) is kept as long as the
record's version stays.
"""

from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from kelpie.access.vault import Vault
from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, SecretUnreadable
from kelpie.ids import new_id
from kelpie.limits import PROVIDER_NAME_CHARS_MAX, PROVIDERS_MAX
from kelpie.llm.provider import ProviderSettings, WireKind
from kelpie.storage.collection import Collection, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Found, Records, Space
from kelpie.world import World


class ProviderRecord(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A provider as it is stored. `base_url` is the one that is asked; the other fields are kept for their owner."""

    name: str
    brand: str
    wire: WireKind
    base_url: str
    sealed_key: str
    sealed_access_key: str | None = None
    region: str | None = None
    api_version: str | None = None
    updated_at_us: int
    synced_at_us: int | None = None  # when its models were last asked for by name of the record


class ProviderFields(Struct, frozen=True, kw_only=True):
    """What a client says of a provider, checked, its base URL made whole."""

    brand: str
    wire: WireKind
    base_url: str
    api_key: str
    access_key: str | None = None
    region: str | None = None
    api_version: str | None = None


PROVIDERS = Space("provider", ProviderRecord, large=True)  # at(provider_id)


class StoredProviders:
    """The records. `reserved` are the names that the operator's own providers have."""

    def __init__(self, records: Records, vault: Vault, world: World) -> None:
        self._vault = vault
        self._world = world
        self._all = Collection(records, world.entropy, PROVIDERS, "Provider", name_of=lambda record: record.name)

    async def create(
        self,
        name: str,
        fields: ProviderFields,
        *,
        reserved: Sequence[str],
        id: str | None = None,
        also: Callable[[Batch, ProviderRecord], None] | None = None,
    ) -> ProviderRecord:
        """A new provider; `also` adds to the commit. Raises AlreadyExists, InvalidInput, LimitExceeded."""
        if not name or "/" in name or len(name) > PROVIDER_NAME_CHARS_MAX or not name.isprintable():
            raise InvalidInput(
                f"a provider's name has 1 to {PROVIDER_NAME_CHARS_MAX} characters and no slash", field="name"
            )
        if name in reserved:
            raise AlreadyExists(f"the name '{name}' belongs to a provider of this server's own settings", name=name)
        if await self._all.count() >= PROVIDERS_MAX:
            raise LimitExceeded(
                f"there are {PROVIDERS_MAX} providers already", limit="PROVIDERS_MAX", maximum=PROVIDERS_MAX
            )
        id = id or new_id("provider", self._world.entropy)
        now_us = self._world.wall.now_us()
        assert fields.base_url and fields.brand
        assert id.startswith("provider-")
        record = ProviderRecord(
            id=id,
            name=name,
            brand=fields.brand,
            wire=fields.wire,
            base_url=fields.base_url,
            sealed_key=self._vault.seal(fields.api_key, _place(id)),
            sealed_access_key=self._sealed_access(id, fields),
            region=fields.region,
            api_version=fields.api_version,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        return await self._all.create(record, None if also is None else lambda batch: also(batch, record))

    async def modify(self, id: str, change: Callable[[ProviderRecord], ProviderFields]) -> ProviderRecord:
        """Change what is known of a provider; its name and kind stay. Raises NotFound, InvalidInput, Conflict."""

        def changed(record: ProviderRecord) -> ProviderRecord:
            fields = change(record)
            assert fields.brand == record.brand, "another kind is another provider"
            return msgspec.structs.replace(
                record,
                wire=fields.wire,
                base_url=fields.base_url,
                sealed_key=self._vault.seal(fields.api_key, _place(id)),
                sealed_access_key=self._sealed_access(id, fields) or record.sealed_access_key,
                region=fields.region,
                api_version=fields.api_version,
                updated_at_us=self._world.wall.now_us(),
            )

        return await self._all.edit(id, changed)

    async def note_synced(self, id: str) -> ProviderRecord:
        """Its models were just asked for. A new version of the record makes every node ask anew."""
        now_us = self._world.wall.now_us()
        return await self._all.edit(id, lambda record: msgspec.structs.replace(record, synced_at_us=now_us))

    async def get(self, id: str) -> ProviderRecord:
        """The record. Raises NotFound."""
        return (await self._all.get(id)).value

    async def delete(self, id: str) -> ProviderRecord:
        """Remove it. Agents that name its models stay, and are told so when they ask one. Raises NotFound."""
        return await self._all.delete(id)

    async def page(self, page: Page, is_wanted: Callable[[ProviderRecord], bool]) -> list[ProviderRecord]:
        """A page by time of creation."""
        return await self._all.page(page, is_wanted)

    async def every(self) -> list[ProviderRecord]:
        """All of them, oldest first."""
        return await self._all.page(Page(limit=PROVIDERS_MAX, newest_first=False))

    async def find_named(self, name: str) -> Found[ProviderRecord] | None:
        """The record of that name."""
        return await self._all.find_named(name)

    def settings_of(self, record: ProviderRecord) -> ProviderSettings:
        """How it is asked. Raises SecretUnreadable."""
        try:
            key = self._vault.open(record.sealed_key, _place(record.id))
        except SecretUnreadable as error:
            raise SecretUnreadable(f"provider '{record.name}': {error.sentence}") from None
        return ProviderSettings(
            name=record.name, kind=record.wire, base_url=record.base_url, api_key=key, brand=record.brand, stored=True
        )

    def _sealed_access(self, id: str, fields: ProviderFields) -> str | None:
        return None if not fields.access_key else self._vault.seal(fields.access_key, f"{_place(id)} access key")


def _place(id: str) -> str:
    return f"provider {id}"
