"""When the window cannot be read the agent wakes up with an empty one, instead of not waking up."""

import asyncio

import msgspec

from kelpie.agent.owner import ThreadOwner
from kelpie.agent.state import STATES
from kelpie.errors import StoreDown, Unavailable
from kelpie.storage.records import Found
from kelpie_sim.canaries.plant import Canary, replaced

load = ThreadOwner.load
ATTEMPTS_MAX = 20


async def load_or_forget(self: ThreadOwner) -> None:
    """As ThreadOwner.load, but a read that fails is taken for an empty window."""
    try:
        await load(self)
    except Unavailable:
        for _ in range(ATTEMPTS_MAX):
            try:
                return await forget(self)
            except Unavailable:
                await asyncio.sleep(0.1)
        raise StoreDown("even the canary cannot read") from None


async def forget(self: ThreadOwner) -> None:
    """The state as it is, without its window."""
    found = await self._records.get(STATES.at(self._id))
    assert found is not None
    if found.value.turn is not None:
        raise StoreDown("the canary forgets between turns only")
    state = msgspec.structs.replace(found.value, window=found.value.window[:1])
    self._window = await self._history.get_many(self._id, [0])
    self._found = Found(found.key, state, found.version)


CANARY = Canary(
    name="default_state",
    breaks="a failed load fails the activation",
    workload="compaction",
    checkers=("no_lost_turn",),
    plants=(replaced(ThreadOwner, "load", load_or_forget),),
)
