"""Connecting to a tool server with a person at hand, as a stream of what happens, a login page to visit included."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

from kelpie.api.letta.house import House
from kelpie.api.letta.mcp_shapes import show_offered
from kelpie.api.sse import EventStream, frame
from kelpie.errors import InvalidInput, KelpieError
from kelpie.tools.mcp_login import PersonLogin
from kelpie.tools.mcp_servers import Clear, McpServer

CALLBACK_PATH = "/v1/tools/mcp/oauth/callback"


async def connect_stream(
    house: House, headers: Mapping[bytes, bytes], name: str, clear: Clear, server: McpServer | None
) -> EventStream:
    """The attempt, what the person has to do, and the tools or the error. Raises InvalidInput."""
    if server is None:
        house.servers.check(clear)
    login = None
    if clear.url is not None and clear.token is None:
        login = await house.servers.logins.begin(clear.url, _callback_url(headers))
    return EventStream(_frames(house, name, clear, server, login))


async def _frames(
    house: House, name: str, clear: Clear, server: McpServer | None, login: PersonLogin | None
) -> AsyncGenerator[bytes, None]:
    yield frame({"event": "connection_attempt", "server_name": name})
    done: list[bytes] = []

    async def connect() -> None:
        try:
            if server is None:
                offered = await house.servers.probe(clear, login)
            else:
                offered = await house.servers.offered(server, login)
        except KelpieError as error:
            done.append(frame({"event": "error", "message": error.sentence}))
        else:
            done.append(frame({"event": "success", "tools": [show_offered(tool) for tool in offered]}))

    async with asyncio.TaskGroup() as group:
        connecting = group.create_task(connect(), name=f"connect {name}")
        if login is not None:
            await asyncio.wait([connecting, login.url_to_visit], return_when=asyncio.FIRST_COMPLETED)
            if login.url_to_visit.done():
                yield frame({"event": "oauth_required", "message": "OAuth authentication required"})
                url, state = login.url_to_visit.result(), login.state
                yield frame({"event": "authorization_url", "url": url, "session_id": state})
                yield frame({"event": "waiting_for_auth", "message": "Waiting for user authorization..."})
        await connecting
    yield done[0]


def _callback_url(headers: Mapping[bytes, bytes]) -> str:
    """Where a browser reaches this server: by the name under which it was just asked."""
    try:
        host = headers.get(b"host", b"").decode("ascii")
        scheme = headers.get(b"x-forwarded-proto", b"http").decode("ascii")
    except UnicodeDecodeError:
        host = scheme = ""
    if not host or scheme not in ("http", "https"):
        raise InvalidInput("the request does not say by which name this server is reached", field="host")
    return f"{scheme}://{host}{CALLBACK_PATH}"
