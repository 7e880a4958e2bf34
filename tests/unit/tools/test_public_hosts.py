"""What is not public is not reached, by no name and on no detour, unless the operator said so."""

import httpx2
import pytest

from kelpie.errors import InvalidInput
from kelpie.tools.public_hosts import GuardedTransport, HostPolicy

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"
STRICT = HostPolicy()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.7", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "::1", "fd00::1", "fe80::1",
     "::ffff:127.0.0.1", "::ffff:10.0.0.7", "224.0.0.1", "100.64.0.1", "localhost"],
)  # fmt: skip
def test_what_is_not_public_is_refused_at_once(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(InvalidInput, match="Non-public IP not allowed"):
        STRICT.check_url(f"http://{host}/mcp")


@pytest.mark.parametrize(
    "url", ["http://93.184.216.34/", "https://[2606:4700::1111]:8443/x", "https://example.com/mcp"]
)
def test_public_addresses_and_names_pass_the_first_look(url: str) -> None:
    STRICT.check_url(url)


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com/mcp", "http://", "file:///etc/passwd"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        HostPolicy(loopback=True).check_url(url)


def test_the_operator_may_allow_loopback_an_address_or_a_name_with_its_port() -> None:
    HostPolicy(loopback=True).check_url("http://localhost:9000/mcp")
    HostPolicy(allowed=frozenset({"10.0.0.7"})).check_url("http://10.0.0.7:9000/mcp")
    policy = HostPolicy(allowed=frozenset({"localhost:9000", "[::1]:9000"}))
    policy.check_url("http://LOCALHOST:9000/mcp")
    policy.check_url("http://[::1]:9000/mcp")
    for url in ("http://localhost:9001/mcp", "http://127.0.0.1:9000/mcp", "http://10.0.0.7/"):
        with pytest.raises(InvalidInput):
            policy.check_url(url)


def test_a_request_goes_to_the_address_that_was_looked_at(run) -> None:
    """The name stays in the Host header and for TLS; nothing is resolved again."""
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200)

    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("example.com", 443)
        return [PUBLIC]

    async def play() -> None:
        transport = GuardedTransport(httpx2.MockTransport(answer), STRICT, resolve)
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get("https://example.com/x")

    run(play())
    assert [str(one.url) for one in sent] == [f"https://{PUBLIC}/x"]
    assert (sent[0].headers["host"], sent[0].extensions["sni_hostname"]) == ("example.com", "example.com")


def test_a_name_with_any_private_address_leads_nowhere_also_by_redirect(run) -> None:
    addresses = {"good.example": [PUBLIC], "bad.example": [PUBLIC, PRIVATE], "none.example": []}

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(302, headers={"location": "http://bad.example/"})

    async def resolve(host: str, port: int) -> list[str]:
        if host not in addresses:
            raise OSError("no such name")
        return addresses[host]

    async def play() -> None:
        transport = GuardedTransport(httpx2.MockTransport(answer), STRICT, resolve)
        async with httpx2.AsyncClient(transport=transport, follow_redirects=True) as client:
            for host in ("bad.example", "good.example", "none.example", "unknown.example"):
                with pytest.raises(httpx2.ConnectError):
                    await client.get(f"http://{host}/")

    run(play())
