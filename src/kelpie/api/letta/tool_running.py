"""Tools run because a person asks, on the wire: a source, a tool of an agent. And tools that a model writes."""

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.message_shapes import ToolReturnMessage, ToolReturnOut
from kelpie.api.letta.tool_making import RequirementIn, ToolIn, ToolSourceIn, read_schema, read_source, read_tool
from kelpie.api.letta.tools import ToolOut, show_tool
from kelpie.api.letta.values import seconds_date
from kelpie.api.route import Ask, Route
from kelpie.errors import ModelRefused, SourceRefused
from kelpie.ids import AgentId, StepId, ToolId, new_id, new_step_id
from kelpie.llm.messages import ModelMessage, ModelReply, ModelRequest, TextPart, ToolCallPart, ToolDefinition
from kelpie.tools.tool import Tool, ToolOutcome, clip_outcome

NO_ID = "null"  # of a message that is nobody's, as clients know it
WRITE_TOOL = ToolDefinition(
    name="write_tool",
    description="Hand over the finished tool.",
    parameters=Raw(
        msgspec.json.encode(
            {
                "type": "object",
                "properties": {
                    "source_code": {"type": "string", "description": "The whole Python source, imports included."},
                    "sample_args_json": {
                        "type": "string",
                        "description": "A JSON object with arguments for which the tool works as it stands.",
                    },
                    "pip_requirements_json": {
                        "type": "string",
                        "description": "A JSON object of the packages from PyPI that it imports, each with its version"
                        " or null; {} if there are none.",
                    },
                },
                "required": ["source_code", "sample_args_json"],
            }
        )
    ),
)
INSTRUCTIONS = """You write tools: Python functions that an AI agent calls. Answer by calling write_tool, once.
A tool is one function at the top level. Every parameter has a type annotation (str, int, float, bool, list[...], dict)
and a description in the docstring under "Args:", in Google's style. It returns a str, or what can be shown as one.
Imports stand inside the function. Secrets come from os.environ. It raises an error rather than answer wrongly."""


class RunIn(ToolSourceIn, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source, and how to run it."""

    args: dict[str, Any]
    env_vars: dict[str, str] | None = None
    name: str | None = None


class AgentRunIn(Struct, frozen=True, kw_only=True):
    """Arguments for a tool of an agent."""

    args: dict[str, Any] = {}


class ResultOut(Struct, frozen=True, kw_only=True):
    """What a tool of an agent answered. What it changed is in the agent's blocks."""

    status: Literal["success", "error"]
    func_return: str | None
    agent_state: None = None
    stdout: tuple[str, ...]
    stderr: tuple[str, ...]
    sandbox_config_fingerprint: str | None = None


class GenerateIn(Struct, frozen=True, kw_only=True):
    """A tool that a model is to write."""

    tool_name: str
    prompt: str
    validation_errors: list[str]
    handle: str | None = None
    starter_code: str | None = None


class GeneratedOut(Struct, frozen=True, kw_only=True):
    """A tool that is not stored, arguments to try it with, and what else the model said."""

    tool: ToolOut
    sample_args: dict[str, Any]
    response: str


class _Written(Struct, frozen=True, kw_only=True):
    source_code: str
    sample_args_json: str = "{}"
    pip_requirements_json: str = "{}"


async def run_from_source(house: House, ask: Ask[None, RunIn]) -> ToolReturnMessage:
    """Run a source that need not be stored."""
    wire = ask.body
    try:
        derived = await read_schema(house, wire, wire.name)
    except SourceRefused as error:
        if not wire.source_code.strip():
            raise
        raise SourceRefused(f"Failed to derive json schema: {error.sentence}", field="source_code") from None
    tool = Tool(
        id=ToolId(new_id("tool", house.world.entropy)),
        name=derived.name,
        description=derived.description,
        parameters=derived.parameters,
        kind="custom",
        source=read_source(wire),
    )
    arguments = Raw(msgspec.json.encode(wire.args))
    outcome = clip_outcome(await house.own_tools.try_out(tool, arguments, wire.env_vars or {}), tool.return_chars_max)
    return show_return(outcome, seconds_date(house.world.wall.now_us()), wire.name)


async def run_for_agent(house: House, ask: Ask[None, AgentRunIn | None]) -> ResultOut:
    """Run a tool of an agent, with its secrets and its memory."""
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    arguments = Raw(msgspec.json.encode((ask.body or AgentRunIn()).args))
    outcome = await house.hands.run(settings, ask.path["tool_name"], arguments)
    return ResultOut(
        status=_status(outcome),
        func_return=outcome.text,
        stdout=outcome.stdout or (),
        stderr=outcome.stderr or (),
    )


async def generate_tool(house: House, ask: Ask[None, GenerateIn]) -> GeneratedOut:
    """Ask a model for a tool. Nothing is stored, and nothing of it runs."""
    wire = ask.body
    reply = await _ask_model(house, wire)
    written = _read_reply(reply)
    packages = _object(written.pip_requirements_json, "pip_requirements_json")
    requirements = [
        RequirementIn(name=name, version=version if isinstance(version, str) else None)
        for name, version in packages.items()
    ]
    tool = await read_tool(house, ToolIn(source_code=written.source_code, pip_requirements=requirements))
    said = "\n".join(part.text for part in reply.parts if isinstance(part, TextPart))
    return GeneratedOut(
        tool=show_tool(tool), sample_args=_object(written.sample_args_json, "sample_args_json"), response=said
    )


def show_return(outcome: ToolOutcome, date: str, name: str | None) -> ToolReturnMessage:
    """What a source answered, as a message that is nobody's."""
    shown = ToolReturnOut(
        tool_return=outcome.text,
        status=_status(outcome),
        tool_call_id=NO_ID,
        stdout=outcome.stdout or (),
        stderr=outcome.stderr or (),
    )
    return ToolReturnMessage(
        id=NO_ID,
        date=date,
        name=name,
        tool_return=outcome.text,
        status=shown.status,
        tool_call_id=NO_ID,
        stdout=shown.stdout,
        stderr=shown.stderr,
        tool_returns=[shown],
    )


async def _ask_model(house: House, wire: GenerateIn) -> ModelReply:
    handle = wire.handle
    if handle is None:
        handle = (await house.models.list_models())[0].handle
    info = await house.roster.find_model(handle)
    asked = [f"Write a Python function named {wire.tool_name} that does this:", wire.prompt]
    if wire.starter_code:
        asked += ["Begin from this source:", wire.starter_code]
    if wire.validation_errors:
        asked += ["Your last attempt had these errors:", *wire.validation_errors]
    request = ModelRequest(
        model=info.model,
        system=INSTRUCTIONS,
        messages=(ModelMessage(role="user", parts=(TextPart(text="\n\n".join(asked)),)),),
        tools=(WRITE_TOOL,),
        step_id=StepId(new_step_id(house.world.entropy)),
    )
    return await house.models.ask(info, request, None)


def _read_reply(reply: ModelReply) -> _Written:
    """What the model wrote. Raises ModelRefused: it wrote no tool."""
    for part in reply.parts:
        if isinstance(part, ToolCallPart) and part.name == WRITE_TOOL.name:
            try:
                return msgspec.json.decode(part.arguments, type=_Written)
            except msgspec.MsgspecError as error:
                raise ModelRefused(f"the model wrote a tool that cannot be read: {error}") from None
    said = " ".join(part.text for part in reply.parts if isinstance(part, TextPart))
    raise ModelRefused(f"the model wrote no tool; it said: {said[:500]}")


def _object(text: str, field: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise ModelRefused(f"the model wrote {field} that cannot be read: {error}") from None


def _status(outcome: ToolOutcome) -> Literal["success", "error"]:
    return "success" if outcome.ok else "error"


ROUTES = (
    Route(
        method="POST",
        path="/v1/tools/run",
        name="run_tool_from_source",
        summary="Run a source",
        tag="tools",
        handler=run_from_source,
        body=RunIn,
        answer=ToolReturnMessage,
        refusals=(400, 403, 429),
    ),
    Route(
        method="POST",
        path="/v1/tools/generate-tool",
        name="generate_tool",
        summary="Have a tool written by a model",
        tag="tools",
        handler=generate_tool,
        body=GenerateIn,
        answer=GeneratedOut,
        refusals=(400, 404, 503),
    ),
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/tools/{tool_name}/run",
        name="run_tool_for_agent",
        summary="Run a tool of an agent",
        tag="agents",
        handler=run_for_agent,
        body=AgentRunIn | None,
        body_needed=False,
        answer=ResultOut,
        refusals=(400, 403, 404, 429),
    ),
)
