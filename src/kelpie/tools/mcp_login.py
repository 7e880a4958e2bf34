"""Logging in to tool servers that want OAuth: a person is asked once, and what that gave is kept, sealed, by URL.

A login is begun by whoever connects with a person at hand: the connection asks for a URL to be visited, the person's
browser comes back to this server with a code under the state that the URL carried, and the connection goes on. Later
connections use and renew what was kept; when that no longer works, they fail with LoginNeeded instead of asking.
"""

import asyncio
import hashlib
from urllib.parse import parse_qs, urlsplit

from msgspec import Struct

from kelpie.access.vault import Vault
from kelpie.errors import Busy, LoginNeeded, NotFound
from kelpie.limits import MCP_CONNECT_MS, MCP_LOGIN_MS, MCP_LOGINS_MAX, RETRY_AFTER_MS
from kelpie.storage.records import Batch, Records, Space

CALLBACK = "callback"


class Kept(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A text of a login: tokens, how this server registered itself, where it is called back."""

    sealed: str


LOGINS = Space("mcp_login", Kept, large=True)  # at(sha256 of the URL, name)


class Logins:
    """What logins gave, and the logins that are under way on this node."""

    def __init__(self, records: Records, vault: Vault) -> None:
        self._records = records
        self._vault = vault
        self._asked: dict[str, asyncio.Future[tuple[str, str | None]]] = {}

    async def stored(self, url: str) -> "StoredLogin | None":
        """The login at that URL, if there was one."""
        callback = await self.load(url, CALLBACK)
        return None if callback is None else StoredLogin(self, url, callback)

    async def begin(self, url: str, callback_url: str) -> "PersonLogin":
        """A login with a person at hand. Raises Busy when too many are under way."""
        if len(self._asked) >= MCP_LOGINS_MAX:
            raise Busy(f"{MCP_LOGINS_MAX} logins are under way (MCP_LOGINS_MAX)", retry_after_ms=RETRY_AFTER_MS)
        return PersonLogin(self, url, callback_url)

    def finish(self, state: str, code: str | None, error: str | None) -> None:
        """The person's browser came back. Raises NotFound: nobody waits for that state."""
        waiting = self._asked.pop(state, None)
        if waiting is None or waiting.done():
            raise NotFound("no login is under way with that state; begin again")
        if code is None:
            waiting.set_exception(LoginNeeded(f"the login was refused: {(error or 'no code was given')[:300]}"))
            waiting.exception()  # nobody may be waiting any more
        else:
            waiting.set_result((code, state))

    async def load(self, url: str, name: str) -> str | None:
        """A kept text. Raises SecretUnreadable."""
        found = await self._records.get(LOGINS.at(_hash(url), name))
        return None if found is None else self._vault.open(found.value.sealed, url)

    async def save(self, url: str, texts: dict[str, str]) -> None:
        """Keep texts by name, in one commit."""
        batch = Batch()
        for name, text in texts.items():
            batch.put(LOGINS.at(_hash(url), name), Kept(sealed=self._vault.seal(text, url)))
        await self._records.commit(batch)

    def forget(self, batch: Batch, url: str) -> None:
        """Forget the login at that URL, in the caller's commit."""
        batch.delete_below(LOGINS, _hash(url))

    def expect(self, state: str) -> "asyncio.Future[tuple[str, str | None]]":
        """What will come back under that state."""
        assert state not in self._asked, "states are random"
        waiting: asyncio.Future[tuple[str, str | None]] = asyncio.get_running_loop().create_future()
        self._asked[state] = waiting
        return waiting

    def give_up(self, state: str) -> None:
        """Nobody waits for it any more."""
        self._asked.pop(state, None)


class StoredLogin:
    """Uses what was kept, and asks nobody. Implements `mcp_wire.Login`."""

    def __init__(self, logins: Logins, url: str, callback_url: str) -> None:
        self._logins = logins
        self._url = url
        self.callback_url = callback_url

    @property
    def wait_ms_max(self) -> int:
        """How long connecting may take."""
        return MCP_CONNECT_MS

    async def ask(self, url: str) -> None:
        """Nobody is at hand."""
        raise LoginNeeded("the tool server wants a person to log in again: connect to it once more")

    async def answered(self) -> tuple[str, str | None]:
        """Nothing was asked."""
        raise LoginNeeded("nobody was asked to log in")

    async def load(self, name: str) -> str | None:
        """What was kept."""
        return await self._logins.load(self._url, name)

    async def save(self, name: str, text: str) -> None:
        """Keep it, and where this server is called back."""
        await self._logins.save(self._url, {name: text, CALLBACK: self.callback_url})


class PersonLogin(StoredLogin):
    """Asks a person, by way of whoever reads `url_to_visit`."""

    def __init__(self, logins: Logins, url: str, callback_url: str) -> None:
        super().__init__(logins, url, callback_url)
        self.url_to_visit: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.state = ""
        self._answer: asyncio.Future[tuple[str, str | None]] | None = None

    @property
    def wait_ms_max(self) -> int:
        """How long connecting may take, the person's part included."""
        return MCP_LOGIN_MS

    async def ask(self, url: str) -> None:
        """Have the person visit `url`."""
        states = parse_qs(urlsplit(url).query).get("state", [""])
        if not states[0] or self.url_to_visit.done():
            raise LoginNeeded("the tool server's login page asks in a way that this server does not know")
        self.state = states[0]
        self._answer = self._logins.expect(self.state)
        self.url_to_visit.set_result(url)

    async def answered(self) -> tuple[str, str | None]:
        """The code and the state that the person's browser brought back."""
        assert self._answer is not None, "asked first"
        try:
            return await self._answer
        finally:
            self._logins.give_up(self.state)


def _hash(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()
