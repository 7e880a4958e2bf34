"""Whom a browser may speak for. Pure decisions, and the few lines of ASGI that apply them.

A server on a loopback address is not reached by other machines, but it is by every page in a browser on this
one: a page may send requests to 127.0.0.1 (and names its own origin when it does), and a host name under its
owner's control may be made to point here, so that the browser takes us for that page's own server. Programs
send no Origin, and address us by the name that they were given; so both attacks can be told apart from use.
"""

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kelpie.api import errors
from kelpie.api.sse import Receive, Send
from kelpie.errors import Forbidden

REFUSALS_REMEMBERED = 256  # pairs of Host and Origin whose decision need not be made again
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

Scope = Mapping[str, Any]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class HostGuard:
    """Passes requests on to `app`, unless `refusal` says why not. `names` None: every Host is accepted."""

    def __init__(self, app: Asgi, names: frozenset[str] | None) -> None:
        self._app = app
        self._refusal = functools.lru_cache(REFUSALS_REMEMBERED)(functools.partial(refusal, names=names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of the ASGI server."""
        if scope["type"] == "http":
            host, origin = b"", None
            for name, value in scope["headers"]:
                if name == b"host":
                    host = value
                elif name == b"origin":
                    origin = value
            sentence = self._refusal(host, origin)
            if sentence is not None:
                await _refuse(send, Forbidden(sentence))
                return
        await self._app(scope, receive, send)


def names_allowed(text: str, *, loopback: bool) -> frozenset[str] | None:
    """The names by which a server may be addressed: `text` is comma-separated, and loopback names always count."""
    given = frozenset(name.strip().lower() for name in text.split(",") if name.strip())
    return LOOPBACK_NAMES | given if loopback or given else None


def refusal(host_header: bytes, origin_header: bytes | None, names: frozenset[str] | None) -> str | None:
    """Why a request with these headers is refused; None when it is not."""
    host = _name_in("//" + host_header.decode("latin-1"))
    if names is not None and host and host not in names and not host.endswith(".localhost"):
        return f"this server is not known as '{host[:100]}'; if it should be, add it to KELPIE_ALLOWED_HOSTS"
    if origin_header is None:
        return None
    origin = origin_header.decode("latin-1")
    asker = _name_in(origin)
    if asker and (asker == host or asker in (names or LOOPBACK_NAMES) or asker.endswith(".localhost")):
        return None
    return f"pages of '{origin[:100]}' may not use this server; if they should, add their host to KELPIE_ALLOWED_HOSTS"


def _name_in(address: str) -> str:
    """The host's name in an address; empty if there is none."""
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


async def _refuse(send: Send, error: Forbidden) -> None:
    body = errors.body_of(error)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += errors.headers_of(error)
    await send({"type": "http.response.start", "status": errors.status_of(error), "headers": headers})
    await send({"type": "http.response.body", "body": body})
