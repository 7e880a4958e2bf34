"""What is kept of each step: one row, in the turn's own commits, from which everything else is told on demand.

A step's request is not stored again. The row says what it was made of: which messages of the history, which system
prompt and which tools (by their hash; each text is kept once for an agent), and the rest of the request as it was.
`tracing.py` puts them together again.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from kelpie.agent.prompt import Prompt
from kelpie.agent.state import AgentState, RunError, Shown, StopReason, Turn
from kelpie.ids import AgentId, ConversationId, RunId, StepId, ThreadId
from kelpie.limits import SHOWN_BYTES_MAX
from kelpie.llm.messages import Delta, FinishReason, ModelReply, ModelRequest, ToolCallPart, Usage
from kelpie.llm.model import ModelInfo, OnDelta
from kelpie.storage.records import Batch, Space
from kelpie.world import WallClock

StepStatus = Literal["pending", "success", "failed", "cancelled"]
_ENCODER = msgspec.json.Encoder()
_NS_PER_US = 1_000
_HASH_BYTES = 16


class Account(Struct, frozen=True, kw_only=True):
    """One call of a model: what it was made of, what it took, what it cost."""

    info: ModelInfo
    request: ModelRequest  # without its system prompt, messages and tools
    streamed: bool
    context_tokens: int
    system: str
    tools: bytes  # the definitions that were offered, as JSON
    shown: Shown  # the hashes of the two
    begun_at_us: int
    asked_ns: int
    first_ns: int | None  # until the first piece of a streamed reply
    usage: Usage
    finish: FinishReason | None  # None: there was no reply
    called: tuple[str, ...]  # names of the tools that the reply calls


class StepRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """One step as it is kept. `pending` until its tools have returned; a step without `info` failed before it asked."""

    id: StepId
    run_id: RunId
    agent_id: AgentId
    conversation_id: ConversationId | None = None
    number: int  # within its run, from 1
    begun_at_us: int
    status: StepStatus = "pending"
    info: ModelInfo | None = None
    request: ModelRequest | None = None
    streamed: bool = False
    context_tokens: int = 0
    window: tuple[tuple[int, int], ...] = ()  # the places of its messages: first and last of each stretch
    shown: Shown | None = None
    reply_seq: int | None = None
    called: tuple[str, ...] = ()
    finish: FinishReason | None = None
    usage: Usage = Usage()
    stop_reason: StopReason | None = None  # None: the turn went on
    error: RunError | None = None
    asked_ns: int | None = None
    first_ns: int | None = None
    tools_ns: int | None = None
    step_ns: int | None = None

    @property
    def thread_id(self) -> ThreadId:
        """In whose history its messages stand."""
        return ThreadId(self.conversation_id or self.agent_id)


class StepNote(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What people say of a step afterwards; a row of its own, since the step's owner may still write the other."""

    feedback: Literal["positive", "negative"] | None = None
    tags: tuple[str, ...] = ()
    transaction_id: str | None = None


class ShownText(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A system prompt, or the definitions of tools as JSON, as a model was shown it."""

    text: str


STEPS = Space("step", StepRecord, large=True)  # at(step_id)
STEP_NOTES = Space("step_note", StepNote)  # at(step_id)
SHOWN = Space("shown", ShownText, large=True)  # at(agent_id, hash)


class Asking:
    """One call of a model while it is made."""

    def __init__(self, wall: WallClock, prompt: Prompt, request: ModelRequest, on_delta: OnDelta | None) -> None:
        assert prompt.context_tokens > 0
        self._wall = wall
        self._prompt = prompt
        self._request = request
        self._on_delta = on_delta
        self._begun_at_us = wall.now_us()
        self._first_ns: int | None = None

    @property
    def on_delta(self) -> OnDelta | None:
        """To be told of the reply's pieces; None where nobody listens."""
        return None if self._on_delta is None else self._hear

    def account(self, reply: ModelReply | None) -> Account:
        """What it came to; None: it failed."""
        request, tools = self._request, _ENCODER.encode(self._request.tools)
        assert self._first_ns is None or self._first_ns >= 0
        assert self._first_ns is None or self._on_delta is not None
        return Account(
            info=self._prompt.info,
            request=msgspec.structs.replace(request, system="", messages=(), tools=()),
            streamed=self._on_delta is not None,
            context_tokens=self._prompt.context_tokens,
            system=request.system,
            tools=tools,
            shown=Shown(_hash(request.system.encode()), _hash(tools), self._prompt.settings.timezone),
            begun_at_us=self._begun_at_us,
            asked_ns=ns_since(self._begun_at_us, self._wall),
            first_ns=self._first_ns,
            usage=Usage() if reply is None else reply.usage,
            finish=None if reply is None else reply.finish,
            called=() if reply is None else called_tools(reply),
        )

    def _hear(self, delta: Delta) -> None:
        if self._first_ns is None:
            self._first_ns = ns_since(self._begun_at_us, self._wall)
        assert self._on_delta is not None
        self._on_delta(delta)


def answered(state: AgentState, turn: Turn, account: Account, reply_seq: int | None) -> StepRecord:
    """The record of a step whose model has answered, or has not; `state` is the one that it was asked in."""
    thread = state.thread
    assert turn.step >= 1
    assert account.asked_ns >= 0
    return StepRecord(
        id=turn.step_id,
        run_id=turn.run_id,
        agent_id=thread.agent_id,
        conversation_id=thread.conversation_id,
        number=turn.step,
        begun_at_us=account.begun_at_us,
        info=account.info,
        request=account.request,
        streamed=account.streamed,
        context_tokens=account.context_tokens,
        window=stretches([entry.seq for entry in state.window]),
        shown=account.shown,
        reply_seq=reply_seq,
        called=account.called,
        finish=account.finish,
        usage=account.usage,
        asked_ns=account.asked_ns,
        first_ns=account.first_ns,
    )


def unasked(state: AgentState, turn: Turn, now_us: int) -> StepRecord:
    """The record of a step that ended before its model was asked."""
    return StepRecord(
        id=turn.step_id,
        run_id=turn.run_id,
        agent_id=state.thread.agent_id,
        conversation_id=state.thread.conversation_id,
        number=turn.step,
        begun_at_us=now_us,
    )


def ended(record: StepRecord, now_us: int, stop_reason: StopReason | None, error: RunError | None) -> StepRecord:
    """The record of a step that is over; without a stop reason the turn goes on."""
    assert record.status == "pending"
    status: StepStatus = "cancelled" if stop_reason == "cancelled" else "success" if error is None else "failed"
    return msgspec.structs.replace(
        record,
        status=status,
        stop_reason=stop_reason,
        error=error,
        step_ns=max(0, now_us - record.begun_at_us) * _NS_PER_US,
    )


def keep_shown(batch: Batch, agent_id: AgentId, account: Account, kept: Shown | None) -> Shown:
    """Keep the texts that the thread's last step had not been shown; the hashes of this one's.

    What is larger than SHOWN_BYTES_MAX is not kept, and a trace says so.
    """
    shown = account.shown
    if kept is None or kept.system != shown.system:
        _keep(batch, agent_id, shown.system, account.system)
    if kept is None or kept.tools != shown.tools:
        _keep(batch, agent_id, shown.tools, account.tools.decode())
    return shown


def forget(batch: Batch, step_ids: Sequence[StepId]) -> None:
    """Remove the records of these steps."""
    for step_id in step_ids:
        batch.delete(STEPS.at(step_id))
        batch.delete(STEP_NOTES.at(step_id))


def stretches(places: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Places as stretches without gaps, in their order: 0 5 6 7 is (0, 0), (5, 7)."""
    found: list[tuple[int, int]] = []
    for place in places:
        if found and found[-1][1] == place - 1:
            found[-1] = (found[-1][0], place)
        else:
            found.append((place, place))
    assert sum(last - first + 1 for first, last in found) == len(places)
    return tuple(found)


def ns_since(begun_at_us: int, wall: WallClock) -> int:
    """Nanoseconds that have passed by the calendar, which is finer than the loop's clock; none if it went back."""
    return max(0, wall.now_us() - begun_at_us) * _NS_PER_US


def called_tools(reply: ModelReply) -> tuple[str, ...]:
    """The names of the tools that it calls, each once, in order."""
    return tuple(dict.fromkeys(part.name for part in reply.parts if isinstance(part, ToolCallPart)))


def _keep(batch: Batch, agent_id: AgentId, hash: str, text: str) -> None:
    if len(text.encode()) <= SHOWN_BYTES_MAX:
        batch.put(SHOWN.at(agent_id, hash), ShownText(text=text))


def _hash(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=_HASH_BYTES).hexdigest()
