"""Requests of other clients, passed on to a provider as they are: Anthropic's wire, for Anthropic and for Z.ai.

A program that speaks Anthropic's wire (Claude Code, say) can be pointed here. It is asked with the key of this
server's own provider if there is one, or of the first stored one of that kind; else with the client's key, at the
provider's own address. Nothing is read, kept or added: the retired server wove an agent's memory into such requests,
of which its document says nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from kelpie.api.errors import Header
from kelpie.api.letta.house import House
from kelpie.api.passing import PassedOn
from kelpie.api.route import Ask, Handler, Method, Route
from kelpie.errors import InvalidInput, SecretUnreadable
from kelpie.limits import FORWARDED_BYTES_MAX
from kelpie.llm.forward import ForwardRequest
from kelpie.llm.provider import ProviderSettings

ANTHROPIC_URL = "https://api.anthropic.com"
KEY_HEADERS = (b"x-api-key", b"authorization")
ZAI_HOST = "https://api.z.ai"
ZAI_URL = f"{ZAI_HOST}/api/anthropic"  # where Z.ai speaks this wire; its other addresses speak OpenAI's
METHODS: tuple[Method, ...] = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HEADERS = frozenset({b"content-type", b"accept", b"authorization", b"x-api-key"})
_PREFIX = b"anthropic-"
FindSettings = Callable[[House], Awaitable[ProviderSettings]]


async def anthropic_settings(house: House) -> ProviderSettings:
    """Who is asked as Anthropic."""
    settings = await _known(house, ("anthropic",))
    return settings or ProviderSettings(name="anthropic", kind="anthropic", base_url=ANTHROPIC_URL, api_key="")


async def zai_settings(house: House) -> ProviderSettings:
    """Who is asked as Z.ai."""
    settings = await _known(house, ("zai", "zai_coding"))
    if settings is None:
        return ProviderSettings(name="zai", kind="anthropic", base_url=ZAI_URL, api_key="")
    own = settings.base_url.removesuffix("/v1")  # of somebody who speaks like Z.ai
    url = ZAI_URL if settings.base_url.startswith(ZAI_HOST) else own
    return ProviderSettings(name=settings.name, kind="anthropic", base_url=url, api_key=settings.api_key)


async def pass_on(
    house: House, ask: Ask[bytes, bytes], settings: ProviderSettings, method: Method, path: str
) -> PassedOn:
    """The provider's answer, as it comes."""
    if not settings.api_key and not any(name in ask.headers for name in KEY_HEADERS):
        raise InvalidInput(
            f"'{settings.name}' is not configured here, and the request brings no key of its own", field="provider"
        )
    path = "/v1/" + path.format(**{name: quote(segment, safe=":") for name, segment in ask.path.items()})
    query = ask.query.decode("ascii", "replace")
    request = ForwardRequest(
        method=method,
        path=f"{path}?{query}" if query else path,
        headers=tuple(pair for pair in ask.headers.items() if pair[0] in _HEADERS or pair[0].startswith(_PREFIX)),
        body=ask.body,
    )
    answer = await house.line.forward(settings, request)
    return PassedOn(answer.status, _with_type(answer.headers), answer.chunks)


async def _known(house: House, brands: Sequence[str]) -> ProviderSettings | None:
    """The provider of that kind: this server's own, or the first that a client stored."""
    for settings in house.line.configured:
        if (settings.brand or settings.kind) in brands:
            return settings
    for record in await house.providers.every():
        if record.brand in brands:
            try:
                return house.providers.settings_of(record)
            except SecretUnreadable:
                continue
    return None


def _with_type(headers: Sequence[Header]) -> Sequence[Header]:
    has_type = any(name == b"content-type" for name, _ in headers)
    return headers if has_type else [*headers, (b"content-type", b"application/octet-stream")]


def _handler(find: FindSettings, method: Method, path: str) -> Handler:
    async def handle(house: House, ask: Ask[bytes, bytes]) -> PassedOn:
        return await pass_on(house, ask, await find(house), method, path)

    return handle


def _route(provider: str, find: FindSettings, method: Method, path: str) -> Route:
    return Route(
        method=method,
        path=f"/v1/{provider}/v1/{path}",
        name=f"{provider}_{method.lower()}_{path.replace('/', '_').replace('{', '').replace('}', '')}",
        summary=f"{method} passed on to {provider}",
        tag="passed on",
        handler=_handler(find, method, path),
        answer=None,
        raw=True,
        body_bytes_max=FORWARDED_BYTES_MAX,
        refusals=(400, 503),
    )


PATHS: tuple[tuple[Method, str], ...] = (
    ("POST", "messages"),
    *((method, path) for path in ("{endpoint}", "{endpoint}/{part}", "{endpoint}/{part}/{rest}") for method in METHODS),
)
ROUTES = tuple(
    _route(provider, find, method, path)
    for provider, find in (("anthropic", anthropic_settings), ("zai", zai_settings))
    for method, path in PATHS
)
