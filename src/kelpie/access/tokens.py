"""Tokens for programs that may only do a few things with a few agents, for instance a page in somebody's browser.

A token is looked up by its hash; the text itself is kept sealed, because it is shown again in lists. Whoever presents
one is held to what it grants, and to its time.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from kelpie.access.vault import Vault
from kelpie.errors import InvalidInput, LimitExceeded, NotAuthenticated, NotFound
from kelpie.ids import AgentId
from kelpie.limits import ACCESS_TOKENS_MAX, TOKEN_GRANTS_MAX, TOKEN_HOSTNAME_CHARS_MAX, TOKEN_LIFE_MS_DEFAULT
from kelpie.storage.collection import Collection, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Records, Space
from kelpie.world import World

PREFIX = "kelpie-token-"
SECRET_BYTES = 32
Access = Literal["read_messages", "write_messages", "read_agent", "write_agent"]


class Grant(Struct, frozen=True, kw_only=True):
    """What may be done with one agent."""

    agent_id: AgentId
    access: tuple[Access, ...]


class AccessToken(Listed, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A token. Its id is the SHA-256 of its text, which is sealed for that id."""

    sealed: str
    hostname: str
    grants: tuple[Grant, ...]
    expires_at_us: int


TOKENS = Space("access_token", AccessToken)  # at(sha256 of the text)


class AccessTokens:
    """The tokens in the store."""

    def __init__(self, records: Records, world: World, vault: Vault) -> None:
        self._world = world
        self._vault = vault
        self._tokens: Collection[AccessToken] = Collection(records, world.entropy, TOKENS, "Access token")

    async def create(self, hostname: str, grants: Sequence[Grant], expires_at_us: int | None) -> AccessToken:
        """A new token; TOKEN_LIFE_MS_DEFAULT when no end is given. Raises InvalidInput, LimitExceeded."""
        now_us = self._world.wall.now_us()
        end_us = now_us + TOKEN_LIFE_MS_DEFAULT * 1_000 if expires_at_us is None else expires_at_us
        _check(hostname, grants, end_us, now_us)
        if await self._tokens.count() >= ACCESS_TOKENS_MAX:
            await self._sweep(now_us)
        secret = base64.urlsafe_b64encode(self._world.entropy.take_bytes(SECRET_BYTES)).decode().rstrip("=")
        text = f"{PREFIX}{secret}"
        token = AccessToken(
            id=_hash(text),
            created_at_us=now_us,
            sealed=self._vault.seal(text, _hash(text)),
            hostname=hostname,
            grants=tuple(grants),
            expires_at_us=end_us,
        )
        assert self.text(token) == text
        assert token.expires_at_us > now_us
        return await self._tokens.create(token)

    async def list(self, agent_id: str | None, *, offset: int, limit: int) -> tuple[list[AccessToken], bool]:
        """Tokens that have not ended, the newest first; and whether there are more."""
        now_us = self._world.wall.now_us()

        def is_wanted(token: AccessToken) -> bool:
            about = agent_id is None or any(grant.agent_id == agent_id for grant in token.grants)
            return about and token.expires_at_us > now_us

        found = await self._tokens.page(Page(limit=offset + limit + 1), is_wanted)
        return found[offset : offset + limit], len(found) > offset + limit

    async def delete(self, text: str) -> None:
        """From now on it is worth nothing. Raises NotFound."""
        try:
            await self._tokens.delete(_hash(text))
        except NotFound:
            raise NotFound("Access token not found") from None

    async def admit(self, text: str) -> AccessToken:
        """The token of that text. Raises NotAuthenticated: there is none, or its time is over."""
        try:
            token = (await self._tokens.get(_hash(text))).value
        except NotFound:
            raise NotAuthenticated("the access token is not known; it was deleted, or never made") from None
        if token.expires_at_us <= self._world.wall.now_us():
            raise NotAuthenticated("the access token has expired")
        return token

    def text(self, token: AccessToken) -> str:
        """Its text. Raises SecretUnreadable."""
        return self._vault.open(token.sealed, token.id)

    async def _sweep(self, now_us: int) -> None:
        """Remove those whose time is over. Raises LimitExceeded when there are none."""
        over = await self._tokens.page(Page(limit=100, newest_first=False), lambda one: one.expires_at_us <= now_us)
        for token in over:
            await self._tokens.delete(token.id)
        if not over:
            raise LimitExceeded(
                f"there are {ACCESS_TOKENS_MAX} access tokens", limit="ACCESS_TOKENS_MAX", maximum=ACCESS_TOKENS_MAX
            )


def _check(hostname: str, grants: Sequence[Grant], end_us: int, now_us: int) -> None:
    if not hostname.startswith(("http://", "https://")) or len(hostname) > TOKEN_HOSTNAME_CHARS_MAX:
        raise InvalidInput("hostname: the full URL of the application, with its protocol", field="hostname")
    if not 0 < len(grants) <= TOKEN_GRANTS_MAX:
        raise InvalidInput(f"policy: a token is for 1 to {TOKEN_GRANTS_MAX} agents", field="policy")
    if end_us <= now_us:
        raise InvalidInput("expires_at: a token's end is in the future", field="expires_at")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
