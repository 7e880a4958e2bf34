"""Goal: what is on a shelf, what its index finds and what its record counts are the same, whoever wrote.

Method: two nodes over one store, random additions and removals by either; each answer of either, held against a node
that knows nothing yet; then the bounds and the errors by value.
"""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from kelpie.errors import InvalidInput, LimitExceeded, NotFound
from kelpie.ids import PassageId
from kelpie.limits import PASSAGE_BYTES_MAX, PASSAGE_COMMIT_ROWS, PASSAGE_TAGS_MAX
from kelpie.memory.indexes import Indexes
from kelpie.memory.passages import (
    PASSAGES,
    PLACES,
    Passage,
    Passages,
    pack_vector,
    put_shelf,
    remove_shelf,
    unpack_vector,
)
from kelpie.memory.search_index import SearchIndex, Wanted
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records

from .build import a_store, a_world

SHELF = "archive-1"
WORDS = ("sky", "blue", "deploy")
ALL = Page(limit=1_000, newest_first=False)


def passage_id(number: int) -> PassageId:
    return PassageId(f"passage-{number:03}")


def passage(number: int, text: str = "sky", **fields) -> Passage:
    """A passage whose time is not in the order of its number."""
    vector = pack_vector(np.array([1, number % 5, len(text)], np.float32))
    at_us = (number * 7) % 50
    fields = {"vector": vector, "created_at_us": at_us, "updated_at_us": at_us, **fields}
    return Passage(id=passage_id(number), shelf_id=SHELF, text=text, **fields)


def wanted(text: str = "sky", **fields) -> Wanted:
    return Wanted(text=text, vector=np.array([1, 0, 0], np.float32), **{"limit": 100, **fields})


async def a_shelf(records: Records) -> None:
    batch = Batch()
    put_shelf(batch, SHELF, "kelpie/test")
    await records.commit(batch)


def a_node(records: Records, *, indexes: Indexes | None = None) -> Passages:
    return Passages(records, a_world()[0], indexes or Indexes())


def test_a_passage_is_added_found_and_removed(run) -> None:
    """Its rows come and go together, and the shelf counts them."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        node = a_node(records)
        assert await node.search(SHELF, wanted()) == []
        stored = await node.add(SHELF, [passage(1, tags=("a",), metadata=Raw(b'{"k":1}')), passage(2, "the blue")])
        assert stored == [passage(1, tags=("a",), metadata=Raw(b'{"k":1}')), passage(2, "the blue")]
        assert await node.get_many(SHELF, [passage_id(2), passage_id(9), passage_id(1)]) == stored[::-1]
        (hit, _) = await node.search(SHELF, wanted("blue"))
        assert (hit.passage, hit.hit.text_rank) == (stored[1], 1)
        shelf = (await node.get_shelf(SHELF)).value
        assert (shelf.passages, shelf.dimensions, await node.shelves()) == (2, 3, [shelf])
        assert await node.remove(SHELF, [passage_id(1), passage_id(9)]) == 1
        assert [one.passage.id for one in await node.search(SHELF, wanted())] == [passage_id(2)]
        assert await node.remove(SHELF, [passage_id(1)]) == 0

    run(play())


def test_a_repeat_adds_nothing(run) -> None:
    """The same id is the same passage, also when its text differs; what is new beside it is added."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        node = a_node(records)
        await node.add(SHELF, [passage(1)])
        assert await node.add(SHELF, [passage(1, "other"), passage(2)]) == [passage(1), passage(2)]
        assert (await node.get_shelf(SHELF)).value.passages == 2

    run(play())


def test_a_shelf_goes_with_all_that_stands_on_it(run) -> None:
    """And does not come back through a node that still has its index."""

    async def play() -> None:
        store = a_store()
        records = Records(store)
        await a_shelf(records)
        node = a_node(records)
        await node.add(SHELF, [passage(1, "x" * 150_000), passage(2)])
        await node.warm(SHELF)
        batch = Batch()
        remove_shelf(batch, await node.get_shelf(SHELF))
        await records.commit(batch)
        assert await store.scan(b"\0", b"\xff", limit=100) == []
        for late in (node.search(SHELF, wanted()), node.add(SHELF, [passage(3)]), node.remove(SHELF, [passage_id(1)])):
            with pytest.raises(NotFound):
                await late

    run(play())


numbers = st.integers(0, 12)
additions = st.tuples(st.just("add"), st.lists(numbers, max_size=4), st.sampled_from(WORDS))
removals = st.tuples(st.just("remove"), st.lists(numbers, max_size=4), st.none())


@given(st.lists(st.tuples(st.sampled_from([0, 1]), additions | removals), max_size=12), st.sampled_from(WORDS))
def test_every_index_equals_a_rebuild_and_every_page_the_list(changes, word: str) -> None:
    """Whichever node wrote, whichever is asked; pages joined by cursors are the list, forwards and backwards."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        nodes, there = [a_node(records), a_node(records)], dict[str, Passage]()
        for which, (verb, some, text) in changes:
            if verb == "add":
                for one in await nodes[which].add(SHELF, [passage(number, text) for number in dict.fromkeys(some)]):
                    there.setdefault(one.id, one)
            else:
                await nodes[which].remove(SHELF, [passage_id(number) for number in some])
                for number in some:
                    there.pop(passage_id(number), None)
            answers = [await node.search(SHELF, wanted(word)) for node in [*nodes, a_node(records)]]
            assert answers[0] == answers[1] == answers[2]
            assert {one.passage.id for one in answers[0]} == there.keys()
        in_order = sorted(there.values(), key=lambda one: (one.created_at_us, one.id))
        assert await nodes[0].page(SHELF, ALL) == in_order
        assert await pages(nodes[0], newest_first=False) == in_order
        assert await pages(nodes[0], newest_first=True) == in_order[::-1]
        assert (await nodes[0].get_shelf(SHELF)).value.passages == len(there)
        for space in (PASSAGES, PLACES):
            assert len(await records.scan(space, SHELF, limit=100)) == len(there)

    asyncio.run(play())


async def pages(node: Passages, *, newest_first: bool) -> list[Passage]:
    """The list, three at a time."""
    found: list[Passage] = []
    while True:
        after = found[-1].id if found else None
        some = await node.page(SHELF, Page(limit=3, after=after, newest_first=newest_first))
        if found:
            before = await node.page(SHELF, Page(limit=1_000, before=found[-1].id, newest_first=newest_first))
            assert before == found[:-1]
        found += some
        if len(some) < 3:
            return found


def test_writers_of_one_shelf_do_not_lose_each_other(run) -> None:
    """Forty writers, on two nodes, at once, while others search."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        nodes = [a_node(records), a_node(records)]
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(nodes[number % 2].add(SHELF, [passage(number)]))
                group.create_task(nodes[number % 2].search(SHELF, wanted()))
        for node in nodes:
            assert len(await node.search(SHELF, wanted())) == 40

    run(play())


def test_many_passages_take_several_commits(run) -> None:
    """Bounded in rows and in bytes; all are there."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        node = a_node(records)
        await node.add(SHELF, [passage(number) for number in range(PASSAGE_COMMIT_ROWS * 2 + 1)])
        await node.add(SHELF, [passage(500 + number, "y" * 190_000) for number in range(25)])
        assert (await node.get_shelf(SHELF)).value.passages == PASSAGE_COMMIT_ROWS * 2 + 26
        assert await node.remove(SHELF, [passage_id(number) for number in range(1_000)]) == PASSAGE_COMMIT_ROWS * 2 + 26

    run(play())


def test_a_list_may_be_narrowed(run) -> None:
    """By what the caller wants, with the limit counting what is wanted."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        node = a_node(records)
        await node.add(SHELF, [passage(number, "even" if number % 2 == 0 else "odd") for number in range(20)])
        found = await node.page(SHELF, Page(limit=3, newest_first=False), lambda one: one.text == "odd")
        odd = sorted((passage(number, "odd") for number in range(1, 20, 2)), key=lambda one: one.created_at_us)
        assert found == odd[:3]
        with pytest.raises(NotFound, match="passage-999"):
            await node.page(SHELF, Page(limit=3, after=passage_id(999)))

    run(play())


@pytest.mark.parametrize(
    ("refused", "error", "words"),
    [
        (passage(1, "x" * (PASSAGE_BYTES_MAX + 1)), LimitExceeded, "PASSAGE_BYTES_MAX|over the limit"),
        (passage(1, tags=("t",) * (PASSAGE_TAGS_MAX + 1)), LimitExceeded, "tags"),
        (passage(1, created_at_us=-1), InvalidInput, "1970"),
        (passage(1, vector=pack_vector(np.ones(4, np.float32))), InvalidInput, "have 3 numbers"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(run, refused: Passage, error: type, words: str) -> None:
    """Before anything is written."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        node = a_node(records)
        await node.add(SHELF, [passage(0)])
        with pytest.raises(error, match=words):
            await node.add(SHELF, [refused])
        assert (await node.get_shelf(SHELF)).value.passages == 1

    run(play())


def test_a_question_of_another_size_is_refused(run) -> None:
    """The model behind the handle has changed."""

    async def play() -> None:
        records = Records(a_store())
        await a_shelf(records)
        node = a_node(records)
        await node.add(SHELF, [passage(0)])
        with pytest.raises(InvalidInput, match="3 numbers and its embedding model now gives 2"):
            await node.search(SHELF, Wanted(text="", vector=np.ones(2, np.float32), limit=1))

    run(play())


def test_indexes_have_a_bound_together(run) -> None:
    """The one that was not used for longest goes; one that is too large alone is refused and not kept."""
    size = SearchIndex(3).bytes_total
    indexes = Indexes(bytes_max=size * 2)
    for id in ("a", "b"):
        indexes.keep(id, 1, SearchIndex(3))
    assert indexes.find("a") is not None
    indexes.keep("c", 1, SearchIndex(3))
    assert [id for id in "abc" if indexes.find(id)] == ["a", "c"]
    with pytest.raises(LimitExceeded, match="the index of 'd' takes"):
        indexes.keep("d", 1, SearchIndex(3, 1_000))
    assert indexes.find("d") is None


def test_vectors_are_stored_with_unit_length() -> None:
    """Whatever comes in; four bytes a number."""
    packed = pack_vector(np.array([3, 0, 4], np.float32))
    assert len(packed) == 12
    assert np.allclose(unpack_vector(packed), [0.6, 0, 0.8])
