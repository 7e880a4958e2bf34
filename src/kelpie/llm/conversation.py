"""What any provider accepts: the messages of a request, in an order and form that none of them refuses.

Histories are cut by compaction, left open by a cancelled turn, and filled by models that repeat a call id.
A request that a provider refuses for such a reason would be refused for ever, so it is mended here, for every
wire alike: nothing blank, one message per speaker's turn, every call answered right after it, every call id
used once.
"""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from kelpie.llm.messages import (
    ImagePart,
    ModelMessage,
    ModelRequest,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)

NO_RETURN_TEXT = "No result of this call was recorded."
JSON_ONLY_TEXT = "Answer with one JSON object and nothing else: no words around it, no code fence."
_NAME_CHARACTERS = re.compile(r"[^a-zA-Z0-9_-]")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]{1,40}")
_NAME_CHARS_MAX = 64


def mend(messages: Iterable[ModelMessage], *, plain: bool) -> list[ModelMessage]:
    """The messages without blank parts, neighbours of one role joined, calls and returns paired, ids unique.

    With `plain` no message has a name or the role `system`: what the system says is told as the user's, marked.
    """
    mender = _Mender(plain)
    for message in messages:
        mender.add(message)
    return mender.close()


def system_text(request: ModelRequest) -> str:
    """The system prompt, and what a reply in JSON must be told in words: OpenAI wants them, Anthropic has no other."""
    asked = request.sampling.reply_format
    if asked is None or asked.kind != "json_object":
        return request.system
    return f"{request.system}\n\n{JSON_ONLY_TEXT}" if request.system.strip() else JSON_ONLY_TEXT


def wire_name(name: str) -> str:
    """A tool's name in the characters that every provider takes; a model may have called one that has others."""
    return _NAME_CHARACTERS.sub("_", name)[:_NAME_CHARS_MAX] or "unknown"


def wire_call_id(call_id: str) -> str:
    """A call id in the form that every provider takes, the same one for the same id."""
    if _CALL_ID.fullmatch(call_id):
        return call_id
    return f"call_{hashlib.sha256(call_id.encode('utf-8', 'replace')).hexdigest()[:24]}"


def arguments_object(arguments: str) -> bytes:
    """The arguments as a JSON object; what is none is told as `{"malformed_arguments": text}`."""
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        text = arguments.encode("utf-8", "replace").decode()
        return b"{}" if not arguments.strip() else msgspec.json.encode({"malformed_arguments": text})
    return arguments.encode()


class _Turn:
    """A message while it is still growing; `whole`, if it is one of the history as it stands."""

    __slots__ = ("name", "parts", "role", "whole")

    def __init__(self, role: Role, name: str | None) -> None:
        self.role: Role = role
        self.name = name
        self.parts: list[Part] = []
        self.whole: ModelMessage | None = None


class _Mender:
    """Goes once through a conversation; `open` are the calls of the latest assistant turn without a return."""

    def __init__(self, plain: bool) -> None:
        self._plain = plain
        self._turns: list[_Turn] = []
        self._open: dict[str, list[ToolCallPart]] = {}  # by the id in the history; the values have unique ids
        self._used: set[str] = set()  # only asked whether it holds an id, never iterated

    def add(self, message: ModelMessage) -> None:
        """Append one message of the history."""
        if self._added_plain(message):
            return
        match message.role:
            case "assistant":
                self._add_said(message)
            case "tool":
                self._add_returned(message)
            case "user" | "system":
                self._add_heard(message)

    def close(self) -> list[ModelMessage]:
        """The mended messages."""
        self._answer_open_calls()
        mended: list[ModelMessage] = []
        for turn in self._turns:
            assert turn.parts, "a turn begins with a part"
            whole = turn.whole
            if whole is None or len(turn.parts) != 1:
                whole = ModelMessage(role=turn.role, parts=tuple(turn.parts), name=turn.name)
            mended.append(whole)
        return mended

    def _added_plain(self, message: ModelMessage) -> bool:
        """Whether it was a single text of the user's or the model's, as most are, which begins a turn as it stands."""
        last = self._turns[-1] if self._turns else None
        if len(message.parts) != 1 or self._open or message.name is not None:
            return False
        if message.role not in ("user", "assistant") or (last is not None and last.role == message.role):
            return False
        part = message.parts[0]
        if not isinstance(part, TextPart) or _is_blank(part.text):
            return False
        turn = _Turn(message.role, None)
        turn.parts.append(part)
        turn.whole = message
        self._turns.append(turn)
        return True

    def _add_said(self, message: ModelMessage) -> None:
        said = [part for part in message.parts if _is_said(part)]
        if all(isinstance(part, ReasoningPart) for part in said):
            return  # thought, but neither spoke nor acted
        if self._turns and self._turns[-1].role == "tool":
            self._answer_open_calls()
        turn = self._turn("assistant", None)
        for part in said:
            turn.parts.append(self._opened(part) if isinstance(part, ToolCallPart) else part)

    def _opened(self, call: ToolCallPart) -> ToolCallPart:
        named, number = call, 2
        while named.call_id in self._used:  # ends: _used is finite
            named = msgspec.structs.replace(call, call_id=f"{call.call_id}_{number}")
            number += 1
        self._used.add(named.call_id)
        self._open.setdefault(call.call_id, []).append(named)
        return named

    def _add_returned(self, message: ModelMessage) -> None:
        assert message.role == "tool"
        orphans: list[ToolReturnPart] = []
        for part in message.parts:
            if not isinstance(part, ToolReturnPart):
                continue
            calls = self._open.get(part.call_id)
            if not calls:
                orphans.append(part)
                continue
            answer = msgspec.structs.replace(part, call_id=calls.pop(0).call_id)
            assert answer.call_id in self._used
            self._turn("tool", None).parts.append(answer)
        spoken = [part for part in orphans if not _is_blank(part.text)]
        if spoken:  # their calls are no longer in the window
            self._answer_open_calls()
        for part in spoken:
            text = f"Result of an earlier call of {part.name}: {part.text}"
            self._turn("user", None).parts.append(TextPart(text=text))

    def _add_heard(self, message: ModelMessage) -> None:
        heard = [part for part in message.parts if _is_heard(part)]
        if not heard:
            return
        self._answer_open_calls()
        if not self._plain:
            self._turn(message.role, message.name).parts.extend(heard)
        elif message.role == "system":
            self._turn("user", None).parts.extend(_marked(part) for part in heard)
        else:
            self._turn("user", None).parts.extend(heard)

    def _answer_open_calls(self) -> None:
        for calls in self._open.values():
            for call in calls:
                answer = ToolReturnPart(call_id=call.call_id, name=call.name, text=NO_RETURN_TEXT, ok=False)
                self._turn("tool", None).parts.append(answer)
        self._open.clear()

    def _turn(self, role: Role, name: str | None) -> _Turn:
        last = self._turns[-1] if self._turns else None
        if last is None or last.role != role or last.name != name:
            last = _Turn(role, name)
            self._turns.append(last)
        return last


def _is_said(part: Part) -> bool:
    """All but blank words and pictures: no provider takes a picture in the model's mouth."""
    return not _is_blank(part.text) if isinstance(part, TextPart) else not isinstance(part, ImagePart)


def _is_heard(part: Part) -> bool:
    return isinstance(part, ImagePart) or (isinstance(part, TextPart) and not _is_blank(part.text))


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _marked(part: Part) -> Part:
    """What the system says, in a message of the user."""
    return TextPart(text=f"<system>\n{part.text}\n</system>") if isinstance(part, TextPart) else part
