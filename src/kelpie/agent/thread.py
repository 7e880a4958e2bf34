"""A thread: one talk with an agent, and the address of the actor that keeps it.

An agent has a default thread, whose id is the agent's own, and any number of conversations. Each thread has its own
history, window, turn and queue; what the agent is, it is in all of them.
"""

from msgspec import Struct

from kelpie.errors import NotFound
from kelpie.ids import AgentId, AnyThreadId, ConversationId, ThreadId

_CONVERSATION = "conv-"


class Thread(Struct, frozen=True, kw_only=True):
    """Which talk of which agent."""

    agent_id: AgentId
    conversation_id: ConversationId | None = None  # None: the default thread

    @property
    def id(self) -> ThreadId:
        """Its address."""
        return ThreadId(self.conversation_id or self.agent_id)


def thread_not_found(thread_id: AnyThreadId) -> NotFound:
    """The error for a thread that is not there."""
    kind = "Conversation" if thread_id.startswith(_CONVERSATION) else "Agent"
    return NotFound(f"{kind} with id '{thread_id}' not found", id=thread_id)
