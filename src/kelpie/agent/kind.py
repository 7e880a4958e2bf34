"""Makes threads of agents, and errands, for the activations of a node: what floor 3 asks of floor 5."""

from collections.abc import Callable
from typing import Any

from kelpie.actor.activation import Actor
from kelpie.actor.call import ActorAddress
from kelpie.actor.tenure import Tenure
from kelpie.agent.actor import AgentActor
from kelpie.agent.performer import Performer
from kelpie.agent.state import STATES
from kelpie.agent.thread import thread_not_found
from kelpie.errors import NotFound
from kelpie.ids import ThreadId
from kelpie.storage.records import Records, Space


class AgentKind:
    """Threads of agents. Implements `actor.activation.ActorKind`."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer

    async def check(self, address: ActorAddress) -> None:
        """Raises NotFound if no thread has that id."""
        if await self._performer.records.get(STATES.at(address)) is None:
            raise thread_not_found(ThreadId(address))

    def make(self, tenure: Tenure, *, blamed: bool) -> AgentActor:
        """A thread, not yet loaded."""
        return AgentActor(tenure, self._performer, blamed=blamed)


class ErrandKind:
    """Errands of one kind, whose states are in `space`."""

    def __init__(self, records: Records, space: Space[Any], title: str, make: Callable[[Tenure], Actor]) -> None:
        self._records = records
        self._space = space
        self._title = title
        self._make = make

    async def check(self, address: ActorAddress) -> None:
        """Raises NotFound if there is none of that id."""
        if await self._records.get(self._space.at(address)) is None:
            raise NotFound(f"{self._title} with id '{address}' not found", id=address)

    def make(self, tenure: Tenure, *, blamed: bool) -> Actor:
        """One of them, not yet loaded."""
        return self._make(tenure)
