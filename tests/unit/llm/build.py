"""Builders for tests of model calls: a test sets what it is about, everything else has a default."""

import contextlib
from collections.abc import AsyncIterator

import msgspec

from kelpie.ids import StepId
from kelpie.llm.messages import (
    Delta,
    ModelMessage,
    ModelReply,
    ModelRequest,
    Part,
    ReasoningPart,
    Role,
    Sampling,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    ToolDefinition,
    ToolReturnPart,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.providers import ConfiguredModels
from kelpie.llm.transport import CallBounds, open_transport
from kelpie.llm.wire import ReplyOrigin
from kelpie.system import system_world
from kelpie_sim.model_server import ModelServer

STEP_ID = StepId("step-00000000-0000-4000-8000-00000000abcd")
ORIGIN = ReplyOrigin(provider="acme", step_id=STEP_ID)
API_KEY = "sk-secret-0123456789"
# Long enough for a busy machine; tests of the bounds themselves set their own.
QUICK = CallBounds(call_ms=20_000, silence_ms=5_000, connect_ms=5_000, list_ms=5_000)


def said(role: Role, *parts: Part | str, name: str | None = None) -> ModelMessage:
    """A message; plain strings are text."""
    whole = tuple(TextPart(text=part) if isinstance(part, str) else part for part in parts)
    return ModelMessage(role=role, parts=whole, name=name)


def call(call_id: str = "call_1", name: str = "roll", arguments: str = '{"sides": 6}') -> ToolCallPart:
    """A tool call."""
    return ToolCallPart(call_id=call_id, name=name, arguments=arguments)


def returned(call_id: str = "call_1", text: str = "4", *, ok: bool = True, name: str = "roll") -> ToolReturnPart:
    """What came of it."""
    return ToolReturnPart(call_id=call_id, name=name, text=text, ok=ok)


def tool(name: str = "roll") -> ToolDefinition:
    """A tool with one argument."""
    schema = b'{"type":"object","properties":{"sides":{"type":"integer"}},"required":["sides"]}'
    return ToolDefinition(name=name, description=f"Tool {name}", parameters=msgspec.Raw(schema))


def request(
    *messages: ModelMessage | str,
    model: str = "scripted",
    system: str = "Be brief.",
    tools: tuple[ToolDefinition, ...] = (),
    sampling: Sampling | None = None,
) -> ModelRequest:
    """A request; plain strings are the user's."""
    return ModelRequest(
        model=model,
        system=system,
        messages=tuple(said("user", one) if isinstance(one, str) else one for one in messages),
        tools=tools,
        sampling=sampling or Sampling(),
        step_id=STEP_ID,
    )


def info(model: str = "scripted", *, kind: str = "openai", output_tokens_max: int = 8_000) -> ModelInfo:
    """A model of the provider acme."""
    return ModelInfo(
        handle=f"acme/{model}",
        provider="acme",
        provider_kind=kind,
        model=model,
        endpoint="http://127.0.0.1",
        context_tokens=100_000,
        output_tokens_max=output_tokens_max,
    )


@contextlib.asynccontextmanager
async def serving(
    *models: str, kind: str = "openai", bounds: CallBounds = QUICK, api_key: str = API_KEY
) -> AsyncIterator[tuple[ConfiguredModels, ModelServer]]:
    """The scripted server on a free port, and models configured to ask it under the name acme."""
    script = ModelServer(models or ("scripted",))
    server = await script.open("127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        base_url = f"{address}/v1" if kind == "openai" else address
        settings = ProviderSettings(name="acme", kind=kind, base_url=base_url, api_key=api_key)  # type: ignore[arg-type]
        configured = ConfiguredModels(system_world(), open_transport(None), [settings], bounds=bounds)
        try:
            yield configured, script
        finally:
            await configured.close()


def joined(deltas: list[Delta]) -> list[tuple[str, str]]:
    """The parts that deltas add up to, each as (kind or call's name, text); asserts that parts come in order."""
    parts: list[tuple[str, str]] = []
    for delta in deltas:
        text = delta.arguments if isinstance(delta, ToolCallDelta) else delta.text
        if delta.part == len(parts):
            kind = f"{delta.call_id} {delta.name}" if isinstance(delta, ToolCallDelta) else type(delta).__name__
            parts.append((kind, text))
        else:
            kind, before = parts[delta.part]
            parts[delta.part] = (kind, before + text)
    return parts


def told(reply: ModelReply) -> list[tuple[str, str]]:
    """A reply in the form of `joined`."""
    parts: list[tuple[str, str]] = []
    for part in reply.parts:
        match part:
            case TextPart(text=text):
                parts.append(("TextDelta", text))
            case ReasoningPart(text=text):
                parts.append(("ReasoningDelta", text))
            case ToolCallPart(call_id=call_id, name=name, arguments=arguments):
                parts.append((f"{call_id} {name}", arguments))
    return parts
