"""A run as a stream of wire messages.

The pieces of a reply are shown while it is made, and of the committed message only what the pieces lacked. A preview
that turns out not to be the beginning of what was committed (the model was asked again in between) is followed by the
whole text. In the background everything shown is committed and has a number, the pieces too, so that a reader who comes
back is given exactly what it has not seen: the numbers depend on the stored events alone, never on what a reader asked
to be shown.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, assert_never

from msgspec import Struct

from kelpie.agent.door import AgentDoor
from kelpie.agent.events import DeltaEvent, FinishedEvent, MessageEvent, PiecesEvent
from kelpie.api.errors import sentence_of
from kelpie.api.letta.message_shapes import (
    PLAIN_SPEECH,
    ErrorMessage,
    Ping,
    Speech,
    StopReasonOut,
    WireMessage,
    number_parts,
    shared_fields,
    show_compaction,
    show_message,
    show_reasoning,
    show_stop,
    show_usage,
    spoken_text,
    wire_indexes,
    with_seq,
)
from kelpie.api.letta.message_structs import (
    ApprovalRequestMessage,
    AssistantMessage,
    ReasoningMessage,
    SummaryMessage,
    ToolCallDeltaOut,
    ToolCallMessage,
)
from kelpie.api.letta.spoken import spoken_so_far
from kelpie.api.letta.values import part_otid, seconds_date
from kelpie.api.sse import COMMENT, DONE, EventStream, frame
from kelpie.errors import KelpieError, OutcomeUnknown
from kelpie.ids import MessageId, RunId, new_uuid
from kelpie.llm.messages import Delta, ReasoningDelta, ReasoningPart, TextDelta, TextPart, ToolCallDelta, ToolCallPart
from kelpie.memory.history import StoredMessage
from kelpie.world import World


class StreamOptions(Struct, frozen=True, kw_only=True):
    """What a reader wants to be shown."""

    tokens: bool = False
    numbered: bool = False
    seen: int = 0  # the highest number that the reader has
    pings: bool = True
    types: frozenset[str] | None = None
    summaries: bool = False
    speech: Speech = PLAIN_SPEECH


class _Preview:
    """What was shown of one reply before it was committed."""

    def __init__(self, message_id: MessageId) -> None:
        self.message_id = message_id
        self.pieces = 0  # how many were shown, from the first on; one that does not follow them is not
        self.texts: dict[int, str] = {}  # what was shown, by part
        self.written: dict[int, str] = {}  # the arguments of calls
        self.groups: dict[int, str | None] = {}  # as `call_group` says
        self.asides: set[int] = set()  # texts that were shown as thoughts; only asked whether it holds one

    def index(self, part: int) -> int:
        """The number of the wire message that a part belongs to."""
        return number_parts([self.groups.get(at) for at in range(part + 1)])[part]


class RunView:
    """Turns one run's events into wire messages."""

    def __init__(self, run_id: RunId, options: StreamOptions) -> None:
        self._run_id = run_id
        self._options = options
        self._preview: _Preview | None = None
        self._committed: set[MessageId] = set()  # a piece that comes after its message is stale
        self._number = 1  # of the last numbered event; the first ping's

    def show(self, event: MessageEvent | PiecesEvent | DeltaEvent) -> list[WireMessage]:
        """What this event adds to what was shown."""
        match event:
            case DeltaEvent():
                assert not self._options.numbered, "what is not committed has no number"
                return [shown for shown in self._show_delta(event) if self._is_wanted(shown)]
            case PiecesEvent():
                preview = self._preview_of(event.message_id)
                pieces = [shown for delta in event.deltas for shown in self._show_piece(event, preview, delta)]
                return self._numbered(pieces)
            case MessageEvent():
                return self._show_committed(event.message)
            case _:
                assert_never(event)

    def _show_committed(self, stored: StoredMessage) -> list[WireMessage]:
        preview, self._preview = self._preview, None
        self._committed.add(stored.id)
        if preview is not None and preview.message_id == stored.id and preview.texts:
            return self._numbered(_rest(stored, preview, self._options.speech))
        return self._numbered(with_events(show_message(stored, self._options.speech)))

    def _numbered(self, shown: Iterable[WireMessage]) -> list[WireMessage]:
        """What is committed, each with the next number if they are numbered; what is wanted and was not seen of it."""
        wanted: list[WireMessage] = []
        for message in shown:
            self._number += 1
            if self._is_wanted(message) and self._number > self._options.seen:
                wanted.append(with_seq(message, self._number if self._options.numbered else None))
        return wanted

    def _show_delta(self, event: DeltaEvent) -> list[WireMessage]:
        if event.message_id in self._committed:
            return []
        preview = self._preview_of(event.message_id)
        if event.piece != preview.pieces:
            return []  # one before it was dropped: the committed message will have the rest
        preview.pieces += 1
        return self._show_piece(event, preview, event.delta)

    def _preview_of(self, message_id: MessageId) -> _Preview:
        """What was shown of the message so far; of another one before it nothing more will come."""
        if self._preview is None or self._preview.message_id != message_id:
            self._preview = _Preview(message_id)
        return self._preview

    def _show_piece(self, event: DeltaEvent | PiecesEvent, preview: _Preview, delta: Delta) -> list[WireMessage]:
        is_new = delta.part not in preview.groups
        if is_new:
            preview.groups[delta.part] = self._group(delta)
        common: dict[str, Any] = {
            "id": event.message_id,
            "date": seconds_date(event.created_at_us),
            "otid": part_otid(event.message_id, preview.index(delta.part)),
            "step_id": event.step_id,
            "run_id": self._run_id,
        }
        match delta:
            case TextDelta():
                return self._show_text(preview, delta, common)
            case ReasoningDelta():
                preview.texts[delta.part] = preview.texts.get(delta.part, "") + delta.text
                return [ReasoningMessage(**common, reasoning=delta.text)] if delta.text else []
            case ToolCallDelta():
                return self._show_call(preview, delta, common, is_new)
            case _:
                assert_never(delta)

    def _group(self, delta: Delta) -> str | None:
        if not isinstance(delta, ToolCallDelta):
            return None
        if delta.asks:
            return "asks"
        return None if delta.name == self._options.speech.tool else "calls"

    def _show_text(self, preview: _Preview, delta: TextDelta, common: dict[str, Any]) -> list[WireMessage]:
        """Words; those of an agent that speaks with a tool are thoughts until it turns out that it called none."""
        preview.texts[delta.part] = preview.texts.get(delta.part, "") + delta.text
        if not delta.text:
            return []
        if not delta.aside:
            return [AssistantMessage(**common, content=delta.text)]
        preview.asides.add(delta.part)
        return [ReasoningMessage(**common, source="non_reasoner_model", reasoning=delta.text)]

    def _show_call(
        self, preview: _Preview, delta: ToolCallDelta, common: dict[str, Any], is_new: bool
    ) -> list[WireMessage]:
        """A piece of a call, or of what is said with it."""
        part, group = delta.part, preview.groups[delta.part]
        preview.written[part] = preview.written.get(part, "") + delta.arguments
        if group is not None:
            preview.texts[part] = preview.written[part]
            return _show_call_piece(common, delta, is_new, asks=group == "asks")
        seen = preview.texts.get(part, "")
        told = spoken_so_far(preview.written[part], self._options.speech.kwarg)
        preview.texts[part] = told
        return [AssistantMessage(**common, content=told[len(seen) :])] if len(told) > len(seen) else []

    def _is_wanted(self, shown: WireMessage) -> bool:
        if shown.message_type in ("summary_message", "event_message") and not self._options.summaries:
            return False
        return self._options.types is None or shown.message_type in self._options.types


def stream_run(world: World, door: AgentDoor, run_id: RunId, options: StreamOptions) -> EventStream:
    """The run as an event stream: ping, messages, what went wrong, stop reason, usage, and the end."""

    def ping() -> bytes:
        return frame(_ping(world, run_id, None)) if options.pings else COMMENT

    return EventStream(_frames(world, door, run_id, options), ping)


async def _frames(world: World, door: AgentDoor, run_id: RunId, options: StreamOptions) -> AsyncGenerator[bytes, None]:
    if options.pings and options.seen < 1:
        yield frame(_ping(world, run_id, 1 if options.numbered else None))
    view = RunView(run_id, options)
    deltas = options.tokens and not options.numbered
    try:
        async with aclosing(door.follow(run_id, after=0, deltas=deltas)) as events:
            async for event in events:
                if isinstance(event, FinishedEvent):
                    for shown in _ending(run_id, event):
                        yield frame(shown)
                    break
                for shown in view.show(event):
                    yield frame(shown)
    except KelpieError as error:
        yield frame(_error(run_id, error.code, sentence_of(error)))
        if not isinstance(error, OutcomeUnknown):  # then the run goes on, and only this reader stops
            yield frame(StopReasonOut(stop_reason="error"))
    yield DONE


def _ending(run_id: RunId, finished: FinishedEvent) -> Iterable[Struct]:
    if finished.error is not None:
        yield _error(run_id, finished.error.code, finished.error.sentence)
    yield show_stop(finished)
    yield show_usage(finished)


def _error(run_id: RunId, code: str, sentence: str) -> ErrorMessage:
    return ErrorMessage(run_id=run_id, error_type=code, message=sentence, detail=sentence)


def _ping(world: World, run_id: RunId, seq_id: int | None) -> Ping:
    ping_id = f"ping-{new_uuid(world.entropy)}"
    return Ping(id=ping_id, date=seconds_date(world.wall.now_us()), seq_id=seq_id, run_id=run_id)


def with_events(messages: Iterable[WireMessage]) -> Iterable[WireMessage]:
    """The messages, each summary behind the event that made it necessary."""
    for message in messages:
        if isinstance(message, SummaryMessage):
            yield show_compaction(message)
        yield message


def _show_call_piece(common: dict[str, Any], delta: ToolCallDelta, is_new: bool, *, asks: bool) -> list[WireMessage]:
    """The name first and by itself, then the arguments."""
    pieces: list[ToolCallDeltaOut] = []
    if is_new:
        pieces.append(ToolCallDeltaOut(name=delta.name, tool_call_id=delta.call_id))
    if delta.arguments:
        pieces.append(ToolCallDeltaOut(arguments=delta.arguments, tool_call_id=delta.call_id))
    if asks:
        named = {**common, "otid": common["id"]}
        return [ApprovalRequestMessage(**named, tool_call=piece, tool_calls=piece) for piece in pieces]
    return [ToolCallMessage(**common, tool_call=piece, tool_calls=piece) for piece in pieces]


def _rest(stored: StoredMessage, preview: _Preview, speech: Speech) -> list[WireMessage]:
    """What the pieces lacked of the committed message."""
    shown: list[WireMessage] = []
    for at, (part, index) in enumerate(zip(stored.parts, wire_indexes(stored.parts, speech), strict=True)):
        common: dict[str, Any] = {**shared_fields(stored), "otid": part_otid(stored.id, index)}
        seen = preview.texts.get(at)
        match part:
            case TextPart() if part.aside:
                text = _unseen(part.text, seen)
                if text:
                    shown.append(ReasoningMessage(**common, source="non_reasoner_model", reasoning=text))
            case TextPart():
                text = part.text if at in preview.asides else _unseen(part.text, seen)
                if text:
                    shown.append(AssistantMessage(**common, content=text))
            case ReasoningPart() if part.redacted is None:
                text = _unseen(part.text, seen)
                if text or part.signature:
                    shown.append(ReasoningMessage(**common, reasoning=text, signature=part.signature))
            case ReasoningPart():
                otid = common.pop("otid")
                shown.append(show_reasoning(part, common, otid))
            case ToolCallPart():
                shown += _rest_of_call(part, at, preview, common, speech)
            case _:
                raise AssertionError("a reply has no tool returns")
    return shown


def _rest_of_call(
    part: ToolCallPart, at: int, preview: _Preview, common: dict[str, Any], speech: Speech
) -> list[WireMessage]:
    """What the pieces lacked of a call, or of what was said with it."""
    seen = preview.texts.get(at)
    said = spoken_text(part, speech)
    if said is not None:
        text = _unseen(said, seen)
        return [AssistantMessage(**common, content=text)] if text else []
    if preview.groups.get(at) is None:
        seen = None  # what was shown were words
    rest = ToolCallDelta(part=at, call_id=part.call_id, name=part.name, arguments=_unseen(part.arguments, seen))
    return _show_call_piece(common, rest, seen is None, asks=part.asks is not None)


def _unseen(text: str, seen: str | None) -> str:
    return text[len(seen) :] if seen is not None and text.startswith(seen) else text
