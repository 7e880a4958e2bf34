"""Search over what was said: all messages, or those of one agent, by meaning and by words.

The messages in question are found afresh for each search, newest first and within the times asked for, from the
indexes by time, whose rows are small. What of them an index in memory lacks is read and embedded, once; what is gone
from the store goes from it. So it needs no version, and a search answers as if the index had been built for it alone.
At most MESSAGES_SEARCHED_MAX messages are looked at; the answer says whether there were older ones.
"""

import asyncio
from collections.abc import Sequence
from weakref import WeakValueDictionary

from msgspec import Struct

from kelpie.ids import AgentId, MessageId
from kelpie.limits import MESSAGES_INDEXED_MAX, MESSAGES_SEARCHED_MAX, SCAN_ROWS_MAX
from kelpie.llm.messages import TextPart
from kelpie.memory.archive import Embedder
from kelpie.memory.history import (
    AGENT_MESSAGES,
    MESSAGES,
    MESSAGES_BY_TIME,
    MESSAGES_READ_AT_ONCE,
    MessageKind,
    MessagePlace,
    StoredMessage,
    searchable_text,
)
from kelpie.memory.indexes import Indexes
from kelpie.memory.search_index import Entry, Hit, SearchIndex, SearchMode, Wanted
from kelpie.storage import keys
from kelpie.storage.records import Records

EVERYWHERE = "messages of all agents"
NO_VERSION = 0
_SAID = "said"
_THREADS_FROM = 2  # among the labels of a message: its kind, whether it says something, its threads


class RecallQuery(Struct, frozen=True, kw_only=True):
    """What to look for, and among which messages; both times are inclusive. Without a text, the newest are found.

    `said`: only messages with words, not those that only call tools.
    """

    text: str
    mode: SearchMode = "hybrid"
    agent_id: AgentId | None = None
    thread_id: str | None = None
    kinds: tuple[MessageKind, ...]
    said: bool = False
    from_us: int | None = None
    to_us: int | None = None
    limit: int


class Recalled(Struct, frozen=True, kw_only=True):
    """A message that was found, and how."""

    message: StoredMessage
    text: str
    hit: Hit


class Recollection(Struct, frozen=True, kw_only=True):
    """What was found, best first. `complete` says that no older message was left unsearched."""

    found: tuple[Recalled, ...]
    searched: int
    complete: bool


class _Spot(Struct, frozen=True, kw_only=True):
    """Where one of the copies of a message stands, and in which threads it has copies."""

    place: MessagePlace
    threads: tuple[str, ...]


class Recall:
    """Searches all histories; `embedding` is the handle of the model that it uses."""

    def __init__(self, records: Records, indexes: Indexes, embedder: Embedder, embedding: str) -> None:
        self._records = records
        self._indexes = indexes
        self._embedder = embedder
        self._embedding = embedding
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def search(self, query: RecallQuery) -> Recollection:
        """The best messages, best first. Raises LimitExceeded (too large an index)."""
        assert query.limit > 0 and query.kinds
        spots, complete = await self._spots(query)
        if not spots:
            return Recollection(found=(), searched=0, complete=complete)
        if not query.text.strip():
            return Recollection(found=await self._newest(spots, query), searched=len(spots), complete=complete)
        vector = None
        if query.mode != "fts":
            vector = (await self._embedder.embed(self._embedding, [query.text]))[0]
        times = [spot.place.created_at_us for spot in spots.values()]
        wanted = Wanted(
            text=query.text,
            vector=vector,
            mode=query.mode,
            labels=query.kinds,
            needed=tuple(label for label in (query.thread_id, _SAID if query.said else None) if label is not None),
            from_us=min(times),
            to_us=max(times),
            limit=query.limit,
        )
        async with self._lock(query.agent_id or EVERYWHERE):
            index = await self._index(query.agent_id or EVERYWHERE, spots)
            hits = await index.search(wanted)
        messages = {one.id: one for one in await self._read([spots[hit.id] for hit in hits if hit.id in spots])}
        assert len(messages) <= query.limit
        found = tuple(_recalled(messages[MessageId(hit.id)], hit) for hit in hits if hit.id in messages)
        return Recollection(found=found, searched=len(spots), complete=complete)

    async def warm(self) -> None:
        """Have the index over all agents ready for the next search."""
        spots, _ = await self._spots(RecallQuery(text="", kinds=("user",), limit=1))
        if spots:
            async with self._lock(EVERYWHERE):
                await self._index(EVERYWHERE, spots)

    # -- inside --------------------------------------------------------------------------------------------

    def _lock(self, id: str) -> asyncio.Lock:
        """Held by whoever changes an index or looks into it; forgotten when nobody holds or awaits it."""
        lock = self._locks.get(id)
        if lock is None:
            lock = self._locks[id] = asyncio.Lock()
        return lock

    async def _spots(self, query: RecallQuery) -> tuple[dict[str, _Spot], bool]:
        """Where the newest messages within the times stand, by id, newest first; whether those are all."""
        space = MESSAGES_BY_TIME if query.agent_id is None else AGENT_MESSAGES
        prefix = () if query.agent_id is None else (query.agent_id,)
        start, end = keys.below(space.name, *prefix)
        if query.from_us is not None:
            start = keys.key(space.name, *prefix, query.from_us)
        if query.to_us is not None:
            end = keys.past(space.name, *prefix, query.to_us)
        spots: dict[str, _Spot] = {}
        while start < end:
            rows = await self._records.store.scan(start, end, limit=SCAN_ROWS_MAX, reverse=True)
            for row in rows:
                place = space.decode(row.key, row.value)
                id = place.id
                if id not in spots and len(spots) == MESSAGES_SEARCHED_MAX:
                    return spots, False
                known = spots.get(id)
                threads = (place.thread_id, *(known.threads if known else ()))
                spots[id] = _Spot(place=known.place if known else place, threads=threads)
            if len(rows) < SCAN_ROWS_MAX:
                break
            assert start <= rows[-1].key < end
            end = rows[-1].key
        assert len(spots) <= MESSAGES_SEARCHED_MAX
        return spots, True

    async def _index(self, id: str, spots: dict[str, _Spot]) -> SearchIndex:
        """An index that has exactly these messages within their times. Its lock is held."""
        kept = self._indexes.find(id)
        index = None if kept is None else kept.index
        missing = list(spots.items())
        if index is not None:
            missing = _bring_up(index, spots)
        if index is None or index.is_hollow or len(index) + len(missing) > MESSAGES_INDEXED_MAX:
            index, missing = None, list(spots.items())
        for start in range(0, len(missing), MESSAGES_READ_AT_ONCE):
            index = await self._add(index, missing[start : start + MESSAGES_READ_AT_ONCE])
        assert index is not None, "there are messages"
        assert len(index) <= max(MESSAGES_INDEXED_MAX, len(spots))
        self._indexes.keep(id, NO_VERSION, index)
        return index

    async def _add(self, index: SearchIndex | None, some: Sequence[tuple[str, _Spot]]) -> SearchIndex:
        """Read, embed and add these messages; the index, made when there is none."""
        read = {message.id: message for message in await self._read([spot for _, spot in some])}
        texts = {id: searchable_text(read[MessageId(id)]) for id, _ in some if id in read}
        vectors = await self._embedder.embed(self._embedding, list(texts.values()))
        index = index or SearchIndex(vectors.shape[1])
        spots = dict(some)
        assert len(vectors) == len(texts)
        for (id, text), vector in zip(texts.items(), vectors, strict=True):
            message = read[MessageId(id)]
            said = _SAID if is_said(message) else ""
            labels = (message.kind if text else "", said, *spots[id].threads)
            index.add(Entry(id=id, text=text, vector=vector, at_us=message.created_at_us, labels=labels))
        return index

    async def _newest(self, spots: dict[str, _Spot], query: RecallQuery) -> tuple[Recalled, ...]:
        """The newest messages of the kinds and thread asked for, newest first."""
        wanted = [spot for spot in spots.values() if query.thread_id is None or query.thread_id in spot.threads]
        found: list[Recalled] = []
        for start in range(0, len(wanted), MESSAGES_READ_AT_ONCE):
            for message in await self._read(wanted[start : start + MESSAGES_READ_AT_ONCE]):
                if message.kind in query.kinds and (is_said(message) or not query.said):
                    found.append(_recalled(message, Hit(id=message.id, at_us=message.created_at_us, score=0.0)))
            if len(found) >= query.limit:
                break
        assert all(one.message.kind in query.kinds for one in found)
        assert len(found) <= len(wanted)
        return tuple(found[: query.limit])

    async def _read(self, spots: Sequence[_Spot]) -> list[StoredMessage]:
        """The messages there; one that was removed meanwhile is left out."""
        found: list[StoredMessage] = []
        for start in range(0, len(spots), MESSAGES_READ_AT_ONCE):
            refs = [
                MESSAGES.at(spot.place.thread_id, spot.place.seq)
                for spot in spots[start : start + MESSAGES_READ_AT_ONCE]
            ]
            found += [row.value for row in await self._records.get_all(refs) if row is not None]
        return found


def is_said(message: StoredMessage) -> bool:
    """Whether the message has words, and not only calls of tools or their results."""
    return any(isinstance(part, TextPart) and part.text for part in message.parts)


def _bring_up(index: SearchIndex, spots: dict[str, _Spot]) -> list[tuple[str, _Spot]]:
    """Remove from the index what is not there within these times, or stands in other threads now; what it lacks."""
    times = [spot.place.created_at_us for spot in spots.values()]
    for id in index.ids_between(min(times), max(times)):
        if id not in spots or index.labels_of(id)[_THREADS_FROM:] != spots[id].threads:
            index.remove(id)
    return [(id, spot) for id, spot in spots.items() if id not in index]


def _recalled(message: StoredMessage, hit: Hit) -> Recalled:
    return Recalled(message=message, text=searchable_text(message), hit=hit)
