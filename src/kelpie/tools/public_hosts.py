"""Which addresses a server may be made to talk to: public ones, and those that its operator named.

Whoever can make tools or name tool servers could otherwise use this process to reach what only it can reach: other
services of the machine, of its network, or a cloud's metadata service. A name is resolved once, every address that it
has must be allowed, and the connection goes to the address that was looked at, so that a name which is pointed
elsewhere meanwhile leads nowhere. Redirects are requests like any other and are looked at in the same way.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence

import httpx2
from msgspec import Struct

from kelpie.errors import InvalidInput

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host and a port; gives the addresses it has. Raises OSError."""


class HostPolicy(Struct, frozen=True, kw_only=True):
    """Public addresses may be reached; others if they are loopback and `loopback` says so, or `allowed` names them.

    `allowed` holds host names and addresses, with or without a port, in lower case.
    """

    allowed: frozenset[str] = frozenset()
    loopback: bool = False

    def admits_name(self, host: str, port: int) -> bool:
        """Whether the operator named this host, by itself or with this port."""
        lowered = host.lower()
        return bool(self.allowed & {lowered, f"{lowered}:{port}", f"[{lowered}]:{port}"})

    def admits_address(self, address: str) -> bool:
        """Whether this address, not a name, may be reached."""
        parsed = ipaddress.ip_address(address)
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        if mapped.is_loopback:
            return self.loopback or str(mapped) in self.allowed
        return (mapped.is_global and not mapped.is_multicast) or str(mapped) in self.allowed

    def check_url(self, text: str) -> None:
        """Refuse what can be refused without asking a name server. Raises InvalidInput."""
        url = _parsed(text)
        if self.admits_name(url.host, _port(url)):
            return
        address = "127.0.0.1" if url.host.lower() == "localhost" else url.host
        try:
            admitted = self.admits_address(address)
        except ValueError:
            return  # a name: its addresses are looked at when it is connected to
        if not admitted:
            raise InvalidInput(f"Non-public IP not allowed: {address}", field="server_url")


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to admitted addresses only; others fail with httpx2.ConnectError."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, policy: HostPolicy, resolve: Resolve) -> None:
        self._inner = inner
        self._policy = policy
        self._resolve = resolve

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it, to the address that was looked at."""
        host, port = request.url.host, _port(request.url)
        if not self._policy.admits_name(host, port):
            address = await self._admitted(request, host, port)
            request.extensions = {**request.extensions, "sni_hostname": host}
            request.url = request.url.copy_with(host=address)  # the Host header stands already
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

    async def _admitted(self, request: httpx2.Request, host: str, port: int) -> str:
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpx2.ConnectError(f"'{host}' cannot be resolved: {error}", request=request) from error
        refused = [address for address in addresses if not self._policy.admits_address(address)]
        if refused or not addresses:
            sentence = f"'{host}' has the address {', '.join(refused) or 'of nobody'}, which is not public"
            raise httpx2.ConnectError(f"{sentence} and not in KELPIE_ALLOWED_TARGETS", request=request)
        return addresses[0]


async def resolve_host(host: str, port: int) -> list[str]:
    """The addresses of a host, by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)  # 1: a stream
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _parsed(text: str) -> httpx2.URL:
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise InvalidInput(f"'{text[:200]}' is not a URL: {error}", field="server_url") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise InvalidInput(f"'{text[:200]}' is not an http(s) URL", field="server_url")
    return url


def _port(url: httpx2.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
