"""What is the same on every provider's wire: the codec's shape, the reply under construction, the errors.

The codecs are pure: bytes in, structs out. `providers.py` sends what they encode and feeds them what comes.
"""

import re
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from kelpie.errors import KelpieError, ModelRefused, ModelUnavailable, WindowOverflow
from kelpie.ids import StepId
from kelpie.limits import MODEL_ERROR_WORDS_MAX
from kelpie.llm.messages import (
    Delta,
    FinishReason,
    ModelReply,
    ModelRequest,
    ReasoningDelta,
    ReasoningPart,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.sse_parse import ServerEvent

_Decoded = TypeVar("_Decoded")

_OVERFLOW = re.compile(
    r"context_length_exceeded|maximum context length|context (length|window|limit|size)|prompt is too long|"
    r"input is too long|too many input tokens|reduce the length of the (messages|prompt|input)|exceeds? the "
    r"(maximum number of tokens|model's context)",
    re.IGNORECASE,
)
_TAG = re.compile(r"<(style|script|head)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_RETRYABLE_KINDS = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error", "server_error"})
_REFUSED_KINDS = frozenset({
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "billing_error",
    "request_too_large", "insufficient_quota", "invalid_api_key", "model_not_found",
})  # fmt: skip


class ReplyOrigin(Struct, frozen=True, kw_only=True):
    """Whose reply is decoded: `step_id` makes call ids for calls that came without a usable one."""

    provider: str
    step_id: StepId


class ListedModel(Struct, frozen=True, kw_only=True):
    """One entry of a provider's list of models; token counts when the provider tells them."""

    model: str
    context_tokens: int | None = None
    output_tokens_max: int | None = None


class ModelPage(Struct, frozen=True, kw_only=True):
    """A page of that list; `after` asks for the next one."""

    models: tuple[ListedModel, ...]
    after: str | None = None


class StreamDecoder(Protocol):
    """Decodes one streamed reply. Both methods raise ModelRefused or ModelUnavailable."""

    done: bool  # the provider has said all it will say

    def feed(self, event: ServerEvent) -> list[Delta]:
        """The pieces that one event adds."""
        ...

    def finish(self) -> ModelReply:
        """The whole reply; ModelUnavailable when it ended in the middle."""
        ...


class Wire(Protocol):
    """A provider's wire format, bound to nothing but its words."""

    def headers(self, api_key: str) -> list[tuple[bytes, bytes]]:
        """The headers of every request, content type and authorisation included."""
        ...

    def ask_path(self) -> str:
        """Where a model is asked, under the provider's base URL."""
        ...

    def list_path(self, after: str | None) -> str:
        """Where models are listed, from the entry after `after`."""
        ...

    def encode(self, request: ModelRequest, info: ModelInfo, *, stream: bool) -> bytes:
        """The request's body."""
        ...

    def decode(self, body: bytes, origin: ReplyOrigin) -> ModelReply:
        """A whole reply from its body."""
        ...

    def stream_decoder(self, origin: ReplyOrigin) -> StreamDecoder:
        """A decoder for one streamed reply."""
        ...

    def error(self, status: int, body: bytes, retry_after_ms: int | None, provider: str) -> KelpieError:
        """The error that an answer of that status is."""
        ...

    def decode_models(self, body: bytes) -> ModelPage:
        """A page of the list of models."""
        ...


class ReplyDraft:
    """A reply that grows part by part; each method answers the deltas to report.

    A part's index is given when it begins and is its index in the finished reply, so nothing empty may begin
    a part.
    """

    def __init__(self, origin: ReplyOrigin) -> None:
        self.usage = Usage()
        self._origin = origin
        self._kinds: list[str] = []
        self._texts: list[list[str]] = []
        self._calls: dict[int, tuple[str, str]] = {}  # part -> call id, name
        self._seals: dict[int, tuple[str | None, str | None]] = {}  # part -> signature, redacted
        self._call_ids: set[str] = set()  # only asked whether it holds an id

    def add_text(self, text: str) -> list[Delta]:
        """Further words; they continue the last part if that is text."""
        if not text:
            return []
        part = self._continued("text")
        self._texts[part].append(text)
        return [TextDelta(part=part, text=text)]

    def add_reasoning(self, text: str) -> list[Delta]:
        """Further thinking; it continues the last part if that is unsealed thinking."""
        if not text:
            return []
        part = self._continued("reasoning")
        self._texts[part].append(text)
        return [ReasoningDelta(part=part, text=text)]

    def seal_reasoning(self, *, signature: str | None = None, redacted: str | None = None) -> None:
        """Sign the thinking before, or add thinking that only the provider can read."""
        assert (signature is None) != (redacted is None)
        part = self._begin("reasoning") if redacted is not None else self._continued("reasoning")
        self._seals[part] = (signature, redacted)

    def begin_call(self, call_id: str | None, name: str) -> tuple[int, list[Delta]]:
        """A tool call begins; a missing or repeated id is replaced. Answers the part too."""
        part = self._begin("tool_call")
        if not call_id or call_id in self._call_ids:
            call_id = f"call_{self._origin.step_id[-12:]}_{part}"
        self._call_ids.add(call_id)
        self._calls[part] = (call_id, name)
        return part, [ToolCallDelta(part=part, call_id=call_id, name=name, arguments="")]

    def add_arguments(self, part: int, arguments: str) -> list[Delta]:
        """Further argument text of the call at `part`."""
        assert part in self._calls
        if not arguments:
            return []
        self._texts[part].append(arguments)
        return [ToolCallDelta(part=part, call_id=self._calls[part][0], name=None, arguments=arguments)]

    def end_call(self, part: int) -> list[Delta]:
        """The call at `part` is complete; a call without any argument text has the arguments {}."""
        return [] if self._texts[part] else self.add_arguments(part, "{}")

    def finished(self, finish: FinishReason) -> ModelReply:
        """The reply so far, as a whole; `stop` with tool calls is told as `tool_calls`."""
        parts: list[ReasoningPart | TextPart | ToolCallPart] = []
        for index, (kind, texts) in enumerate(zip(self._kinds, self._texts, strict=True)):
            text = "".join(texts)
            if kind == "text":
                parts.append(TextPart(text=text))
            elif kind == "reasoning":
                signature, redacted = self._seals.get(index, (None, None))
                provider = self._origin.provider
                parts.append(ReasoningPart(text=text, signature=signature, redacted=redacted, provider=provider))
            else:
                call_id, name = self._calls[index]
                parts.append(ToolCallPart(call_id=call_id, name=name, arguments=text))
        if self._calls and finish in ("stop", "other"):
            finish = "tool_calls"
        return ModelReply(parts=tuple(parts), finish=finish, usage=self.usage)

    def _continued(self, kind: str) -> int:
        last = len(self._kinds) - 1
        if last >= 0 and self._kinds[last] == kind and last not in self._seals:
            return last
        return self._begin(kind)

    def _begin(self, kind: str) -> int:
        self._kinds.append(kind)
        self._texts.append([])
        return len(self._kinds) - 1


def decode_json(body: bytes, kind: type[_Decoded], provider: str) -> _Decoded:
    """`body` as JSON of that form; ModelUnavailable with its first words when it is anything else."""
    if not body.strip():
        raise ModelUnavailable(f"{provider} answered with nothing", provider=provider)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        words = clipped_words(body[: MODEL_ERROR_WORDS_MAX * 8], chars_max=120)
        sentence = f"{provider} answered with something that is not a reply ({error}): {words}"
        raise ModelUnavailable(sentence, provider=provider) from None


def clipped_words(text: bytes, *, chars_max: int = MODEL_ERROR_WORDS_MAX) -> str:
    """`text` on one line, without HTML tags, with `…` where it was clipped."""
    assert chars_max > 0
    line = " ".join(_TAG.sub(" ", text.decode("utf-8", "replace")).split())
    return line if len(line) <= chars_max else f"{line[:chars_max]}…"


def provider_error(
    provider: str, status: int | None, kinds: tuple[str, ...], words: str, retry_after_ms: int | None
) -> KelpieError:
    """The typed error for what a provider said. `status` is None inside a stream; `kinds` are its error codes."""
    where = f"{provider} answered {status}" if status is not None else f"{provider} broke off its reply"
    told = clipped_words(words.encode("utf-8", "replace")) or (kinds[0] if kinds else "without a word")
    sentence = f"{where}: {told}"
    kind = kinds[0] if kinds else None
    if _is_overflow(status, kinds, words):
        return WindowOverflow(sentence, provider=provider, status=status, kind=kind)
    if _is_refusal(status, kinds):
        return ModelRefused(sentence, provider=provider, status=status, kind=kind)
    return ModelUnavailable(sentence, provider=provider, status=status, kind=kind, retry_after_ms=retry_after_ms)


def _is_overflow(status: int | None, kinds: tuple[str, ...], words: str) -> bool:
    if "context_length_exceeded" in kinds or "request_too_large" in kinds:
        return True
    return status in (None, 400, 413, 422, 500) and _OVERFLOW.search(words) is not None


def _is_refusal(status: int | None, kinds: tuple[str, ...]) -> bool:
    if "insufficient_quota" in kinds:
        return True  # told with status 429, but no waiting helps
    if status is None:
        return any(kind in _REFUSED_KINDS for kind in kinds) and not any(kind in _RETRYABLE_KINDS for kind in kinds)
    return 300 <= status < 500 and status not in (408, 409, 425, 429)
