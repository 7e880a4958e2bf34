"""A collection's rows agree with each other after every change, whoever else changes something; links are two-sided."""

import pytest

from kelpie.errors import AlreadyExists, NotFound
from kelpie.limits import COLLECTION_READ_AT_ONCE
from kelpie.storage.checked import CheckedStore
from kelpie.storage.collection import Collection, Links, Listed
from kelpie.storage.memory import MemoryStore
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records, Space
from kelpie.system import system_world

WORLD = system_world()


class Thing(Listed, frozen=True, kw_only=True, tag_field="form", tag=1):
    name: str | None


THINGS = Space("thing", Thing)


def a_collection() -> tuple[Records, Collection[Thing]]:
    records = Records(CheckedStore(MemoryStore(WORLD)))
    return records, Collection(records, WORLD.entropy, THINGS, "Thing", name_of=lambda thing: thing.name)


def thing(number: int, name: str | None = None) -> Thing:
    return Thing(id=f"thing-{number}", name=name, created_at_us=number)


async def rows_of(records: Records) -> list[str]:
    rows = await records.store.scan(b"thing", b"thinh", limit=1000)
    return [row.key.decode().partition(" ")[0] for row in rows]


def test_a_record_is_made_found_changed_and_removed(run) -> None:
    async def play() -> None:
        records, things = a_collection()
        await things.create(thing(1, "a"))
        assert (await things.get("thing-1")).value == thing(1, "a")
        found = await things.find_named("a")
        assert found is not None and found.value.id == "thing-1"
        assert await things.edit("thing-1", lambda now: thing(1, "b")) == thing(1, "b")
        assert await things.find_named("a") is None
        assert await things.delete("thing-1") == thing(1, "b")
        assert await rows_of(records) == [], "nothing stays behind"
        for gone in (things.get("thing-1"), things.delete("thing-1"), things.edit("thing-1", lambda now: now)):
            with pytest.raises(NotFound, match="Thing with id 'thing-1' not found"):
                await gone

    run(play())


def test_a_name_belongs_to_one_record(run) -> None:
    """Taken names are refused to new records and to renamed ones; no name is not a name; a freed one may be taken."""

    async def play() -> None:
        _, things = a_collection()
        await things.create(thing(1, "a"))
        await things.create(thing(2))
        await things.create(thing(3))
        with pytest.raises(AlreadyExists):
            await things.create(thing(4, "a"))
        with pytest.raises(AlreadyExists):
            await things.edit("thing-2", lambda now: thing(2, "a"))
        await things.delete("thing-1")
        assert await things.edit("thing-2", lambda now: thing(2, "a")) == thing(2, "a")

    run(play())


def test_an_edit_is_made_on_what_is_there_and_never_lost(run) -> None:
    """Another edit between the look and the commit: the change is asked for again, on the new value."""

    async def play() -> None:
        records, things = a_collection()
        await things.create(thing(1, "a"))
        seen: list[str | None] = []

        def change(now: Thing) -> Thing:
            seen.append(now.name)
            return thing(1, f"{now.name}!")

        commit, others = records.store.commit, [0]

        async def overtaken(checks, writes):
            if not others[0]:
                others[0] = 1
                await things.edit("thing-1", lambda now: thing(1, "b"))
            return await commit(checks, writes)

        records.store.commit = overtaken
        assert await things.edit("thing-1", change) == thing(1, "b!")
        assert seen == ["a", "b"]

    run(play())


@pytest.mark.parametrize("count", [0, 1, COLLECTION_READ_AT_ONCE, COLLECTION_READ_AT_ONCE * 2 + 3])
def test_pages_put_together_are_the_whole_list(run, count: int) -> None:
    """In both orders, with and without a filter, whatever the page's size."""

    async def play() -> None:
        _, things = a_collection()
        for number in range(count):
            await things.create(thing(number))
        assert await things.count() == count
        assert await things.count(lambda each: each.created_at_us % 2 == 0) == (count + 1) // 2
        for newest_first in (True, False):
            for wanted in (None, lambda each: each.created_at_us % 3 == 0):
                expected = [thing(number) for number in range(count) if wanted is None or number % 3 == 0]
                seen: list[Thing] = []
                while True:
                    after = seen[-1].id if seen else None
                    page = await things.page(Page(after=after, limit=7, newest_first=newest_first), wanted)
                    seen += page
                    if len(page) < 7:
                        break
                assert seen == (expected[::-1] if newest_first else expected)

    run(play())


def test_a_page_ends_before_its_cursor(run) -> None:
    async def play() -> None:
        _, things = a_collection()
        for number in range(5):
            await things.create(thing(number))
        page = Page(before="thing-3", after="thing-0", limit=9, newest_first=False)
        assert await things.page(page) == [thing(1), thing(2)]
        assert await things.page(Page(before="thing-1", after="thing-4", limit=9)) == [thing(3), thing(2)]
        with pytest.raises(NotFound):
            await things.page(Page(after="thing-9", limit=1))

    run(play())


def test_links_are_seen_from_both_sides_in_the_order_of_time(run) -> None:
    async def play() -> None:
        records, _ = a_collection()
        links = Links(records, "pair")
        batch = Batch()
        for at_us, (left, right) in enumerate([("a", "z"), ("a", "y"), ("b", "z")]):
            links.put(batch, left, right, at_us)
        await records.commit(batch)
        assert (await links.rights_of("a"), await links.lefts_of("z")) == (["z", "y"], ["a", "b"])
        batch = Batch()
        links.remove(batch, "a", "z")
        await records.commit(batch)
        assert (await links.has("a", "z"), await links.has("b", "z")) == (False, True)
        assert (await links.rights_of("a"), await links.lefts_of("z")) == (["y"], ["b"])

    run(play())


@pytest.mark.parametrize("looked_at_max", [1, 3, 4, 100])
def test_who_has_links_is_told_or_else_nobody_is_left_out(run, monkeypatch, looked_at_max: int) -> None:
    """Three links lie in the span from b to d: who looks at more knows who has one, who looks at fewer asks all."""
    monkeypatch.setattr("kelpie.storage.collection.LINKS_LOOKED_AT_MAX", looked_at_max)

    async def play() -> None:
        records, _ = a_collection()
        links = Links(records, "pair")
        assert await links.linked_among(["b"]) == (await links.linked_among([])) == frozenset()
        batch = Batch()
        for left in ("a", "b", "b%", "c", "e"):
            links.put(batch, left, "z", 0)
        await records.commit(batch)
        asked = ["d", "b", "c"]
        assert await links.linked_among(asked) == frozenset(asked if looked_at_max <= 3 else ["b", "c"])

    run(play())
