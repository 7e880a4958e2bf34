"""The web as tools see it: the seam, and its real part. Only public addresses are asked, and those that are allowed."""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import httpx2
from msgspec import Struct

from kelpie.errors import InvalidInput, ToolServerUnavailable
from kelpie.limits import WEB_CONNECT_MS, WEB_PAGE_BYTES_MAX, WEB_PAGE_MS, WEB_REDIRECTS_MAX, WEB_URL_CHARS_MAX
from kelpie.tools.public_hosts import GuardedTransport, HostPolicy, resolve_host

AGENT_NAME = "kelpie (an AI agent's tool)"


class Page(Struct, frozen=True, kw_only=True):
    """What a server answered in the end; `url` is where redirects led."""

    url: str
    status: int
    content_type: str
    content: bytes


class Web(Protocol):
    """Asks web servers."""

    async def fetch(self, url: str) -> Page:
        """What is there. Raises InvalidInput (no URL, an address that is not allowed), ToolServerUnavailable."""
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Page:
        """What a server answers to this JSON. Raises as `fetch` does."""
        ...


class HttpWeb:
    """The web by HTTP. Each request has a connection of its own, a deadline, and a bound on what is read."""

    def __init__(self, policy: HostPolicy) -> None:
        self._policy = policy

    async def fetch(self, url: str) -> Page:
        """Get it, following redirects, each of which is looked at like the first address."""
        return await self._ask("GET", url, {"user-agent": AGENT_NAME, "accept": "text/html,*/*;q=0.8"}, None)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Page:
        """Post JSON."""
        return await self._ask("POST", url, {**headers, "content-type": "application/json"}, body)

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Page:
        if len(url) > WEB_URL_CHARS_MAX:
            raise InvalidInput(f"the URL has {len(url)} characters and may have {WEB_URL_CHARS_MAX}", field="url")
        self._policy.check_url(url)
        assert method in ("GET", "POST")
        assert (body is None) == (method == "GET")
        transport = GuardedTransport(httpx2.AsyncHTTPTransport(trust_env=False), self._policy, resolve_host)
        waits = httpx2.Timeout(WEB_PAGE_MS / 1_000, connect=WEB_CONNECT_MS / 1_000)
        client = httpx2.AsyncClient(
            transport=transport,
            headers=headers,
            timeout=waits,
            follow_redirects=True,
            max_redirects=WEB_REDIRECTS_MAX,
        )
        try:
            async with asyncio.timeout(WEB_PAGE_MS / 1_000), client:
                async with client.stream(method, url, content=body) as answer:
                    return await _read(answer)
        except TimeoutError:
            raise ToolServerUnavailable(f"{url} did not answer within {WEB_PAGE_MS // 1_000} s") from None
        except httpx2.UnsupportedProtocol as error:
            raise InvalidInput(f"{url} leads to what is no http(s) address: {error}", field="url") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ToolServerUnavailable(f"{url} cannot be fetched: {error or type(error).__name__}") from None


async def _read(answer: httpx2.Response) -> Page:
    """The answer, read no further than it may be."""
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > WEB_PAGE_BYTES_MAX:
            raise ToolServerUnavailable(f"{answer.url} has more than {WEB_PAGE_BYTES_MAX} bytes")
    return Page(
        url=str(answer.url),
        status=answer.status_code,
        content_type=answer.headers.get("content-type", ""),
        content=bytes(content),
    )
