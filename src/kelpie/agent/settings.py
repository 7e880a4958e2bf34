"""The settings of a thread: the agent's, and over them what its conversation has of its own."""

import msgspec

from kelpie.agent.state import AGENTS, CONVERSATIONS, AgentSettings, Conversation
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.storage.records import Records


async def read_settings(records: Records, thread: Thread) -> AgentSettings:
    """As they are now. Raises NotFound when the agent or the conversation is gone."""
    if thread.conversation_id is None:
        found = await records.get(AGENTS.at(thread.agent_id))
        if found is None:
            raise thread_not_found(thread.agent_id)
        return found.value
    agent, own = await records.get_two(AGENTS.at(thread.agent_id), CONVERSATIONS.at(thread.conversation_id))
    if agent is None or own is None:
        raise thread_not_found(thread.id)
    assert own.value.agent_id == agent.value.id
    return overlay(agent.value, own.value)


def overlay(settings: AgentSettings, own: Conversation) -> AgentSettings:
    """The agent's settings as this conversation has them: its model and how it is asked, its blocks over others."""
    blocks = {ref.label: ref for ref in own.blocks}
    return msgspec.structs.replace(
        settings,
        model=own.model or settings.model,
        context_window_tokens=own.context_window_tokens or settings.context_window_tokens,
        sampling=settings.sampling if own.sampling is None else own.sampling,
        blocks=tuple(blocks.get(ref.label, ref) for ref in settings.blocks),
    )
