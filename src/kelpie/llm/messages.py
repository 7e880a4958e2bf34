"""Our own words for what is said to a model and what it answers.

Codecs (`anthropic.py`, `openai.py`) translate these to and from a provider's wire; nobody else knows those
wires. Parts are a closed union: match on them and let the type checker prove that none was forgotten.
"""

from typing import Literal

from msgspec import Raw, Struct

from kelpie.ids import StepId

Role = Literal["system", "user", "assistant", "tool"]
Asked = Literal["approval", "client"]
NO_JSON = Raw(b"null")  # not None: a decoder takes no union of raw JSON with anything


class TextPart(Struct, frozen=True, kw_only=True, tag="text", omit_defaults=True):
    """Words said by somebody. `aside`: by an agent that speaks with a tool, and so to itself."""

    text: str
    aside: bool = False


class ImagePart(Struct, frozen=True, kw_only=True, tag="image", omit_defaults=True):
    """A picture: `data` is base64 of it, of the type `media_type`; or `url`, which the provider fetches, never we.

    `file_id` is what the client calls it, `detail` how closely it wants the model to look; both are handed on.
    """

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None
    file_id: str | None = None

    def __post_init__(self) -> None:
        assert (self.url is None) == (self.data is not None), "a picture is here or elsewhere"


class ReasoningPart(Struct, frozen=True, kw_only=True, tag="reasoning", omit_defaults=True):
    """The model's thinking. `signature` and `redacted` are the provider's, replayed to it unchanged."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None  # encrypted thinking: text is empty
    provider: str | None = None  # replayed only to the provider that made it
    omitted: bool = False  # the model is known to have thought, and nothing was told of it


class ToolCallPart(Struct, frozen=True, kw_only=True, tag="tool_call", omit_defaults=True):
    """The model asks for a tool. `arguments` is the JSON text that it wrote, which may be malformed.

    `asks` says that it waits, or waited, for a client: to allow it, or to run the tool itself.
    """

    call_id: str
    name: str
    arguments: str
    asks: Asked | None = None


class ToolReturnPart(Struct, frozen=True, kw_only=True, tag="tool_return", omit_defaults=True):
    """What came of a tool call. `chars_total` is set when `text` was clipped, and says how long it was."""

    call_id: str
    name: str
    text: str
    ok: bool
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None
    chars_total: int | None = None
    images: tuple[ImagePart, ...] = ()


class VerdictPart(Struct, frozen=True, kw_only=True, tag="verdict", omit_defaults=True):
    """A person's answer to a tool call that asks for leave.

    `request_id` is the message with the calls, if the answer is about all of them: then `call_id` may be empty.
    """

    call_id: str
    approve: bool
    reason: str | None = None
    request_id: str | None = None


Part = TextPart | ImagePart | ReasoningPart | ToolCallPart | ToolReturnPart | VerdictPart


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


class ReplyFormat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The form that the text of a reply must have: any JSON object, or one of a schema, which may have a name."""

    kind: Literal["json_object", "json_schema"]
    name: str = ""
    schema: Raw = NO_JSON
    strict: bool | None = None


class Sampling(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How to sample; None leaves the provider's default."""

    temperature: float | None = None
    output_tokens_max: int | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    reasoning_tokens_max: int | None = None  # Anthropic's thinking budget; None: no thinking asked for
    parallel_tool_calls: bool = True
    reply_format: ReplyFormat | None = None


class ModelRequest(Struct, frozen=True, kw_only=True):
    """One call of a model. `model` is the provider's name for it; the handle's first half chose the provider.

    `must_call`: the reply is to call one of the tools. `logprobs`: how many candidates for each token of the reply
    are wanted with their probabilities; 0 for those of the tokens themselves, None for nothing.
    """

    model: str
    system: str
    messages: tuple[ModelMessage, ...]
    tools: tuple[ToolDefinition, ...] = ()
    must_call: bool = False
    sampling: Sampling = Sampling()
    logprobs: int | None = None
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
    logprobs: Raw = NO_JSON  # as OpenAI writes them: an object with the lists `content` and `refusal`


class TextDelta(Struct, frozen=True, kw_only=True, tag="text"):
    """A further piece of the part at `part` (its index in the final ModelReply.parts); `aside` as in TextPart.

    A text may turn out to be none: an agent that speaks with a tool, and then calls none, has said what it wrote.
    """

    part: int
    text: str
    aside: bool = False


class ReasoningDelta(Struct, frozen=True, kw_only=True, tag="reasoning"):
    """A further piece of reasoning of the part at `part`."""

    part: int
    text: str


class ToolCallDelta(Struct, frozen=True, kw_only=True, tag="tool_call"):
    """A further piece of a tool call: `name` comes with the first piece, later ones carry arguments.

    `asks`: the call will wait for a client.
    """

    part: int
    call_id: str
    name: str | None
    arguments: str
    asks: bool = False


Delta = TextDelta | ReasoningDelta | ToolCallDelta
