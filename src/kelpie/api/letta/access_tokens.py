"""Tokens for programs of clients: made, listed, deleted. What each permits is checked by `api/token_gate.py`."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from kelpie.access.tokens import Access, AccessToken, AccessTokens, Grant
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.values import micros_date
from kelpie.api.route import Ask, Route
from kelpie.ids import UUID_PATTERN, AgentId
from kelpie.limits import PAGE_ROWS_MAX

LIMIT_DEFAULT = 10
OFFSET_MAX = PAGE_ROWS_MAX // 2
AgentIdIn = Annotated[str, Meta(pattern=f"^agent-{UUID_PATTERN}$")]


class GrantShape(Struct, frozen=True, kw_only=True):
    """What may be done with one agent."""

    id: AgentIdIn
    access: list[Access]
    type: Literal["agent"] = "agent"


class TokenIn(Struct, frozen=True, kw_only=True):
    """A token to be made."""

    hostname: str
    policy: list[GrantShape]
    expires_at: str | None = None


class PolicyOut(Struct, frozen=True, kw_only=True):
    """What a token permits."""

    data: list[GrantShape]
    version: Literal["1"] = "1"


class TokenOut(Struct, frozen=True, kw_only=True, rename="camel"):
    """A token."""

    token: str
    expires_at: str
    hostname: str
    policy: PolicyOut


class TokensOut(Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of tokens."""

    tokens: list[TokenOut]
    has_next_page: bool


class ListTokens(Struct, frozen=True, kw_only=True, rename={"agent_id": "agentId"}):
    """Which page of the tokens."""

    agent_id: str | None = None
    limit: Annotated[float, Meta(ge=1, le=OFFSET_MAX - 1)] = LIMIT_DEFAULT
    offset: Annotated[float, Meta(ge=0, le=OFFSET_MAX)] = 0


async def create_token(house: House, ask: Ask[None, TokenIn]) -> TokenOut:
    """A new token. Every agent that it names must be there."""
    grants = [Grant(agent_id=AgentId(one.id), access=tuple(one.access)) for one in ask.body.policy]
    for grant in grants:
        await house.roster.get_settings(grant.agent_id)
    return show(house.tokens, await house.tokens.create(ask.body.hostname, grants, _moment(ask.body.expires_at)))


async def list_tokens(house: House, ask: Ask[ListTokens, None]) -> TokensOut:
    """A page of the tokens that have not ended."""
    query = ask.query
    found, more = await house.tokens.list(query.agent_id, offset=int(query.offset), limit=int(query.limit))
    return TokensOut(tokens=[show(house.tokens, token) for token in found], has_next_page=more)


async def delete_token(house: House, ask: Ask[None, None]) -> dict[str, str]:
    """A token is worth nothing any more."""
    await house.tokens.delete(ask.path["token"])
    return {}


def show(tokens: AccessTokens, token: AccessToken) -> TokenOut:
    """A token as the wire shows it."""
    return TokenOut(
        token=tokens.text(token),
        expires_at=micros_date(token.expires_at_us),
        hostname=token.hostname,
        policy=PolicyOut(data=[GrantShape(id=one.agent_id, access=list(one.access)) for one in token.grants]),
    )


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Malformed(f"'{text[:40]}' is no ISO 8601 date", place=("body", "expires_at")) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


ROUTES = (
    Route(
        method="POST",
        path="/v1/client-side-access-tokens",
        name="create_client_side_access_token",
        summary="Make a token that permits a few things with a few agents",
        tag="access tokens",
        handler=create_token,
        body=TokenIn,
        answer=TokenOut,
        status=201,
        refusals=(400, 404),
    ),
    Route(
        method="GET",
        path="/v1/client-side-access-tokens",
        name="list_client_side_access_tokens",
        summary="List access tokens",
        tag="access tokens",
        handler=list_tokens,
        query=ListTokens,
        answer=TokensOut,
    ),
    Route(
        method="DELETE",
        path="/v1/client-side-access-tokens/{token}",
        name="delete_client_side_access_token",
        summary="Delete an access token",
        tag="access tokens",
        handler=delete_token,
        answer=dict[str, str],
        refusals=(404,),
    ),
)
