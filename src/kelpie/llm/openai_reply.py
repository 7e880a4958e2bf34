"""What comes back on OpenAI's Chat Completions: a reply, whole or in pieces, in the accents that `openai.py` names."""

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import ModelUnavailable
from kelpie.llm.messages import Delta, FinishReason, ModelReply, Usage
from kelpie.llm.sse_parse import ServerEvent
from kelpie.llm.wire import ReplyDraft, ReplyOrigin, decode_json, provider_error

_FINISHES: dict[str | None, FinishReason] = {
    "stop": "stop", "tool_calls": "tool_calls", "function_call": "tool_calls", "length": "length",
    "content_filter": "refusal",
}  # fmt: skip


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
    reasoning_details: list[Raw] | None = None  # OpenRouter
    refusal: str | None = None
    tool_calls: list[_CallIn] | None = None


class _DetailIn(Struct):
    type: str = ""


class _LogprobsIn(Struct):
    content: list[Raw] | None = None
    refusal: list[Raw] | None = None


class _ChoiceIn(Struct):
    index: int | None = None
    message: _MessageIn | None = None
    delta: _MessageIn | None = None
    finish_reason: str | None = None
    logprobs: _LogprobsIn | None = None


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


class ErrorIn(Struct):
    """An error as the servers tell it."""

    message: str | None = None
    type: str | None = None
    code: str | int | None = None


class _ReplyIn(Struct):
    """A whole reply, a chunk of a streamed one, or an error in place of either."""

    choices: list[_ChoiceIn] | None = None
    usage: _UsageIn | None = None
    error: ErrorIn | str | None = None


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
        self._logprobs: _LogprobsIn | None = None

    def feed(self, event: ServerEvent) -> list[Delta]:
        """The pieces that one event adds."""
        if event.data.strip() == b"[DONE]":
            self.done = True
            return self._end_calls()
        told = decode_json(event.data, _ReplyIn, self._origin.provider)
        if told.error is not None:
            error = ErrorIn(message=told.error) if isinstance(told.error, str) else told.error
            raise provider_error(self._origin.provider, _status_of(error), kinds_of(error), error.message or "", None)
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
        reply = self._draft.finished("refusal" if self._refused else self._finish)
        if self._logprobs is None:
            return reply
        return msgspec.structs.replace(reply, logprobs=Raw(msgspec.json.encode(self._logprobs)))

    def _take(self, choice: _ChoiceIn) -> list[Delta]:
        assert not choice.index, "another choice is not looked at"
        deltas: list[Delta] = []
        message = choice.message or choice.delta
        self._answered = True
        if message is not None:
            deltas += self._draft.add_reasoning(message.reasoning_content or message.reasoning or "")
            for detail in message.reasoning_details or ():
                self._take_detail(detail)
            content = message.content
            if isinstance(content, list):
                content = "".join(piece.text or "" for piece in content)
            deltas += self._draft.add_text(content or "")
            deltas += self._draft.add_text(message.refusal or "")
            self._refused = self._refused or bool(message.refusal)
            for piece in message.tool_calls or ():
                deltas += self._grow_call(piece, whole=choice.message is not None)
        if choice.logprobs is not None:
            self._take_logprobs(choice.logprobs)
        if choice.finish_reason is not None or choice.message is not None:
            self._finish = _FINISHES.get(choice.finish_reason, "other")
            self.done = True
            deltas += self._end_calls()
            assert all(call.part is not None for call in self._calls)
        return deltas

    def _take_detail(self, detail: Raw) -> None:
        """Thinking that only its maker can read is kept as it came, to be given back as it came."""
        if msgspec.json.decode(detail, type=_DetailIn).type == "reasoning.encrypted":
            self._draft.seal_reasoning(redacted=bytes(detail).decode())

    def _take_logprobs(self, told: _LogprobsIn) -> None:
        have = self._logprobs or _LogprobsIn()
        content = [*(have.content or ()), *(told.content or ())]
        refusal = [*(have.refusal or ()), *(told.refusal or ())]
        self._logprobs = _LogprobsIn(content=content or None, refusal=refusal or None)

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


def _arguments_text(arguments: Raw) -> str:
    """Arguments as text, whether they came as text or as an object."""
    raw = bytes(arguments)
    if raw == b"null":
        return ""
    return msgspec.json.decode(raw, type=str) if raw.startswith(b'"') else raw.decode()


def kinds_of(error: ErrorIn) -> tuple[str, ...]:
    """The names that the server gives the error, the most telling first."""
    codes = (error.code if isinstance(error.code, str) else None, error.type)
    return tuple(code for code in codes if code)


def _status_of(error: ErrorIn) -> int | None:
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
