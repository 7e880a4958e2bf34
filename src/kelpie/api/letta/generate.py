"""One question to an agent's model, beside all that makes it an agent: no memory, no tools, nothing kept."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from kelpie.agent.events import FinishedEvent
from kelpie.api.letta.house import House
from kelpie.api.letta.message_shapes import UsageOut, show_usage
from kelpie.api.route import Ask, Route
from kelpie.errors import LimitExceeded, ModelUnavailable
from kelpie.ids import AgentId, new_step_id
from kelpie.limits import TOOL_SCHEMA_BYTES_MAX
from kelpie.llm.messages import ModelMessage, ModelReply, ModelRequest, TextPart, ToolCallPart, ToolDefinition

ANSWER_TOOL = "give_answer"
ANSWER_TEXT = "Give your answer with this tool, in the form that its parameters have."


class GenerateIn(Struct, frozen=True, kw_only=True):
    """What to ask; `response_schema` is the JSON schema of the answer."""

    prompt: Annotated[str, Meta(min_length=1)]
    system_prompt: str | None = None
    override_model: str | None = None
    response_schema: dict[str, Any] | None = None


class GeneratedOut(Struct, frozen=True, kw_only=True):
    """What the model answered."""

    content: str
    model: str
    usage: UsageOut


async def generate_completion(house: House, ask: Ask[None, GenerateIn]) -> GeneratedOut:
    """Ask the agent's model, or another one."""
    body = ask.body
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    info = await house.roster.find_model(body.override_model or settings.model)
    tools = () if body.response_schema is None else (_answer_tool(body.response_schema),)
    request = ModelRequest(
        model=info.model,
        system=body.system_prompt or "",
        messages=(ModelMessage(role="user", parts=(TextPart(text=body.prompt),)),),
        tools=tools,
        must_call=bool(tools),
        sampling=settings.sampling,
        step_id=new_step_id(house.world.entropy),
    )
    reply = await house.models.ask(info, request, None)
    return GeneratedOut(
        content=_content(reply, info.provider, formed=bool(tools)), model=info.model, usage=_usage(reply)
    )


def _answer_tool(schema: dict[str, Any]) -> ToolDefinition:
    """A model that must call this tool answers in the form of the schema, with every provider."""
    parameters = msgspec.json.encode({"type": "object", "properties": {}, **schema})
    if len(parameters) > TOOL_SCHEMA_BYTES_MAX:
        sentence = f"response_schema: {len(parameters)} bytes are over the limit of {TOOL_SCHEMA_BYTES_MAX}"
        raise LimitExceeded(sentence, limit="TOOL_SCHEMA_BYTES_MAX", maximum=TOOL_SCHEMA_BYTES_MAX)
    return ToolDefinition(name=ANSWER_TOOL, description=ANSWER_TEXT, parameters=Raw(parameters))


def _content(reply: ModelReply, provider: str, *, formed: bool) -> str:
    calls = [part.arguments for part in reply.parts if isinstance(part, ToolCallPart)]
    if not formed:
        return "\n".join(part.text for part in reply.parts if isinstance(part, TextPart))
    if not calls:
        raise ModelUnavailable(f"{provider} answered without the form that it was asked for", provider=provider)
    return calls[0]


def _usage(reply: ModelReply) -> UsageOut:
    tokens = reply.usage.input_tokens + reply.usage.output_tokens
    told = FinishedEvent(
        number=1, stop_reason="end_turn", usage=reply.usage, context_tokens=tokens or None, steps=1, error=None
    )
    return show_usage(told)


ROUTES = (
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/generate",
        name="generate_completion",
        summary="Ask the model of an agent, beside the agent",
        tag="agents",
        handler=generate_completion,
        body=GenerateIn,
        answer=GeneratedOut,
        refusals=(400, 404, 503),
    ),
)
