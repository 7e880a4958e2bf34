"""Goal: programs and local pages are served; a foreign page, and a foreign name that points here, are not."""

import asyncio

import pytest

from kelpie.api.host_guard import LOOPBACK_NAMES, HostGuard, names_allowed, refusal

LOCAL = names_allowed("", loopback=True)


@pytest.mark.parametrize(
    ("host", "origin", "served"),
    [
        ("127.0.0.1:8283", None, True),
        ("localhost:8283", None, True),
        ("[::1]:8283", None, True),
        ("", None, True),
        ("evil.example:8283", None, False),
        ("127.0.0.1.evil.example", None, False),
        ("127.0.0.1:8283", "http://127.0.0.1:8283", True),
        ("127.0.0.1:8283", "http://localhost:3000", True),
        ("127.0.0.1:8283", "http://app.localhost:3000", True),
        ("127.0.0.1:8283", "https://evil.example", False),
        ("127.0.0.1:8283", "null", False),
        ("127.0.0.1:8283", "http://[", False),
        ("evil.example", "http://evil.example", False),
    ],
)
def test_a_loopback_server_is_addressed_by_loopback_names_and_by_no_foreign_page(
    host: str, origin: str | None, served: bool
) -> None:
    assert (refusal(host.encode(), None if origin is None else origin.encode(), LOCAL) is None) == served


def test_names_that_were_allowed_are_served_and_a_remote_server_takes_every_host_but_not_every_page() -> None:
    allowed = names_allowed("Kelpie.example, other.example", loopback=True)
    assert allowed == LOOPBACK_NAMES | {"kelpie.example", "other.example"}
    assert refusal(b"kelpie.example", None, allowed) is None
    anywhere = names_allowed("", loopback=False)
    assert anywhere is None
    assert refusal(b"kelpie.example", None, anywhere) is None
    assert refusal(b"kelpie.example", b"https://kelpie.example", anywhere) is None
    assert refusal(b"kelpie.example", b"https://evil.example", anywhere) is not None


def test_a_refused_request_does_not_reach_the_application() -> None:
    reached: list[object] = []
    sent: list[dict[str, object]] = []

    async def app(scope: object, receive: object, send: object) -> None:
        reached.append(scope)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        raise AssertionError("nothing is read of a refused request")

    guard = HostGuard(app, LOCAL)
    bad = {"type": "http", "headers": [(b"host", b"localhost"), (b"origin", b"https://evil.example")]}
    asyncio.run(guard(bad, receive, send))
    assert (reached, sent[0]["status"]) == ([], 403)
    good = {"type": "http", "headers": [(b"host", b"localhost")]}
    asyncio.run(guard(good, receive, send))
    assert reached == [good]
