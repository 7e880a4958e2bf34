"""Providers on the wire: stored by clients with their keys, checked, their models usable at once as `name/model`."""

from msgspec import Struct

from kelpie.api.errors import KeyRefused
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.api.letta.provider_kinds import ProviderType, read_address
from kelpie.api.letta.values import ORGANIZATION_ID, MessageOut, micros_date, optional_date
from kelpie.api.route import Ask, Route
from kelpie.errors import ModelRefused
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.stored_providers import ProviderFields, ProviderRecord
from kelpie.llm.transport import Endpoint

LIMIT_DEFAULT = 50
_KEY_STATUSES = (401, 403)


class ProviderOut(Struct, frozen=True, kw_only=True):
    """A stored provider. Its keys go in and never come out, not even sealed."""

    id: str
    name: str
    provider_type: str
    provider_category: str = "byok"
    api_key: str | None = None
    base_url: str | None
    access_key: str | None = None
    region: str | None
    api_version: str | None
    organization_id: str = ORGANIZATION_ID
    updated_at: str
    last_synced: str | None
    api_key_enc: str | None = None
    access_key_enc: str | None = None


class ProviderCheckIn(Struct, frozen=True, kw_only=True):
    """A provider that is not stored."""

    provider_type: ProviderType
    api_key: str
    access_key: str | None = None
    region: str | None = None
    base_url: str | None = None
    api_version: str | None = None


class ProviderIn(ProviderCheckIn, frozen=True, kw_only=True):
    """A provider to store."""

    name: str


class ProviderEdit(Struct, frozen=True, kw_only=True):
    """What to change; the key is always given anew, what else is left out stays."""

    api_key: str
    access_key: str | None = None
    region: str | None = None
    base_url: str | None = None
    api_version: str | None = None


class ListProviders(Struct, frozen=True, kw_only=True):
    """Which providers, and which page of them."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT
    order: Order = "desc"
    order_by: str | None = None
    name: str | None = None
    provider_type: ProviderType | None = None


def show_provider(record: ProviderRecord) -> ProviderOut:
    """A provider as the wire shows it."""
    return ProviderOut(
        id=record.id,
        name=record.name,
        provider_type=record.brand,
        base_url=record.base_url,
        region=record.region,
        api_version=record.api_version,
        updated_at=micros_date(record.updated_at_us),
        last_synced=optional_date(record.synced_at_us),
    )


def read_fields(name: str, given: ProviderCheckIn) -> ProviderFields:
    """What is to be stored. Raises InvalidInput where the provider could never be asked."""
    wire, base_url = read_address(given.provider_type, given.base_url, given.access_key)
    Endpoint(name, base_url, [])
    return ProviderFields(
        brand=given.provider_type,
        wire=wire,
        base_url=base_url,
        api_key=given.api_key,
        access_key=given.access_key,
        region=given.region,
        api_version=given.api_version,
    )


async def list_providers(house: House, ask: Ask[ListProviders, None]) -> list[ProviderOut]:
    """The stored providers; those of the server's own settings are not among them."""
    query = ask.query
    page = read_page(
        "provider",
        before=query.before,
        after=query.after,
        limit=query.limit,
        order=query.order,
        limit_default=LIMIT_DEFAULT,
    )

    def is_wanted(record: ProviderRecord) -> bool:
        return query.name in (None, record.name) and query.provider_type in (None, record.brand)

    return [show_provider(record) for record in await house.providers.page(page, is_wanted)]


async def create_provider(house: House, ask: Ask[None, ProviderIn]) -> ProviderOut:
    """Store a provider; its models can be named at once."""
    reserved = [*[settings.name for settings in house.line.configured], "kelpie"]
    fields = read_fields(ask.body.name, ask.body)
    return show_provider(await house.providers.create(ask.body.name, fields, reserved=reserved))


async def retrieve_provider(house: House, ask: Ask[None, None]) -> ProviderOut:
    """One provider."""
    return show_provider(await house.providers.get(ask.path["provider_id"]))


async def modify_provider(house: House, ask: Ask[None, ProviderEdit]) -> ProviderOut:
    """A new key, or another address."""
    body = ask.body

    def change(record: ProviderRecord) -> ProviderFields:
        wire, base_url = read_address(record.brand, body.base_url or record.base_url, body.access_key)
        Endpoint(record.name, base_url, [])
        return ProviderFields(
            brand=record.brand,
            wire=wire,
            base_url=base_url,
            api_key=body.api_key,
            access_key=body.access_key,
            region=body.region or record.region,
            api_version=body.api_version or record.api_version,
        )

    record = await house.providers.modify(ask.path["provider_id"], change)
    house.memo.forget(record.name)
    return show_provider(record)


async def delete_provider(house: House, ask: Ask[None, None]) -> MessageOut:
    """Forget a provider and its key. Agents that name its models stay; their next message is told what is missing."""
    record = await house.providers.delete(ask.path["provider_id"])
    house.memo.forget(record.name)
    return MessageOut(message=f"Provider id={record.id} successfully deleted")


async def check_provider(house: House, ask: Ask[None, ProviderCheckIn]) -> MessageOut:
    """Whether a provider answers and takes the key, before it is stored."""
    fields = read_fields(ask.body.provider_type, ask.body)
    settings = ProviderSettings(
        name=fields.brand, kind=fields.wire, base_url=fields.base_url, api_key=fields.api_key, brand=fields.brand
    )
    return await _checked(house, settings)


async def check_existing_provider(house: House, ask: Ask[None, None]) -> MessageOut:
    """Whether a stored provider answers and takes its key."""
    return await _checked(house, house.providers.settings_of(await house.providers.get(ask.path["provider_id"])))


async def refresh_provider_models(house: House, ask: Ask[None, None]) -> ProviderOut:
    """Ask a provider for its models now."""
    record = await house.providers.get(ask.path["provider_id"])
    await _checked(house, house.providers.settings_of(record))
    house.memo.forget(record.name)
    return show_provider(await house.providers.note_synced(record.id))


async def _checked(house: House, settings: ProviderSettings) -> MessageOut:
    try:
        models = await house.line.check(settings)
    except ModelRefused as error:
        if error.fields.get("status") in _KEY_STATUSES:
            raise KeyRefused(error.sentence) from None
        raise
    return MessageOut(message=f"Valid api key for provider_type={settings.brand}: {models} models are listed")


ROUTES = (
    Route(
        method="GET",
        path="/v1/providers/",
        name="list_providers",
        summary="List the providers that clients stored",
        tag="providers",
        handler=list_providers,
        query=ListProviders,
        answer=list[ProviderOut],
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/providers/",
        name="create_provider",
        summary="Store a provider; its models are handles at once",
        tag="providers",
        handler=create_provider,
        body=ProviderIn,
        answer=ProviderOut,
        refusals=(400, 409),
    ),
    Route(
        method="POST",
        path="/v1/providers/check",
        name="check_provider",
        summary="Whether a provider takes a key",
        tag="providers",
        handler=check_provider,
        body=ProviderCheckIn,
        answer=MessageOut,
        refusals=(400, 401, 503),
    ),
    Route(
        method="GET",
        path="/v1/providers/{provider_id}",
        name="retrieve_provider",
        summary="Read a provider",
        tag="providers",
        handler=retrieve_provider,
        answer=ProviderOut,
        refusals=(404,),
    ),
    Route(
        method="PATCH",
        path="/v1/providers/{provider_id}",
        name="modify_provider",
        summary="Change a provider's key or address",
        tag="providers",
        handler=modify_provider,
        body=ProviderEdit,
        answer=ProviderOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/providers/{provider_id}",
        name="delete_provider",
        summary="Delete a provider",
        tag="providers",
        handler=delete_provider,
        answer=MessageOut,
        refusals=(404, 409),
    ),
    Route(
        method="POST",
        path="/v1/providers/{provider_id}/check",
        name="check_existing_provider",
        summary="Whether a stored provider takes its key",
        tag="providers",
        handler=check_existing_provider,
        answer=MessageOut,
        refusals=(400, 401, 404, 503),
    ),
    Route(
        method="PATCH",
        path="/v1/providers/{provider_id}/refresh",
        name="refresh_provider_models",
        summary="Ask a stored provider for its models now",
        tag="providers",
        handler=refresh_provider_models,
        answer=ProviderOut,
        refusals=(400, 401, 404, 503),
    ),
)
