"""Goal: a reader sees every committed event once and in order, however late or slow; previews owe nothing."""

import asyncio

import pytest
from msgspec import Raw, Struct

from kelpie.actor.outbox import Numbered, Outbox, StoredEvent
from kelpie.errors import Busy
from kelpie.limits import RETRY_AFTER_MS, SUBSCRIBER_EVENTS_MAX, SUBSCRIBERS_PER_RUN_MAX
from kelpie.storage.records import Batch
from kelpie.world import World
from tests.unit.actor.build import a_store, now_ms, virtual


class Said(Struct, frozen=True, kw_only=True):
    """An event, or a preview of one."""

    text: str


def body(number: int) -> Raw:
    return Raw(b'"%d"' % number)


async def commit_events(outbox: Outbox, numbers: range, *, stream: str = "s") -> None:
    batch = Batch()
    for number in numbers:
        outbox.append(batch, stream, number, body(number))
    await outbox._records.commit(batch)


def taken(subscription: object) -> list[object]:
    items: list[object] = []
    while (item := subscription.take()) is not None:  # type: ignore[attr-defined]
        items.append(item)
    return items


def test_committed_events_are_read_by_number_in_pages() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        await commit_events(outbox, range(1, 8))
        await commit_events(outbox, range(1, 3), stream="s2")
        expected = [StoredEvent(number=number, body=body(number)) for number in range(1, 8)]
        for after in range(9):
            for limit in (1, 3, 10):
                assert await outbox.read("s", after=after, limit=limit) == expected[after : after + limit]

    virtual(main)


def test_a_gap_in_the_rows_is_noticed() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        await commit_events(outbox, range(2, 4))
        with pytest.raises(AssertionError):
            await outbox.read("s", after=0, limit=5)

    virtual(main)


def test_a_deleted_stream_is_gone_and_its_neighbour_is_not() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        for stream in ("s", "s2"):
            await commit_events(outbox, range(1, 3), stream=stream)
        batch = Batch()
        outbox.delete(batch, "s")
        await outbox._records.commit(batch)
        assert await outbox.read("s", after=0, limit=5) == []
        assert len(await outbox.read("s2", after=0, limit=5)) == 2

    virtual(main)


def test_readers_of_a_stream_are_told_what_is_published_from_then_on_and_others_are_not() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        outbox.publish("s", 1, Said(text="too early"))
        plain, live = outbox.subscribe("s", previews=False), outbox.subscribe("s", previews=True)
        other = outbox.subscribe("t", previews=True)
        outbox.preview("s", Said(text="hel"))
        outbox.publish("s", 2, Said(text="hello"))
        number = Numbered(number=2, event=Said(text="hello"))
        assert (taken(plain), taken(live), taken(other)) == ([number], [Said(text="hel"), number], [])
        for reader in (plain, live, other):
            outbox.leave(reader)

    virtual(main)


def test_a_reader_who_comes_a_moment_late_is_shown_what_was_previewed_since_the_last_commit() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        outbox.preview("s", Said(text="hel"))
        outbox.preview("s", Said(text="lo"))
        late, plain = outbox.subscribe("s", previews=True), outbox.subscribe("s", previews=False)
        assert (taken(late), taken(plain)) == ([Said(text="hel"), Said(text="lo")], [])
        outbox.publish("s", 1, Said(text="hello"))
        assert taken(outbox.subscribe("s", previews=True)) == []
        outbox.preview("s", Said(text="of an attempt that is lost"))
        outbox.forget_previews("s")
        assert taken(outbox.subscribe("s", previews=True)) == []

    virtual(main)


def test_a_slow_reader_loses_previews_first_and_then_sees_a_gap_never_a_wrong_order() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        reader = outbox.subscribe("s", previews=True)
        for _ in range(SUBSCRIBER_EVENTS_MAX):
            outbox.preview("s", Said(text="."))
        assert len(taken(reader)) == SUBSCRIBER_EVENTS_MAX // 2
        for number in range(1, SUBSCRIBER_EVENTS_MAX + 3):
            outbox.publish("s", number, Said(text=""))
        numbers = [item.number for item in taken(reader) if isinstance(item, Numbered)]
        assert numbers == [SUBSCRIBER_EVENTS_MAX + 1, SUBSCRIBER_EVENTS_MAX + 2]

    virtual(main)


def test_readers_are_bounded_and_a_place_is_free_when_one_leaves() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        readers = [outbox.subscribe("s", previews=False) for _ in range(SUBSCRIBERS_PER_RUN_MAX)]
        with pytest.raises(Busy) as refused:
            outbox.subscribe("s", previews=False)
        assert refused.value.fields == {
            "limit": "SUBSCRIBERS_PER_RUN_MAX",
            "maximum": SUBSCRIBERS_PER_RUN_MAX,
            "retry_after_ms": RETRY_AFTER_MS,
        }
        outbox.leave(readers[0])
        outbox.subscribe("s", previews=False)

    virtual(main)


def test_waiting_ends_with_the_first_event_or_with_its_time() -> None:
    async def main(world: World) -> None:
        outbox = Outbox(a_store(world)[1])
        reader = outbox.subscribe("s", previews=False)
        begun = now_ms()
        await reader.wait(300)
        assert now_ms() - begun == 300
        outbox.publish("s", 1, Said(text="1"))
        await reader.wait(300)
        assert now_ms() - begun == 300, "what is there is not waited for"
        taken(reader)
        asyncio.get_running_loop().call_later(0.1, outbox.publish, "s", 2, Said(text="2"))
        await reader.wait(300)
        assert (now_ms() - begun, taken(reader)) == (400, [Numbered(number=2, event=Said(text="2"))])

    virtual(main)
