"""Which thread a path or query speaks of: a conversation's id, `default` with its agent, or an agent's id alone."""

import re

from kelpie.agent.thread import Thread
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.errors import InvalidInput
from kelpie.ids import UUID_PATTERN, AgentId, ConversationId

DEFAULT = "default"
_CONVERSATION = re.compile(f"conv-{UUID_PATTERN}")
_AGENT = re.compile(f"agent-{UUID_PATTERN}")


async def read_thread(house: House, text: str, agent_id: str | None) -> Thread:
    """The thread. Raises Malformed (no id of either kind), InvalidInput (`default` of whom?), NotFound."""
    if text == DEFAULT:
        if agent_id is None:
            raise InvalidInput(f"agent_id is required when the conversation is '{DEFAULT}'", field="agent_id")
        text = agent_id
    if _CONVERSATION.fullmatch(text):
        return (await house.conversations.get(ConversationId(text))).conversation.thread
    if not _AGENT.fullmatch(text):
        raise not_a_conversation(text)
    settings = await house.roster.get_settings(AgentId(text))
    return Thread(agent_id=settings.id)


def read_conversation_id(text: str) -> ConversationId:
    """The id of a conversation, where nothing else will do. Raises Malformed."""
    if not _CONVERSATION.fullmatch(text):
        raise not_a_conversation(text)
    return ConversationId(text)


def not_a_conversation(text: str) -> Malformed:
    """The error for what can be no conversation's id."""
    return Malformed(
        f"String should match pattern '^conv-{UUID_PATTERN}$': '{text[:80]}' does not",
        place=("path", "conversation_id"),
        kind="string_pattern_mismatch",
    )
