"""What may be asked of an errand, wherever it is."""

import asyncio

from msgspec import Struct

from kelpie.actor.call import ActorAddress, Call
from kelpie.actor.router import Router
from kelpie.limits import REQUEST_DEADLINE_MS


class ErrandDoor:
    """Asks errands."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def ask(self, errand_id: str, body: Struct) -> Struct:
        """Its reply, which it gives between any two of its steps. Raises NotFound, and what the errand refuses."""
        assert errand_id
        now_ms = int(asyncio.get_running_loop().time() * 1000)
        deadline_ms = now_ms + REQUEST_DEADLINE_MS
        address = ActorAddress(errand_id)
        return await self._router.call(Call(target=address, lane="control", body=body, deadline_ms=deadline_ms))
