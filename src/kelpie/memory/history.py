"""The message history of a thread: every message ever, in order, immutable.

The window and the model's search read from it; compaction takes messages out of the window, never out of here.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from msgspec import Struct

from kelpie.errors import NotFound
from kelpie.ids import AgentId, AnyThreadId, ConversationId, MessageId, RunId, StepId, ThreadId
from kelpie.limits import GET_KEYS_MAX, HISTORY_HITS_MAX, HISTORY_SEARCHED_MAX, PAGE_ROWS_MAX
from kelpie.llm.messages import (
    ImagePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    VerdictPart,
)
from kelpie.storage import keys
from kelpie.storage.paging import rows_to_read
from kelpie.storage.records import Batch, Records, Space

MESSAGES_READ_AT_ONCE = 200  # of possibly MESSAGE_BYTES_MAX each, though hardly any is
PLACES_LOOKED_AT_MAX = 1_000  # threads that share a message, of which one lists it
Present = Callable[[Sequence[AgentId]], Awaitable[frozenset[AgentId]]]
MessageKind = Literal["system", "user", "assistant", "tool", "summary", "approval"]


class CompactionStats(Struct, frozen=True, kw_only=True):
    """What a summary made of its window: tokens are estimates, messages are counted with the system message."""

    trigger: str
    tokens_before: int
    tokens_after: int
    context_tokens: int  # of the window when it is full
    messages_before: int
    messages_after: int


class StoredMessage(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """One message as it happened. `seq` is its place in the thread's history, counted from 0 without gaps.

    A fork of the thread has a copy under the same id, at a place of its own.
    """

    id: MessageId
    agent_id: AgentId
    conversation_id: ConversationId | None = None  # None: the agent's default thread
    seq: int
    kind: MessageKind
    parts: tuple[Part, ...]
    created_at_us: int
    run_id: RunId | None = None
    step_id: StepId | None = None
    otid: str | None = None  # the client's own key for a message that it sent
    sender_id: str | None = None
    name: str | None = None
    compaction: CompactionStats | None = None  # of a summary

    @property
    def thread_id(self) -> ThreadId:
        """In whose history it stands."""
        return ThreadId(self.conversation_id or self.agent_id)


class MessagePlace(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """Where a message stands in the history of a thread, and whether it stood in another one's before."""

    thread_id: ThreadId
    seq: int
    created_at_us: int
    copied: bool = False
    id: MessageId  # of the message, for whoever finds the place by its time


class HistoryQuery(Struct, frozen=True, kw_only=True):
    """What to look for: every word of `text` (none: any message), in messages of these kinds, between these times.

    Both times are inclusive. What the tools named in `skip_tools` were asked and answered is not searched, so that
    a search does not find itself. System messages and summaries are found only when `kinds` names them.
    """

    text: str = ""
    kinds: tuple[MessageKind, ...] = ("user", "assistant", "tool")
    from_us: int | None = None
    to_us: int | None = None
    limit: int = HISTORY_HITS_MAX
    skip_tools: tuple[str, ...] = ()


class HistoryHits(Struct, frozen=True, kw_only=True):
    """The newest messages that match, newest first. `complete` says that no older message was left unsearched."""

    messages: tuple[StoredMessage, ...]
    searched: int
    complete: bool


MESSAGES = Space("message", StoredMessage, large=True)  # at(thread_id, seq)
MESSAGE_PLACES = Space("message_place", MessagePlace)  # at(message_id, thread_id)
MESSAGES_BY_TIME = Space("message_by_time", MessagePlace)  # at(created_at_us, seq, thread_id)
AGENT_MESSAGES = Space("agent_message", MessagePlace)  # at(agent_id, created_at_us, seq, thread_id)


class History:
    """The histories in the store."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def place(self, thread_id: AnyThreadId, message_id: MessageId) -> int:
        """The seq of a message. Raises NotFound."""
        found = await self._records.get(MESSAGE_PLACES.at(message_id, thread_id))
        if found is None:
            raise _message_not_found(message_id)
        return found.value.seq

    async def find(self, message_id: MessageId) -> StoredMessage:
        """The message, from whatever thread has it. Raises NotFound."""
        places = await self._records.scan(MESSAGE_PLACES, message_id, limit=1)
        for place in places:
            found = await self._records.get(MESSAGES.at(place.value.thread_id, place.value.seq))
            if found is not None:
                return found.value
        raise _message_not_found(message_id)

    async def get_many(self, thread_id: AnyThreadId, seqs: Sequence[int]) -> list[StoredMessage]:
        """The messages at these places, in this order. Raises NotFound if one is missing: the thread was removed."""
        messages: list[StoredMessage] = []
        for start in range(0, len(seqs), GET_KEYS_MAX):  # several snapshots of what never changes
            some = seqs[start : start + GET_KEYS_MAX]
            founds = await self._records.get_all([MESSAGES.at(thread_id, seq) for seq in some])
            for seq, found in zip(some, founds, strict=True):
                if found is None:
                    raise NotFound(f"Message {seq} of '{thread_id}' not found", thread_id=thread_id)
                assert found.value.seq == seq
                messages.append(found.value)
        return messages

    async def search(self, thread_id: AnyThreadId, query: HistoryQuery) -> HistoryHits:
        """Look through the newest HISTORY_SEARCHED_MAX messages; the answer says whether there were more."""
        assert 0 < query.limit <= HISTORY_HITS_MAX
        words = tuple(query.text.casefold().split())
        hits: list[StoredMessage] = []
        searched, before = 0, None
        while searched < HISTORY_SEARCHED_MAX:
            messages = await self.list(thread_id, before_seq=before, limit=MESSAGES_READ_AT_ONCE, newest_first=True)
            assert before is None or not messages or messages[0].seq < before, "ends: each page is older"
            for message in messages:
                searched += 1
                if query.from_us is not None and message.created_at_us < query.from_us:
                    return HistoryHits(messages=tuple(hits), searched=searched, complete=True)
                if _matches(message, query, words):
                    hits.append(message)
                    if len(hits) == query.limit:
                        return HistoryHits(messages=tuple(hits), searched=searched, complete=message.seq == 0)
            if len(messages) < MESSAGES_READ_AT_ONCE or messages[-1].seq == 0:
                return HistoryHits(messages=tuple(hits), searched=searched, complete=True)
            before = messages[-1].seq
        return HistoryHits(messages=tuple(hits), searched=searched, complete=False)

    async def list(
        self,
        thread_id: AnyThreadId,
        *,
        after_seq: int | None = None,
        before_seq: int | None = None,
        limit: int,
        newest_first: bool = False,
    ) -> list[StoredMessage]:
        """Messages with after_seq < seq < before_seq: the oldest `limit`, or the newest, newest first."""
        assert 0 < limit <= PAGE_ROWS_MAX
        founds = await self._records.scan(
            MESSAGES, thread_id, after=after_seq, before=before_seq, limit=limit, reverse=newest_first
        )
        return [found.value for found in founds]


class MessageIndex:
    """Messages of several threads in the order of time: of one agent, or of all. A message that forks share is one.

    `present` says which of some agents are there: rows of one that was removed may be there for a while.
    """

    def __init__(self, records: Records, agent_id: AgentId | None, present: Present) -> None:
        self._records = records
        self._present = present
        self._space = MESSAGES_BY_TIME if agent_id is None else AGENT_MESSAGES
        self._prefix = () if agent_id is None else (agent_id,)

    async def page(
        self, *, after: MessageId | None = None, before: MessageId | None = None, limit: int, newest_first: bool = False
    ) -> list[StoredMessage]:
        """A page; `after` and `before` are messages, in time. Raises NotFound for others."""
        assert 0 < limit <= PAGE_ROWS_MAX
        start, end = keys.below(self._space.name, *self._prefix)
        if after is not None:
            start = keys.past(self._space.name, *await self._parts(after))
        if before is not None:
            end = keys.key(self._space.name, *await self._parts(before))
        found: list[StoredMessage] = []
        scanned = 0
        while len(found) < limit and start < end:
            at_once = rows_to_read(limit, scanned, MESSAGES_READ_AT_ONCE)
            rows = await self._records.store.scan(start, end, limit=at_once, reverse=newest_first)
            found += await self._read([self._space.decode(row.key, row.value) for row in rows])
            if len(rows) < at_once:
                break
            assert start <= rows[-1].key < end
            start, end = (start, rows[-1].key) if newest_first else (rows[-1].key + b"\0", end)
            scanned += at_once
        return found[:limit]

    async def _parts(self, message_id: MessageId) -> tuple[str | int, ...]:
        """The key parts under which the message is listed in this index."""
        place = await self._listed_place(message_id)
        if place is not None:
            parts = (*self._prefix, place.created_at_us, place.seq, place.thread_id)
            if await self._records.get(self._space.at(*parts)) is not None:
                return parts
        raise _message_not_found(message_id)

    async def _read(self, places: Sequence[MessagePlace]) -> list[StoredMessage]:
        """The messages that are listed at these places, in this order."""
        messages = await self._at(places)
        there = await self._present([message.agent_id for message in messages if message is not None])
        return [
            message
            for place, message in zip(places, messages, strict=True)
            if message is not None
            and message.agent_id in there
            and (not place.copied or await self._listed_place(message.id) == place)
        ]

    async def _at(self, places: Sequence[MessagePlace]) -> list[StoredMessage | None]:
        """What stands at these places. Neighbours in one thread are swept up, which is less than to look up each."""
        if not _are_neighbours(places):
            founds = await self._records.get_all([MESSAGES.at(place.thread_id, place.seq) for place in places])
            return [None if found is None else found.value for found in founds]
        low, high = sorted((places[0].seq, places[-1].seq))
        start, end = MESSAGES.at(places[0].thread_id, low).key, MESSAGES.at(places[0].thread_id, high + 1).key
        rows = await self._records.scan_range(MESSAGES, start, end, limit=high - low + 1)
        by_seq = {row.value.seq: row.value for row in rows}
        return [by_seq.get(place.seq) for place in places]

    async def _listed_place(self, message_id: MessageId) -> MessagePlace | None:
        """Of all places of a message the one where it is listed: where it was said, or else its first copy."""
        rows = await self._records.scan(MESSAGE_PLACES, message_id, limit=PLACES_LOOKED_AT_MAX)
        places = [row.value for row in rows]
        return next((place for place in places if not place.copied), places[0] if places else None)


def _are_neighbours(places: Sequence[MessagePlace]) -> bool:
    """Whether they follow each other in the history of one thread, forwards or backwards."""
    if not places:
        return False
    first, step = places[0], 1 if places[0].seq <= places[-1].seq else -1
    return all(
        place.seq == first.seq + step * at and place.thread_id == first.thread_id for at, place in enumerate(places)
    )


def append(batch: Batch, message: StoredMessage, *, copied: bool = False) -> None:
    """Add a message at its place, which the owner of the thread counts. Raises LimitExceeded when it is too large."""
    assert message.seq >= 0
    thread_id, at_us = message.thread_id, message.created_at_us
    place = MessagePlace(id=message.id, thread_id=thread_id, seq=message.seq, created_at_us=at_us, copied=copied)
    batch.put_new(MESSAGES.at(thread_id, message.seq), message)
    batch.put(MESSAGE_PLACES.at(message.id, thread_id), place)
    batch.put(MESSAGES_BY_TIME.at(at_us, message.seq, thread_id), place)
    batch.put(AGENT_MESSAGES.at(message.agent_id, at_us, message.seq, thread_id), place)


def delete(batch: Batch, message: StoredMessage) -> None:
    """Remove a message from its thread; copies of it in other threads stay."""
    thread_id, at_us = message.thread_id, message.created_at_us
    batch.delete(MESSAGES.at(thread_id, message.seq))
    batch.delete(MESSAGE_PLACES.at(message.id, thread_id))
    batch.delete(MESSAGES_BY_TIME.at(at_us, message.seq, thread_id))
    batch.delete(AGENT_MESSAGES.at(message.agent_id, at_us, message.seq, thread_id))


def part_text(part: Part) -> str:
    """What a reader would call the text of a part; thinking is not said, so it has none."""
    match part:
        case TextPart():
            return part.text
        case ToolCallPart():
            return f"{part.name}({part.arguments})"
        case ToolReturnPart():
            return part.text
        case ReasoningPart() | ImagePart():
            return ""
        case VerdictPart():
            return part.reason or ""


def searchable_text(message: StoredMessage, skip_tools: tuple[str, ...] = ()) -> str:
    """The text of a message, its parts on lines of their own."""
    texts: list[str] = []
    for part in message.parts:
        if isinstance(part, ToolCallPart | ToolReturnPart) and part.name in skip_tools:
            continue
        texts.append(part_text(part))
    return "\n".join(text for text in texts if text)


def _message_not_found(message_id: MessageId) -> NotFound:
    return NotFound(f"Message with id '{message_id}' not found", message_id=message_id)


def _matches(message: StoredMessage, query: HistoryQuery, words: tuple[str, ...]) -> bool:
    """Whether the message is wanted; its time is compared with `from_us` by the caller."""
    if message.kind not in query.kinds:
        return False
    if query.to_us is not None and message.created_at_us > query.to_us:
        return False
    text = searchable_text(message, query.skip_tools).casefold()
    return bool(text) and all(word in text for word in words)
