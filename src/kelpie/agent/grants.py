"""The tools that agents are given, and the rules that come with them."""

from collections.abc import Sequence

import msgspec

from kelpie.agent.drafts import AgentChanges, NewAgent, check_tool_count
from kelpie.agent.rules import ToolRule, rules_of, with_approval
from kelpie.agent.state import AgentSettings
from kelpie.errors import InvalidInput, NotFound
from kelpie.ids import ToolId
from kelpie.tools.tool import Tool
from kelpie.tools.toolbox import ToolCatalog


async def tools_of(
    catalog: ToolCatalog, ids: Sequence[ToolId], names: Sequence[str], optional_names: Sequence[str]
) -> tuple[ToolId, ...]:
    """The ids of these tools, each once. Raises NotFound, or InvalidInput naming the names that are none."""
    check_tool_count(len(ids) + len(names))
    known = {tool.id for tool in await catalog.present(ids)}
    for tool_id in ids:
        if tool_id not in known:
            await catalog.find(tool_id)
    named = await catalog.named((*names, *optional_names))
    missing = [name for name in names if name not in named]
    if missing:
        raise InvalidInput(f"Tools not found by name: {missing}", field="tools")
    return tuple(dict.fromkeys([*ids, *[tool.id for tool in named.values()]]))


async def with_tools(catalog: ToolCatalog, changes: AgentChanges) -> tuple[AgentChanges, tuple[Tool, ...]]:
    """The changes with each of their tools once, and these tools. Raises NotFound."""
    if not isinstance(changes.tools, tuple):
        return changes, ()
    tool_ids = await tools_of(catalog, changes.tools, (), ())
    return msgspec.structs.replace(changes, tools=tool_ids), await catalog.present(tool_ids)


async def check_has_tool(catalog: ToolCatalog, settings: AgentSettings, name: str) -> None:
    """NotFound unless the agent has a tool of that name."""
    if all(tool.name != name for tool in await catalog.present(settings.tools)):
        raise NotFound(f"Agent '{settings.id}' has no tool '{name[:80]}'", agent_id=settings.id)


async def tools_gone(catalog: ToolCatalog, settings: AgentSettings) -> frozenset[ToolId]:
    """The agent's tools that were removed since it was given them."""
    return frozenset(settings.tools) - {tool.id for tool in await catalog.present(settings.tools)}


async def granted_rules(catalog: ToolCatalog, new: NewAgent, tool_ids: Sequence[ToolId]) -> tuple[ToolRule, ...]:
    """A new agent's rules, those that its tools bring included."""
    tools = await catalog.present(tool_ids)
    asking = [tool.name for tool in tools if tool.asks_approval]
    return rules_of(new.tool_rules, new.rules_of_tools, [tool.name for tool in tools], asking)


def asking_for(given: Sequence[Tool], before: AgentSettings, after: AgentSettings) -> AgentSettings:
    """The settings with a person's leave required for the tools that want it and that the agent had not got before."""
    rules = after.tool_rules
    for tool in given:
        if tool.asks_approval and tool.id not in before.tools:
            rules = with_approval(rules, tool.name, required=True)
    return msgspec.structs.replace(after, tool_rules=rules)
