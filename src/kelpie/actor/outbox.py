"""Committed events, numbered per stream: persist first, then speak.

An event's row is part of the commit that made it true. After the commit the same event is handed to the
readers on this node. A reader who came late, fell behind or sits on another node reads the rows; either way
it sees every number once and in order. Previews (a model's words before they are committed) pass through the
same subscription, are never stored, and are the first thing to be dropped when a reader is slow.
"""

import asyncio
from collections import deque

from msgspec import Raw, Struct

from kelpie.errors import Busy
from kelpie.limits import PREVIEWS_KEPT_MAX, RETRY_AFTER_MS, SUBSCRIBER_EVENTS_MAX, SUBSCRIBERS_PER_RUN_MAX
from kelpie.storage.records import Batch, Records, Space


class StoredEvent(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """An event as kept: its body is a struct of the floor that made it."""

    number: int
    body: Raw


EVENTS = Space("event", StoredEvent, large=True)  # at(stream, number)


class Numbered(Struct, frozen=True, kw_only=True):
    """A committed event on its way to readers."""

    number: int
    event: Struct


class Stalled(Struct, frozen=True, kw_only=True):
    """What a stream is waiting for, when it cannot go on."""

    sentence: str


class Subscription:
    """One reader's view of a stream from now on. A gap in the numbers says that the reader was too slow."""

    def __init__(self, stream: str, *, previews: bool) -> None:
        self.stream = stream
        self._previews = previews
        self._queue: deque[Numbered | Struct] = deque()
        self._ready = asyncio.Event()

    def take(self) -> Numbered | Struct | None:
        """The next item, if there is one: Numbered, or a preview."""
        return self._queue.popleft() if self._queue else None

    async def wait(self, wait_ms_max: int) -> None:
        """Until there is something to take, or for so long."""
        if self._queue:
            return
        self._ready.clear()
        try:
            async with asyncio.timeout(wait_ms_max / 1000):
                await self._ready.wait()
        except TimeoutError:
            return

    def _offer(self, item: Numbered | Struct) -> None:
        if isinstance(item, Numbered | Stalled):
            if len(self._queue) >= SUBSCRIBER_EVENTS_MAX:
                self._queue.clear()
        elif not self._previews or len(self._queue) >= SUBSCRIBER_EVENTS_MAX // 2:
            return  # a preview is owed to nobody: the committed message carries it all
        self._queue.append(item)
        self._ready.set()


class Outbox:
    """The streams of one node."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._readers: dict[str, list[Subscription]] = {}
        self._previews: dict[str, list[Struct]] = {}  # since the stream's last commit

    def append(self, batch: Batch, stream: str, number: int, body: Raw) -> None:
        """Make the event part of a commit."""
        assert number >= 1
        batch.put_new(EVENTS.at(stream, number), StoredEvent(number=number, body=body))

    def publish(self, stream: str, number: int, event: Struct) -> None:
        """Tell the readers on this node, after the commit. It makes all previews before it obsolete."""
        self.forget_previews(stream)
        for reader in self._readers.get(stream, ()):
            reader._offer(Numbered(number=number, event=event))

    def preview(self, stream: str, event: Struct) -> None:
        """Tell the readers on this node what is not committed yet; who comes a moment late is told as well."""
        kept = self._previews.setdefault(stream, [])
        if len(kept) < PREVIEWS_KEPT_MAX:
            kept.append(event)
        for reader in self._readers.get(stream, ()):
            reader._offer(event)

    def stall(self, stream: str, sentence: str) -> None:
        """Tell the readers on this node that the stream cannot go on just now, and why."""
        for reader in self._readers.get(stream, ()):
            reader._offer(Stalled(sentence=sentence))

    def forget_previews(self, stream: str) -> None:
        """What was previewed was committed, or will not be."""
        self._previews.pop(stream, None)

    def subscribe(self, stream: str, *, previews: bool) -> Subscription:
        """Read from now on. Raises Busy over SUBSCRIBERS_PER_RUN_MAX. To be given back to `leave`."""
        readers = self._readers.setdefault(stream, [])
        if len(readers) >= SUBSCRIBERS_PER_RUN_MAX:
            raise Busy(
                f"{SUBSCRIBERS_PER_RUN_MAX} readers follow '{stream}' already",
                limit="SUBSCRIBERS_PER_RUN_MAX",
                maximum=SUBSCRIBERS_PER_RUN_MAX,
                retry_after_ms=RETRY_AFTER_MS,
            )
        subscription = Subscription(stream, previews=previews)
        readers.append(subscription)
        for event in self._previews.get(stream, ()):
            subscription._offer(event)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Read no more."""
        readers = self._readers[subscription.stream]
        readers.remove(subscription)
        if not readers:
            del self._readers[subscription.stream]

    async def read(self, stream: str, *, after: int, limit: int) -> list[StoredEvent]:
        """Committed events with numbers > after, in order."""
        assert after >= 0
        found = await self._records.scan(EVENTS, stream, after=after, limit=limit)
        events = [each.value for each in found]
        assert all(event.number == after + 1 + at for at, event in enumerate(events)), "numbers have no gaps"
        return events

    def delete(self, batch: Batch, stream: str) -> None:
        """Remove a stream's rows."""
        batch.delete_below(EVENTS, stream)
