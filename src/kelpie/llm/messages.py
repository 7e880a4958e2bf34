"""Our own words for what is said to a model and what it answers.

Codecs (`anthropic.py`, `openai.py`) translate these to and from a provider's wire; nobody else knows those
wires. Parts are a closed union: match on them and let the type checker prove that none was forgotten.
"""

from typing import Literal

from msgspec import Raw, Struct

from kelpie.ids import StepId

Role = Literal["system", "user", "assistant", "tool"]


class TextPart(Struct, frozen=True, kw_only=True, tag="text", omit_defaults=True):
    """Words said by somebody."""

    text: str


class ReasoningPart(Struct, frozen=True, kw_only=True, tag="reasoning", omit_defaults=True):
    """The model's thinking. `signature` and `redacted` are the provider's, replayed to it unchanged."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None  # encrypted thinking: text is empty
    provider: str | None = None  # replayed only to the provider that made it


class ToolCallPart(Struct, frozen=True, kw_only=True, tag="tool_call", omit_defaults=True):
    """The model asks for a tool. `arguments` is the JSON text that it wrote, which may be malformed."""

    call_id: str
    name: str
    arguments: str


class ToolReturnPart(Struct, frozen=True, kw_only=True, tag="tool_return", omit_defaults=True):
    """What came of a tool call. `chars_total` is set when `text` was clipped, and says how long it was."""

    call_id: str
    name: str
    text: str
    ok: bool
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None
    chars_total: int | None = None


Part = TextPart | ReasoningPart | ToolCallPart | ToolReturnPart


class ModelMessage(Struct, frozen=True, kw_only=True):
    """One message of a prompt. Tool returns have the role `tool`, one message for all returns of a step."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class ToolDefinition(Struct, frozen=True, kw_only=True):
    """What the model is told about a tool: `parameters` is a JSON schema of type object, as JSON text."""

    name: str
    description: str
    parameters: Raw


class Sampling(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to sample; None leaves the provider's default."""

    temperature: float | None = None
    output_tokens_max: int | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    reasoning_tokens_max: int | None = None  # Anthropic's thinking budget; None: no thinking asked for
    parallel_tool_calls: bool = True


class ModelRequest(Struct, frozen=True, kw_only=True):
    """One call of a model. `model` is the provider's name for it; the handle's first half chose the provider."""

    model: str
    system: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolDefinition, ...] = ()
    sampling: Sampling = Sampling()
    step_id: StepId  # the key under which a repeat is recognised in logs and by scripted models


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens, as the provider counted them. `input_tokens` includes cached ones."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_written_tokens: int = 0
    reasoning_tokens: int = 0

    def plus(self, other: "Usage") -> "Usage":
        """The sum, field by field."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_written_tokens=self.cache_written_tokens + other.cache_written_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


FinishReason = Literal["stop", "tool_calls", "length", "refusal", "other"]


class ModelReply(Struct, frozen=True, kw_only=True):
    """The whole reply: reasoning, text and tool calls in the order in which the model gave them."""

    parts: tuple[ReasoningPart | TextPart | ToolCallPart, ...]
    finish: FinishReason
    usage: Usage


class TextDelta(Struct, frozen=True, kw_only=True, tag="text"):
    """A further piece of the part at `part` (its index in the final ModelReply.parts)."""

    part: int
    text: str


class ReasoningDelta(Struct, frozen=True, kw_only=True, tag="reasoning"):
    """A further piece of reasoning of the part at `part`."""

    part: int
    text: str


class ToolCallDelta(Struct, frozen=True, kw_only=True, tag="tool_call"):
    """A further piece of a tool call: `name` comes with the first piece, later ones carry arguments."""

    part: int
    call_id: str
    name: str | None
    arguments: str


Delta = TextDelta | ReasoningDelta | ToolCallDelta
