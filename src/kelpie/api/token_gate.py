"""What a client with an access token may ask for. Clients without one are not this room's business."""

from collections.abc import Mapping

from kelpie.access.tokens import PREFIX, Access, AccessTokens
from kelpie.api.route import Route
from kelpie.errors import Forbidden

_BEARER = f"Bearer {PREFIX}".encode()
_AGENT = "/v1/agents/{agent_id}"
_MESSAGES = f"{_AGENT}/messages"
_FREE = ("/v1/health/",)


class TokenGate:
    """Holds requests that carry an access token to what it grants."""

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens

    async def check(self, route: Route, path: Mapping[str, str], headers: Mapping[bytes, bytes]) -> None:
        """Raises NotAuthenticated, Forbidden; costs nothing without a token."""
        given = headers.get(b"authorization", b"")
        if not given.startswith(_BEARER):
            return
        token = await self._tokens.admit(given.decode("latin-1").removeprefix("Bearer "))
        if route.path in _FREE:
            return
        needed = access_needed(route)
        agent_id = path.get("agent_id")
        for grant in token.grants:
            if needed in grant.access and grant.agent_id == agent_id:
                return
        raise Forbidden("the access token does not permit this")


def access_needed(route: Route) -> Access | None:
    """What a token must grant for the agent that the path names; None: no token is enough."""
    if route.path.startswith(_MESSAGES):
        return "read_messages" if route.method == "GET" else "write_messages"
    if not route.path.startswith(_AGENT) or route.method == "DELETE":
        return None
    return "read_agent" if route.method == "GET" else "write_agent"
