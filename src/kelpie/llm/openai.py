"""Codec of OpenAI's Chat Completions, pure; also for the many servers that speak it in their own accent.

Accents understood: thinking in `reasoning_content` or `reasoning`, tool calls without id or index or with
the index of another, arguments as an object, missing usage, `content` null or a list, errors as plain text.
"""

import re

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import KelpieError
from kelpie.llm.conversation import arguments_object, mend, system_text, wire_call_id, wire_name
from kelpie.llm.known_models import takes_temperature
from kelpie.llm.messages import (
    ImagePart,
    ModelMessage,
    ModelReply,
    ModelRequest,
    ReasoningPart,
    ReplyFormat,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolReturnPart,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.openai_reply import ErrorIn, OpenAIStream, kinds_of
from kelpie.llm.sse_parse import ServerEvent
from kelpie.llm.wire import ListedModel, ModelPage, ReplyOrigin, clipped_words, decode_json, provider_error

_OFFICIAL = re.compile(r"https://([a-z0-9.-]+\.)?(openai\.com|openai\.azure\.com)(:\d+)?(/|$)")
_USER_NAME = re.compile(r"[^\s<|\\/>]{1,64}")


class _Function(Struct, frozen=True):
    name: str
    arguments: str


class _ToolCall(Struct, frozen=True):
    id: str
    function: _Function
    type: str = "function"


class _Message(Struct, frozen=True):
    role: str
    content: str | None


class _TextPiece(Struct, frozen=True, tag="text"):
    text: str


class _ImageUrl(Struct, frozen=True, omit_defaults=True):
    url: str
    detail: str | None = None


class _ImagePiece(Struct, frozen=True, tag="image_url"):
    image_url: _ImageUrl


class _UserMessage(Struct, frozen=True, omit_defaults=True):
    role: str
    content: str | list[_TextPiece | _ImagePiece]
    name: str | None = None


class _AssistantMessage(Struct, frozen=True):
    content: str | None
    tool_calls: tuple[_ToolCall, ...] | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
    reasoning_details: tuple[Raw, ...] | msgspec.UnsetType = msgspec.UNSET
    role: str = "assistant"


class _ToolMessage(Struct, frozen=True):
    tool_call_id: str
    content: str
    role: str = "tool"


_AnyMessage = _Message | _UserMessage | _AssistantMessage | _ToolMessage


class _FunctionOffer(Struct, frozen=True):
    name: str
    description: str
    parameters: Raw


class _ToolOffer(Struct, frozen=True):
    function: _FunctionOffer
    type: str = "function"


class _Named(Struct, frozen=True):
    name: str


class _ToolChoice(Struct, frozen=True):
    function: _Named
    type: str = "function"


class _JsonSchema(Struct, frozen=True, omit_defaults=True):
    name: str
    schema: Raw
    strict: bool | None = None


class _ResponseFormat(Struct, frozen=True, omit_defaults=True):
    type: str
    json_schema: _JsonSchema | None = None


class _StreamOptions(Struct, frozen=True):
    include_usage: bool


class _Request(Struct, frozen=True, omit_defaults=True):
    model: str
    messages: list[_AnyMessage]
    tools: tuple[_ToolOffer, ...] = ()
    tool_choice: str | _ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: _ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None


class _ErrorBodyIn(Struct):
    error: ErrorIn | str | None = None
    message: str | None = None
    type: str | None = None
    detail: Raw = Raw(b"")


class _ModelIn(Struct):
    id: str
    context_length: int | None = None  # OpenRouter
    max_model_len: int | None = None  # vLLM


class _ModelsIn(Struct):
    data: list[_ModelIn] | None = None


class OpenAIWire:
    """See `wire.Wire`. The base URL includes `/v1` and decides whether it is OpenAI itself."""

    def __init__(self, base_url: str) -> None:
        self._official = _OFFICIAL.match(base_url) is not None

    def headers(self, api_key: str) -> list[tuple[bytes, bytes]]:
        """The key is a bearer token; servers without keys get none."""
        headers = [(b"content-type", b"application/json")]
        if api_key:
            headers.append((b"authorization", b"Bearer " + api_key.encode()))
        return headers

    def ask_path(self) -> str:
        """The chat endpoint."""
        return "/chat/completions"

    def list_path(self, after: str | None) -> str:
        """The list has one page."""
        return "/models"

    def encode(self, request: ModelRequest, info: ModelInfo, *, stream: bool) -> bytes:
        """The body of one call."""
        assert request.model
        assert not request.sampling.output_tokens_max or request.sampling.output_tokens_max > 0
        sampling = request.sampling
        alone = bool(request.tools) and not sampling.parallel_tool_calls
        warm = takes_temperature(request.model) or not self._official
        body = _Request(
            model=request.model,
            messages=self._messages_of(request, info.provider),
            tools=tuple(map(_offer_of, request.tools)),
            tool_choice=_choice_of(request),
            parallel_tool_calls=False if alone else None,
            response_format=None if sampling.reply_format is None else _format_of(sampling.reply_format),
            logprobs=None if request.logprobs is None else True,
            top_logprobs=request.logprobs or None,
            temperature=sampling.temperature if warm else None,
            max_tokens=None if self._official else sampling.output_tokens_max,
            max_completion_tokens=sampling.output_tokens_max if self._official else None,
            reasoning_effort=sampling.reasoning_effort,
            stream=stream,
            stream_options=_StreamOptions(include_usage=True) if stream else None,
        )
        return msgspec.json.encode(body)

    def decode(self, body: bytes, origin: ReplyOrigin) -> ModelReply:
        """A whole reply."""
        stream = OpenAIStream(origin)
        stream.feed(ServerEvent(data=body))
        return stream.finish()

    def stream_decoder(self, origin: ReplyOrigin) -> "OpenAIStream":
        """A decoder for one streamed reply."""
        return OpenAIStream(origin)

    def error(self, status: int, body: bytes, retry_after_ms: int | None, provider: str) -> KelpieError:
        """The error in the server's words, wherever it puts them."""
        assert status != 200
        try:
            told = msgspec.json.decode(body, type=_ErrorBodyIn)
        except (msgspec.DecodeError, RecursionError):
            return provider_error(provider, status, (), body.decode("utf-8", "replace"), retry_after_ms)
        if isinstance(told.error, ErrorIn):
            return provider_error(provider, status, kinds_of(told.error), told.error.message or "", retry_after_ms)
        words = told.error or told.message or clipped_words(bytes(told.detail))
        return provider_error(provider, status, (told.type,) if told.type else (), words, retry_after_ms)

    def decode_models(self, body: bytes) -> ModelPage:
        """The list of models."""
        page = decode_json(body, _ModelsIn, "openai")
        models = tuple(
            ListedModel(model=one.id, context_tokens=one.context_length or one.max_model_len) for one in page.data or ()
        )
        return ModelPage(models=models)

    def _messages_of(self, request: ModelRequest, provider: str) -> list[_AnyMessage]:
        assert provider
        mended = mend(request.messages, plain=not self._official)
        asked_last = max((index for index, message in enumerate(mended) if message.role == "user"), default=-1)
        system = system_text(request)
        told: list[_AnyMessage] = [_Message("system", system)] if system.strip() else []
        for index, message in enumerate(mended):
            match message.role:
                case "assistant":  # thinking is wanted back only while the turn that it belongs to goes on
                    thinker = provider if index > asked_last and not self._official else None
                    told.append(_assistant_message(message, thinker))
                case "tool":
                    told.extend(_tool_messages(message))
                    told.extend(_returned_images(message))
                case "system":
                    told.append(_Message("system", _text_of(message)))
                case "user":
                    name = message.name if message.name and _USER_NAME.fullmatch(message.name) else None
                    told.append(_UserMessage("user", _content_of(message), name))
        assert len(told) >= len(mended), "returns are told one by one, nothing is left out"
        return told


def _assistant_message(message: ModelMessage, thinker: str | None) -> _AssistantMessage:
    thoughts: list[str] = []
    sealed: list[Raw] = []
    calls: list[_ToolCall] = []
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            function = _Function(wire_name(part.name), arguments_object(part.arguments).decode())
            calls.append(_ToolCall(wire_call_id(part.call_id), function))
        elif isinstance(part, ReasoningPart) and thinker is not None and part.provider == thinker:
            if part.redacted is not None:
                sealed.append(Raw(part.redacted.encode()))
            else:
                thoughts.append(part.text)
    assert message.role == "assistant"
    assert thinker is not None or not (thoughts or sealed)
    return _AssistantMessage(
        content=_text_of(message) or None,
        tool_calls=tuple(calls) or msgspec.UNSET,
        reasoning_content="\n".join(thoughts) or msgspec.UNSET,
        reasoning_details=tuple(sealed) or msgspec.UNSET,
    )


def _tool_messages(message: ModelMessage) -> list[_AnyMessage]:
    return [
        _ToolMessage(wire_call_id(part.call_id), part.text)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]


def _returned_images(message: ModelMessage) -> list[_AnyMessage]:
    """Pictures that tools returned: a tool's message has text only, so they follow as the user's."""
    pieces: list[_TextPiece | _ImagePiece] = []
    for part in message.parts:
        if isinstance(part, ToolReturnPart) and part.images:
            pieces.append(_TextPiece(f"(Not said by the user: pictures that {part.name} returned.)"))
            pieces += [_piece_of(image) for image in part.images]
    return [_UserMessage("user", pieces)] if pieces else []


def _content_of(message: ModelMessage) -> str | list[_TextPiece | _ImagePiece]:
    """Text alone as text, with pictures as pieces."""
    if not any(isinstance(part, ImagePart) for part in message.parts):
        return _text_of(message)
    pieces: list[_TextPiece | _ImagePiece] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            pieces.append(_TextPiece(part.text))
        elif isinstance(part, ImagePart):
            pieces.append(_piece_of(part))
    return pieces


def _piece_of(image: ImagePart) -> _ImagePiece:
    return _ImagePiece(_ImageUrl(image.url or f"data:{image.media_type};base64,{image.data}", image.detail))


def _choice_of(request: ModelRequest) -> str | _ToolChoice | None:
    """None leaves the choice to the model. One tool alone is asked for by its name."""
    if not request.must_call or not request.tools:
        return None
    return _ToolChoice(_Named(request.tools[0].name)) if len(request.tools) == 1 else "required"


def _format_of(asked: ReplyFormat) -> _ResponseFormat:
    if asked.kind == "json_object":
        return _ResponseFormat("json_object")
    return _ResponseFormat("json_schema", _JsonSchema(asked.name or "reply", asked.schema, asked.strict))


def _text_of(message: ModelMessage) -> str:
    first = message.parts[0]
    if len(message.parts) == 1 and isinstance(first, TextPart):
        return first.text
    return "\n\n".join(part.text for part in message.parts if isinstance(part, TextPart))


def _offer_of(tool: ToolDefinition) -> _ToolOffer:
    return _ToolOffer(_FunctionOffer(tool.name, tool.description, tool.parameters))
