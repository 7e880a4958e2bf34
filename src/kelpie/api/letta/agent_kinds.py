"""The agent types, as settings of the one loop: which tools each begins with, how it speaks, which rules it has.

Older types speak with the tool `send_message`, and say with each call whether they want a further step; what such an
agent writes beside its calls is said to itself. The newer ones simply write, and their turn ends with a reply that
calls no tool. Nothing else depends on the type.
"""

from typing import Literal, get_args

from msgspec import Struct

from kelpie.agent.rules import EndRule, GoOnRule, ToolRule

AgentKind = Literal[
    "memgpt_agent",
    "memgpt_v2_agent",
    "letta_v1_agent",
    "react_agent",
    "workflow_agent",
    "split_thread_agent",
    "sleeptime_agent",
    "voice_convo_agent",
    "voice_sleeptime_agent",
]
SPEAK = "send_message"
ENDING_TOOLS = ("send_message", "memory_finish_edits", "finish_rethinking_memory", "send_message_to_agent_async")
GOING_ON_TOOLS = (
    "conversation_search",
    "archival_memory_insert",
    "archival_memory_search",
    "core_memory_append",
    "core_memory_replace",
    "memory",
    "memory_apply_patch",
    "memory_insert",
    "memory_replace",
    "memory_rethink",
)


class KindFacts(Struct, frozen=True, kw_only=True):
    """What a type is. `speaks_with` and `heartbeats` as in an agent's settings; `ruled`: its tools bring rules.
    `forgets`: its window is emptied after each turn, whatever is asked for."""

    tools: tuple[str, ...] = ()
    speaks_with: str | None = None
    heartbeats: bool = False
    ruled: bool = False
    forgets: bool = False


_OLDER_TOOLS = (
    SPEAK,
    "conversation_search",
    "core_memory_append",
    "core_memory_replace",
    "memory",
    "memory_apply_patch",
)
KINDS: dict[AgentKind, KindFacts] = {
    "letta_v1_agent": KindFacts(tools=("memory_replace", "memory_insert", "conversation_search")),
    "memgpt_v2_agent": KindFacts(
        tools=("memory_insert", "conversation_search", "memory_replace", SPEAK),
        speaks_with=SPEAK,
        heartbeats=True,
        ruled=True,
    ),
    "memgpt_agent": KindFacts(tools=_OLDER_TOOLS, speaks_with=SPEAK, heartbeats=True, ruled=True),
    "split_thread_agent": KindFacts(tools=_OLDER_TOOLS, speaks_with=SPEAK, heartbeats=True, ruled=True),
    "react_agent": KindFacts(),
    "workflow_agent": KindFacts(forgets=True),
    "sleeptime_agent": KindFacts(
        tools=("memory_replace", "memory_insert", "memory_rethink", "memory_finish_edits"), ruled=True
    ),
    "voice_convo_agent": KindFacts(tools=(SPEAK, "search_memory"), speaks_with=SPEAK, ruled=True),
    "voice_sleeptime_agent": KindFacts(tools=("rethink_user_memory", "finish_rethinking_memory", "store_memories")),
}
assert set(KINDS) == set(get_args(AgentKind))


def tool_rules() -> tuple[ToolRule, ...]:
    """The rules that tools of this server bring with them, for agents that have both."""
    ends = [EndRule(tool=tool) for tool in ENDING_TOOLS]
    return (*ends, *[GoOnRule(tool=tool) for tool in GOING_ON_TOOLS])
