"""The one door to actors: a call goes in, a reply or a typed error comes out, by the call's deadline.

A call whose activation is lost under it is made again, here and not by the client: actors recognise a body
that they have seen. On a node of a cluster a call for an actor held elsewhere is refused with NotOwner, which
names the owner.
"""

import asyncio

from msgspec import Struct

from kelpie.actor.call import Call, check_call
from kelpie.actor.host import Host
from kelpie.errors import ActivationLost, CallTimedOut, Conflict, StoreDown, Unavailable
from kelpie.limits import CALL_ATTEMPT_MS, CALL_ATTEMPTS_MAX


class Router:
    """Delivers calls to the actors of this node."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def call(self, call: Call) -> Struct:
        """The reply. Raises CallCycle, LimitExceeded, NotFound, NotOwner, Busy, Draining, CallTimedOut, ..."""
        loop = asyncio.get_running_loop()
        check_call(call, int(loop.time() * 1000))
        try:
            async with asyncio.timeout_at(call.deadline_ms / 1000):
                return await self._attempts(call)
        except TimeoutError:
            raise CallTimedOut(f"'{call.target}' did not answer before the deadline") from None

    async def _attempts(self, call: Call) -> Struct:
        """Once an attempt was lost in the middle, what later ones say of themselves is not the whole truth."""
        lost: ActivationLost | None = None
        for attempt in range(CALL_ATTEMPTS_MAX):
            try:
                return await self._host.deliver(call)
            except ActivationLost as error:
                lost = error
            except Unavailable as error:
                if not isinstance(error, Conflict | StoreDown) or attempt == CALL_ATTEMPTS_MAX - 1:
                    if lost is None:
                        raise
                    raise lost from error
            if attempt < CALL_ATTEMPTS_MAX - 1:
                await asyncio.sleep(CALL_ATTEMPT_MS * 2**attempt / 1000)
        assert lost is not None, "the last attempt was lost"
        raise lost
