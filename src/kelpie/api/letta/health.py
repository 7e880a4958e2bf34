"""Whether the server is there, and which version clients may expect of it."""

from msgspec import Struct

from kelpie import __version__
from kelpie.api.letta.house import House
from kelpie.api.letta.values import COMPATIBLE_VERSION
from kelpie.api.route import Ask, Route


class Health(Struct, frozen=True, kw_only=True):
    """`version` is the one that this door is compatible with; `kelpie_version` is the server's own."""

    version: str = COMPATIBLE_VERSION
    status: str = "ok"
    kelpie_version: str = __version__


async def check_health(house: House, ask: Ask[None, None]) -> Health:
    """The process answers."""
    return Health()


async def check_readiness(house: House, ask: Ask[None, None]) -> Health:
    """The store answers, too."""
    await house.records.store.now_ms()
    return Health()


ROUTES = (
    Route(
        method="GET",
        path="/v1/health/",
        name="check_health",
        summary="Whether the server is up",
        tag="health",
        handler=check_health,
        answer=Health,
    ),
    Route(
        method="GET",
        path="/v1/ready/",
        name="check_readiness",
        summary="Whether the server and its store are up",
        tag="health",
        handler=check_readiness,
        answer=Health,
        refusals=(503,),
    ),
)
