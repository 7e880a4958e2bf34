"""What the command line tool asks of the hosted service, where this server has an answer of its own."""

from msgspec import Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.values import USER_ID
from kelpie.api.route import Ask, Route


class AccountOut(Struct, frozen=True, kw_only=True):
    """Who asks."""

    id: str
    name: str


class CatalogModelOut(Struct, frozen=True, kw_only=True, rename="camel"):
    """A model that may be picked. Limits in tokens."""

    id: str
    handle: str
    label: str
    brand: str
    description: str
    is_default: bool
    max_context_window: int
    context_window: int
    max_output_tokens: int


class CatalogOut(Struct, frozen=True, kw_only=True):
    """Every model that may be picked; the first is the default."""

    models: list[CatalogModelOut]


async def retrieve_account(house: House, ask: Ask[None, None]) -> AccountOut:
    """The one user that there is."""
    return AccountOut(id=USER_ID, name="default_user")


async def list_catalog(house: House, ask: Ask[None, None]) -> CatalogOut:
    """The models of every configured provider, in the words of the tool's picker."""
    found = await house.models.list_models()
    models = [
        CatalogModelOut(
            id=info.handle,
            handle=info.handle,
            label=info.model,
            brand=info.provider,
            description="",
            is_default=at == 0,
            max_context_window=info.context_tokens,
            context_window=info.context_tokens,
            max_output_tokens=info.output_tokens_max,
        )
        for at, info in enumerate(found)
    ]
    return CatalogOut(models=models)


ROUTES = (
    Route(
        method="GET",
        path="/v1/metadata/user",
        name="retrieve_account",
        summary="Who asks",
        tag="hosted",
        handler=retrieve_account,
        answer=AccountOut,
    ),
    Route(
        method="GET",
        path="/v1/models/catalog",
        name="list_catalog",
        summary="List models for a picker",
        tag="hosted",
        handler=list_catalog,
        answer=CatalogOut,
    ),
)
