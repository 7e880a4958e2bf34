"""Codec of OpenAI's Chat Completions, pure; also for the many servers that speak it in their own accent.

Accents understood: thinking in `reasoning_content` or `reasoning`, tool calls without id or index or with
the index of another, arguments as an object, missing usage, `content` null or a list, errors as plain text.
"""

import re

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import KelpieError, ModelUnavailable
from kelpie.llm.conversation import arguments_object, mend, wire_call_id, wire_name
from kelpie.llm.known_models import takes_temperature
from kelpie.llm.messages import (
    Delta,
    FinishReason,
    ModelMessage,
    ModelReply,
    ModelRequest,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolDefinition,
    ToolReturnPart,
    Usage,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.sse_parse import ServerEvent
from kelpie.llm.wire import ListedModel, ModelPage, ReplyDraft, ReplyOrigin, clipped_words, decode_json, provider_error

_OFFICIAL = re.compile(r"https://([a-z0-9.-]+\.)?(openai\.com|openai\.azure\.com)(:\d+)?(/|$)")
_USER_NAME = re.compile(r"[^\s<|\\/>]{1,64}")
_FINISHES: dict[str | None, FinishReason] = {
    "stop": "stop", "tool_calls": "tool_calls", "function_call": "tool_calls", "length": "length",
    "content_filter": "refusal",
}  # fmt: skip


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


class _UserMessage(Struct, frozen=True, omit_defaults=True):
    role: str
    content: str
    name: str | None = None


class _AssistantMessage(Struct, frozen=True):
    content: str | None
    tool_calls: tuple[_ToolCall, ...] | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET
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


class _StreamOptions(Struct, frozen=True):
    include_usage: bool


class _Request(Struct, frozen=True, omit_defaults=True):
    model: str
    messages: list[_AnyMessage]
    tools: tuple[_ToolOffer, ...] = ()
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: str | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None


class _FunctionIn(Struct):
    name: str | None = None
    arguments: Raw = Raw(b"null")


class _CallIn(Struct):
    id: str | int | None = None
    index: int | None = None
    function: _FunctionIn | None = None


class _PieceIn(Struct):
    text: str | None = None


class _MessageIn(Struct):
    """A whole message or a delta of one: both have the same fields."""

    content: str | list[_PieceIn] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallIn] | None = None


class _ChoiceIn(Struct):
    index: int | None = None
    message: _MessageIn | None = None
    delta: _MessageIn | None = None
    finish_reason: str | None = None


class _InputDetailsIn(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetailsIn(Struct):
    reasoning_tokens: int | None = None


class _UsageIn(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _InputDetailsIn | None = None
    completion_tokens_details: _OutputDetailsIn | None = None


class _ErrorIn(Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _ReplyIn(Struct):
    """A whole reply, a chunk of a streamed one, or an error in place of either."""

    choices: list[_ChoiceIn] | None = None
    usage: _UsageIn | None = None
    error: _ErrorIn | str | None = None


class _ErrorBodyIn(Struct):
    error: _ErrorIn | str | None = None
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
            parallel_tool_calls=False if alone else None,
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
        if isinstance(told.error, _ErrorIn):
            return provider_error(provider, status, _kinds(told.error), told.error.message or "", retry_after_ms)
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
        told: list[_AnyMessage] = [_Message("system", request.system)] if request.system.strip() else []
        for index, message in enumerate(mended):
            match message.role:
                case "assistant":  # thinking is wanted back only while the turn that it belongs to goes on
                    thinker = provider if index > asked_last and not self._official else None
                    told.append(_assistant_message(message, thinker))
                case "tool":
                    told.extend(_tool_messages(message))
                case "system":
                    told.append(_Message("system", _text_of(message)))
                case "user":
                    name = message.name if message.name and _USER_NAME.fullmatch(message.name) else None
                    told.append(_UserMessage("user", _text_of(message), name))
        assert len(told) >= len(mended), "returns are told one by one, nothing is left out"
        return told


class _OpenCall:
    """A tool call whose pieces may still come; `part` is None until its name is known."""

    def __init__(self, call_id: str | None, index: int | None) -> None:
        self.call_id = call_id
        self.index = index
        self.part: int | None = None
        self.waiting = ""


class OpenAIStream:
    """Decodes one reply, streamed or whole; see `wire.StreamDecoder`."""

    def __init__(self, origin: ReplyOrigin) -> None:
        self.done = False
        self._origin = origin
        self._draft = ReplyDraft(origin)
        self._calls: list[_OpenCall] = []
        self._finish: FinishReason = "stop"
        self._refused = False
        self._answered = False

    def feed(self, event: ServerEvent) -> list[Delta]:
        """The pieces that one event adds."""
        if event.data.strip() == b"[DONE]":
            self.done = True
            return self._end_calls()
        told = decode_json(event.data, _ReplyIn, self._origin.provider)
        if told.error is not None:
            error = _ErrorIn(message=told.error) if isinstance(told.error, str) else told.error
            raise provider_error(self._origin.provider, _status_of(error), _kinds(error), error.message or "", None)
        if told.usage is not None:
            self._draft.usage = _usage_of(told.usage)
        deltas: list[Delta] = []
        for choice in told.choices or ():
            if not choice.index:  # only one choice is asked for
                deltas += self._take(choice)
        return deltas

    def finish(self) -> ModelReply:
        """The whole reply; ModelUnavailable when it ended before its end."""
        name = self._origin.provider
        if not self._answered:
            raise ModelUnavailable(f"{name} answered without a message", provider=name)
        if not self.done:
            raise ModelUnavailable(f"{name} ended its reply in the middle", provider=name)
        return self._draft.finished("refusal" if self._refused else self._finish)

    def _take(self, choice: _ChoiceIn) -> list[Delta]:
        assert not choice.index, "another choice is not looked at"
        deltas: list[Delta] = []
        message = choice.message or choice.delta
        self._answered = True
        if message is not None:
            deltas += self._draft.add_reasoning(message.reasoning_content or message.reasoning or "")
            content = message.content
            if isinstance(content, list):
                content = "".join(piece.text or "" for piece in content)
            deltas += self._draft.add_text(content or "")
            deltas += self._draft.add_text(message.refusal or "")
            self._refused = self._refused or bool(message.refusal)
            for piece in message.tool_calls or ():
                deltas += self._grow_call(piece, whole=choice.message is not None)
        if choice.finish_reason is not None or choice.message is not None:
            self._finish = _FINISHES.get(choice.finish_reason, "other")
            self.done = True
            deltas += self._end_calls()
            assert all(call.part is not None for call in self._calls)
        return deltas

    def _grow_call(self, piece: _CallIn, *, whole: bool) -> list[Delta]:
        function = piece.function or _FunctionIn()
        call_id = str(piece.id) if piece.id not in (None, "") else None
        call = None if whole else self._call_of(call_id, piece.index, function.name)
        if call is None:
            call = _OpenCall(call_id, piece.index)
            self._calls.append(call)
        written = _arguments_text(function.arguments)
        if call.part is not None:
            return self._draft.add_arguments(call.part, written)
        call.waiting += written
        return self._begin(call, function.name) if function.name else []

    def _call_of(self, call_id: str | None, index: int | None, name: str | None) -> _OpenCall | None:
        """The call that a piece continues; None for a new one. Servers number and name pieces in many ways."""
        for call in reversed(self._calls):
            if index is not None and call.index is not None:
                same_call = call_id is None or call.call_id in (None, call_id) or not name
                if call.index == index and same_call:
                    return call
            elif call_id is not None and call.call_id == call_id:
                return call
        if index is None and call_id is None and not name and self._calls:
            return self._calls[-1]
        return None

    def _begin(self, call: _OpenCall, name: str) -> list[Delta]:
        assert call.part is None
        call.part, deltas = self._draft.begin_call(call.call_id, name)
        return deltas + self._draft.add_arguments(call.part, call.waiting)

    def _end_calls(self) -> list[Delta]:
        deltas: list[Delta] = []
        for call in self._calls:
            if call.part is None:
                deltas += self._begin(call, "")
            assert call.part is not None
            deltas += self._draft.end_call(call.part)
        return deltas


def _assistant_message(message: ModelMessage, thinker: str | None) -> _AssistantMessage:
    thoughts: list[str] = []
    calls: list[_ToolCall] = []
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            function = _Function(wire_name(part.name), arguments_object(part.arguments).decode())
            calls.append(_ToolCall(wire_call_id(part.call_id), function))
        elif isinstance(part, ReasoningPart) and thinker is not None and part.provider == thinker:
            thoughts.append(part.text)
    return _AssistantMessage(
        content=_text_of(message) or None,
        tool_calls=tuple(calls) or msgspec.UNSET,
        reasoning_content="\n".join(thoughts) or msgspec.UNSET,
    )


def _tool_messages(message: ModelMessage) -> list[_AnyMessage]:
    return [
        _ToolMessage(wire_call_id(part.call_id), part.text)
        for part in message.parts
        if isinstance(part, ToolReturnPart)
    ]


def _text_of(message: ModelMessage) -> str:
    return "\n\n".join(part.text for part in message.parts if isinstance(part, TextPart))


def _offer_of(tool: ToolDefinition) -> _ToolOffer:
    return _ToolOffer(_FunctionOffer(tool.name, tool.description, tool.parameters))


def _arguments_text(arguments: Raw) -> str:
    """Arguments as text, whether they came as text or as an object."""
    raw = bytes(arguments)
    if raw == b"null":
        return ""
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else raw.decode()


def _kinds(error: _ErrorIn) -> tuple[str, ...]:
    codes = (error.code if isinstance(error.code, str) else None, error.type)
    return tuple(code for code in codes if code)


def _status_of(error: _ErrorIn) -> int | None:
    return error.code if isinstance(error.code, int) and 400 <= error.code < 600 else None


def _usage_of(told: _UsageIn) -> Usage:
    read = told.prompt_tokens_details or _InputDetailsIn()
    written = told.completion_tokens_details or _OutputDetailsIn()
    return Usage(
        input_tokens=told.prompt_tokens or 0,
        output_tokens=told.completion_tokens or 0,
        cached_tokens=read.cached_tokens or 0,
        cache_written_tokens=read.cache_write_tokens or 0,
        reasoning_tokens=written.reasoning_tokens or 0,
    )
