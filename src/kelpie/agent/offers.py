"""What a step offers its model: the agent's tools and the client's, as far as the rules allow them now. Pure."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from kelpie.agent.rules import HEARTBEAT, Policy, make_policy, offer
from kelpie.agent.state import AgentSettings, ClientSkill, RunOptions, Turn
from kelpie.llm.messages import ToolDefinition, ToolReturnPart
from kelpie.memory.history import StoredMessage
from kelpie.tools.tool import Tool

SKILLS_TITLE = "# Skills"
SKILLS_INTRODUCTION = (
    "The surroundings in which you are asked offer these for the time being. Read what stands at a skill's place"
    " before you use it."
)
HEARTBEAT_TEXT = "Whether you want a further step behind this call. If not, your turn ends with it."
OWING_TEXT = "You may not end your turn before you have called each of these tools: {tools}. Call them now."


class StepTools(Struct, frozen=True, kw_only=True):
    """The tools of a step, whether it must call one, and what the reply may do. `fault`: no step is possible."""

    definitions: tuple[ToolDefinition, ...]
    must_call: bool
    policy: Policy
    fault: str | None = None
    note: str | None = None  # what the model is told beside its system prompt


def step_tools(
    settings: AgentSettings,
    tools: Mapping[str, Tool],
    options: RunOptions,
    turn: Turn,
    window: Sequence[StoredMessage],
) -> StepTools:
    """What the running step offers. A client's tool takes the place of the agent's of the same name."""
    client = {tool.name: tool for tool in options.client_tools}
    names = tuple(dict.fromkeys((*tools, *client)))
    offered = offer(settings.tool_rules, names, turn.progress, returned=_last_return(window), owing=turn.owing)
    speaks = settings.speaks_with if settings.speaks_with in tools else None
    policy = make_policy(
        settings.tool_rules,
        names,
        offered,
        progress=turn.progress,
        client=tuple(client),
        heartbeats=settings.heartbeats,
        speaks=speaks,
    )
    definitions: list[ToolDefinition] = []
    for name in offered.tools:
        tool = client.get(name) or tools[name]
        parameters = tool.parameters
        if settings.heartbeats and name not in (*policy.ends, *policy.goes_on, *client):
            parameters = with_heartbeat(parameters)
        definitions.append(ToolDefinition(name=name, description=tool.description, parameters=parameters))
    assert len(definitions) == len(offered.tools)
    assert policy.barred or offered.tools == names
    return StepTools(
        definitions=tuple(definitions),
        must_call=bool(definitions) and (offered.must or speaks is not None),
        policy=policy,
        fault=offered.fault,
        note=OWING_TEXT.format(tools=", ".join(offered.tools)) if turn.owing and offered.must else None,
    )


def with_skills(system: str, skills: Sequence[ClientSkill]) -> str:
    """The system prompt with what the client's surroundings offer."""
    if not skills:
        return system
    lines = [f"- {skill.name} ({skill.location}): {skill.description}" for skill in skills]
    return "\n".join([system, "", SKILLS_TITLE, SKILLS_INTRODUCTION, *lines])


def with_heartbeat(parameters: Raw) -> Raw:
    """The schema with one more required argument: whether the model wants a further step."""
    schema = msgspec.json.decode(parameters, type=dict[str, Raw])
    properties = msgspec.json.decode(schema.get("properties", Raw(b"{}")), type=dict[str, Raw])
    required = msgspec.json.decode(schema.get("required", Raw(b"[]")), type=list[str])
    told = {"type": "boolean", "description": HEARTBEAT_TEXT}
    properties[HEARTBEAT] = Raw(msgspec.json.encode(told))
    schema["properties"] = Raw(msgspec.json.encode(properties))
    schema["required"] = Raw(msgspec.json.encode([*required, HEARTBEAT]))
    return Raw(msgspec.json.encode(schema))


def _last_return(window: Sequence[StoredMessage]) -> str | None:
    """What the last call returned."""
    for message in reversed(window):
        if message.kind == "tool":
            parts = [part for part in message.parts if isinstance(part, ToolReturnPart)]
            return parts[-1].text if parts else None
    return None
