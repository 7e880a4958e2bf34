"""Makes the threads of agents for the activations of a node: what floor 3 asks of floor 5."""

from kelpie.actor.call import ActorAddress
from kelpie.actor.tenure import Tenure
from kelpie.agent.actor import AgentActor
from kelpie.agent.performer import Performer
from kelpie.agent.state import STATES
from kelpie.agent.thread import thread_not_found
from kelpie.ids import ThreadId


class AgentKind:
    """Implements `actor.activation.ActorKind`."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer

    async def check(self, address: ActorAddress) -> None:
        """Raises NotFound if no thread has that id."""
        if await self._performer.records.get(STATES.at(address)) is None:
            raise thread_not_found(ThreadId(address))

    def make(self, tenure: Tenure, *, blamed: bool) -> AgentActor:
        """A thread, not yet loaded."""
        return AgentActor(tenure, self._performer, blamed=blamed)
