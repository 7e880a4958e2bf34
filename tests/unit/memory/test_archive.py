"""Goal: an agent has at most one archive, and nothing of an archive outlives it. Method: races over one store."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from kelpie.errors import AlreadyExists, LimitExceeded, NotFound
from kelpie.ids import AgentId, PassageId
from kelpie.limits import PASSAGES_FOUND_MAX, PASSAGES_PER_CALL_MAX, SEARCH_QUERY_CHARS_MAX
from kelpie.memory.archive import Archive, Archives, NewPassage, PassageQuery, release
from kelpie.memory.indexes import Indexes
from kelpie.memory.passages import Passages
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Records

from .build import START_US, a_store, a_world

ANN, BOB = AgentId("agent-ann"), AgentId("agent-bob")


class LetterEmbedder:
    """A vector counts a, b and c; the handle says by how much, to tell models apart."""

    async def embed(self, handle: str, texts: Sequence[str]) -> NDArray[np.float32]:
        await asyncio.sleep(0)
        rows = [[text.count("a"), text.count("b"), text.count("c"), 0.1] for text in texts]
        return np.array(rows, np.float32).reshape(len(texts), 4)


def some_archives(records: Records | None = None) -> tuple[Archives, Records]:
    records = records or Records(a_store())
    world = a_world()[0]
    return Archives(records, world, Passages(records, world, Indexes()), LetterEmbedder()), records


def no_guard(batch: Batch) -> None:
    """Nothing else has to be true."""


async def made(archives: Archives, name: str = "notes") -> Archive:
    return await archives.store(archives.build(name, "test/letters"))


async def rows_left(records: Records) -> list[bytes]:
    return [row.key for row in await records.store.scan(b"\0", b"\xff", limit=100)]


def new(*texts: str) -> list[NewPassage]:
    return [NewPassage(text=text) for text in texts]


def test_an_archive_leaves_no_row_behind(run) -> None:
    """Its passages, links, places in lists; agents that had it have none and may get another."""

    async def play() -> None:
        archives, records = some_archives()
        archive = await made(archives)
        await archives.attach(archive.id, ANN, no_guard)
        await archives.attach(archive.id, BOB, no_guard)
        await archives.insert(archive.id, new("a", "b" * 100_000))
        assert await archives.agents_of(archive.id) == [ANN, BOB]
        await archives.delete(archive.id)
        assert await rows_left(records) == []
        assert await archives.of_agent(ANN) is None
        with pytest.raises(NotFound, match="Archive with id"):
            await archives.insert(archive.id, new("c"))

    run(play())


def test_an_agent_has_one_archive(run) -> None:
    """Of several that are attached at once one is; the others are refused by name; the same one again is no change."""

    async def play() -> None:
        archives, _ = some_archives()
        several = [await made(archives) for _ in range(5)]
        attempts = [archives.attach(archive.id, ANN, no_guard) for archive in several]
        outcomes = await asyncio.gather(*attempts, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes if outcome is not None] == [AlreadyExists] * 4
        has = await archives.of_agent(ANN)
        assert has == several[outcomes.index(None)].id
        assert [await archives.agents_of(archive.id) for archive in several if archive.id != has] == [[]] * 4
        await archives.attach(has or "", ANN, no_guard)
        await archives.detach(has or "", ANN)
        await archives.detach(has or "", ANN)
        assert (await archives.of_agent(ANN), await archives.agents_of(has or "")) == (None, [])

    run(play())


@pytest.mark.parametrize("first", ["attach", "delete"])
def test_an_archive_is_not_attached_while_it_is_removed(run, first: str) -> None:
    """Whichever comes first, no link to what is gone stays."""

    async def play() -> None:
        archives, records = some_archives()
        archive = await made(archives)
        both = [archives.attach(archive.id, ANN, no_guard), archives.delete(archive.id)]
        await asyncio.gather(*(both if first == "attach" else both[::-1]), return_exceptions=True)
        assert await rows_left(records) == []

    run(play())


def test_an_agents_first_archive_is_made_once(run) -> None:
    """However many keep something at once, on several nodes."""

    async def play() -> None:
        one, records = some_archives()
        other, _ = some_archives(records)
        ids = await asyncio.gather(
            *[archives.ensure(ANN, "ann's", "test/letters", no_guard) for archives in (one, other) * 4]
        )
        assert len(set(ids)) == 1
        assert [archive.id for archive in await one.page(Page(limit=10))] == [ids[0]]
        assert await one.agents_of(ids[0]) == [ANN]

    run(play())


def test_an_agent_that_goes_leaves_its_archive(run) -> None:
    """With the same commit; one that is attached meanwhile makes that commit fail instead of staying behind."""

    async def play() -> None:
        archives, records = some_archives()
        archive = await made(archives)
        batch = Batch()
        await release(records, batch, ANN)
        assert batch.writes == []
        await archives.attach(archive.id, ANN, no_guard)
        assert batch.checks, "that there was no archive is checked"
        batch = Batch()
        await release(records, batch, ANN)
        await records.commit(batch)
        assert (await archives.of_agent(ANN), await archives.agents_of(archive.id)) == (None, [])
        assert await archives.get(archive.id) == (await archives.page(Page(limit=1)))[0]

    run(play())


def test_passages_are_made_with_the_archives_model(run) -> None:
    """In order, at times that do not meet; under a given id only once."""

    async def play() -> None:
        archives, _ = some_archives()
        archive = await made(archives)
        kept = await archives.insert(archive.id, new("aaa", "bbb"))
        assert [(one.text, one.created_at_us) for one in kept] == [("aaa", START_US), ("bbb", START_US + 1)]
        again = NewPassage(text="ccc", id=PassageId("passage-1"), tags=("t", "t"), created_at_us=5)
        (first,), (second,) = [await archives.insert(archive.id, [again]) for _ in range(2)]
        assert first == second and first.tags == ("t",)
        found = await archives.search(archive.id, PassageQuery(text="c", limit=1))
        assert [one.passage for one in found] == [first]

    run(play())


def test_several_archives_are_ranked_as_one(run) -> None:
    """What says the word comes before what is merely the nearest of its own archive."""

    async def play() -> None:
        archives, _ = some_archives()
        near, far, empty = [await made(archives, name) for name in ("near", "far", "empty")]
        (a,) = await archives.insert(near.id, new("a a a"))
        await archives.insert(far.id, new("b b b", "c c c"))
        asked = PassageQuery(text="a", limit=2)
        assert (await archives.search_some(None, asked))[0].passage == a
        assert await archives.search_some([empty.id], asked) == []
        newest = await archives.search_some(None, PassageQuery(text="", limit=2))
        assert [one.hit.score for one in newest] == [0.0, 0.0]

    run(play())


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        (PassageQuery(text="a", limit=PASSAGES_FOUND_MAX + 1), "PASSAGES_FOUND_MAX"),
        (PassageQuery(text="a" * (SEARCH_QUERY_CHARS_MAX + 1), limit=1), "SEARCH_QUERY_CHARS_MAX"),
    ],
)
def test_too_large_a_question_is_refused(run, query: PassageQuery, limit: str) -> None:
    """By the name of the limit."""

    async def play() -> None:
        archives, _ = some_archives()
        archive = await made(archives)
        with pytest.raises(LimitExceeded) as caught:
            await archives.search(archive.id, query)
        assert caught.value.fields["limit"] == limit
        with pytest.raises(LimitExceeded):
            await archives.insert(archive.id, new(*["a"] * (PASSAGES_PER_CALL_MAX + 1)))

    run(play())
