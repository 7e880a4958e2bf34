"""Goal: an index that was kept up to date answers as one built anew, exactly and in a fixed order.

Method: rankings by value against a plain computation; then random changes and questions against a fresh index.
"""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelpie.memory.search_index import Entry, SearchIndex, SearchMode, Vector, Wanted

WORDS = ("sky", "blue", "deploy", "friday", "ada")
DIMENSIONS = 3


def pointing(*numbers: float) -> Vector:
    vector = np.array(numbers, np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def entry(number: int, text: str = "", vector: Vector | None = None, labels: tuple[str, ...] = ()) -> Entry:
    return Entry(
        id=f"p{number:03}",
        text=text,
        vector=pointing(1, 0, 0) if vector is None else vector,
        at_us=number,
        labels=labels,
    )


def index_of(*entries: Entry) -> SearchIndex:
    index = SearchIndex(DIMENSIONS)
    for one in entries:
        index.add(one)
    return index


def found(index: SearchIndex, text: str = "", mode: SearchMode = "hybrid", **fields) -> list[str]:
    fields = {"vector": pointing(1, 0, 0), "limit": 100, **fields}
    return [hit.id for hit in asyncio.run(index.search(Wanted(text=text, mode=mode, **fields)))]


def test_the_nearest_come_first() -> None:
    """By cosine, all of them; the score is the cosine."""
    index = index_of(entry(1, vector=pointing(0, 1, 0)), entry(2), entry(3, vector=pointing(1, 1, 0)))
    hits = asyncio.run(index.search(Wanted(text="", vector=pointing(1, 0, 0), mode="vector", limit=3)))
    assert [(hit.id, round(hit.score, 6), hit.vector_rank, hit.text_rank) for hit in hits] == [
        ("p002", 1.0, 1, None),
        ("p003", round(0.5**0.5, 6), 2, None),
        ("p001", 0.0, 3, None),
    ]


def test_equal_vectors_are_ordered_by_id_wherever_they_stand() -> None:
    """More of them than fit, added backwards, between others: the lowest ids are found."""
    same, other = pointing(1, 2, 3), pointing(3, 2, 1)
    index = index_of(*[entry(number, vector=same if number % 2 else other) for number in range(300, 0, -1)])
    assert found(index, mode="vector", vector=same, limit=4) == ["p001", "p003", "p005", "p007"]


def test_rare_words_count_more_and_long_texts_less() -> None:
    """As BM25 has it; a text without any of the words is not found."""
    index = index_of(
        entry(1, "the sky the sky the sky"),
        entry(2, "the quokka"),
        entry(3, "the quokka and a long tale of many other words that have nothing to do with it"),
        entry(4, "nothing at all"),
    )
    assert found(index, "quokka the", mode="fts") == ["p002", "p003", "p001"]
    assert found(index, "unheard", mode="fts") == []
    assert found(index, "", mode="fts") == []


def test_a_hybrid_search_fuses_both_lists() -> None:
    """What is second in both lists is before what is first in one and far down in the other."""
    near = [entry(number, "other words", pointing(1, number / 100, 0)) for number in range(1, 10)]
    said = entry(50, "quokka quokka", pointing(0, 0, 1))
    both = entry(60, "quokka and more", pointing(1, 0.015, 0))
    index = index_of(*near, said, both)
    hits = asyncio.run(index.search(Wanted(text="quokka", vector=pointing(1, 0, 0), limit=3)))
    assert [(hit.id, hit.vector_rank, hit.text_rank) for hit in hits] == [
        ("p060", 2, 2),
        ("p050", 11, 1),
        ("p001", 1, None),
    ]
    assert hits[0].score == 1 / 62 + 1 / 62


def test_labels_and_times_narrow_it() -> None:
    """Any or all of the labels; both ends of the time are inclusive."""
    index = index_of(entry(1, labels=("a",)), entry(2, labels=("a", "b")), entry(3, labels=("b",)), entry(4))
    assert found(index, labels=("a", "b")) == ["p001", "p002", "p003"]
    assert found(index, labels=("a", "b"), all_labels=True) == ["p002"]
    assert found(index, labels=("c",)) == []
    assert found(index, from_us=2, to_us=3) == ["p002", "p003"]
    assert found(index, from_us=2, to_us=3, labels=("a",)) == ["p002"]


def test_what_was_removed_leaves_no_trace() -> None:
    """Neither in the lists nor in how rare a word is."""
    index = index_of(*[entry(number, "sky blue" if number % 2 else "sky") for number in range(200)])
    for number in range(100):
        index.remove(f"p{number:03}")
    index.remove("p000")
    fresh = index_of(*[entry(number, "sky blue" if number % 2 else "sky") for number in range(100, 200)])
    asked = Wanted(text="sky blue", vector=pointing(1, 0, 0), limit=50)
    assert asyncio.run(index.search(asked)) == asyncio.run(fresh.search(asked))
    assert (len(index), "p099" in index, "p100" in index, index.is_hollow) == (100, False, True, False)
    for number in range(100, 190):
        index.remove(f"p{number:03}")
    assert index.is_hollow


vectors = st.tuples(*[st.integers(-2, 2)] * DIMENSIONS).filter(any).map(lambda numbers: pointing(*numbers))
texts = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
entries = st.builds(
    entry, st.integers(0, 30), texts, vectors, st.sets(st.sampled_from("abc"), max_size=2).map(sorted).map(tuple)
)
questions = st.builds(
    Wanted,
    text=texts,
    vector=vectors,
    mode=st.sampled_from(["vector", "fts", "hybrid"]),
    labels=st.sets(st.sampled_from("abc"), max_size=2).map(sorted).map(tuple),
    all_labels=st.booleans(),
    from_us=st.none() | st.integers(0, 30),
    to_us=st.none() | st.integers(0, 30),
    limit=st.integers(1, 8),
)


@given(changes=st.lists(entries | st.integers(0, 30), max_size=40), asked=questions)
def test_it_equals_an_index_built_anew(changes: list[Entry | int], asked: Wanted) -> None:
    """After any changes: an entry is added, or takes the place of its namesake; a number is removed."""
    index, alive = SearchIndex(DIMENSIONS), dict[str, Entry]()
    for change in changes:
        id = f"p{change:03}" if isinstance(change, int) else change.id
        index.remove(id)
        alive.pop(id, None)
        if not isinstance(change, int):
            index.add(change)
            alive[id] = change
    fresh = index_of(*sorted(alive.values(), key=lambda one: one.id, reverse=True))
    hits = asyncio.run(index.search(asked))
    assert hits == asyncio.run(fresh.search(asked))
    assert [hit.id for hit in hits] == plainly(list(alive.values()), asked) or asked.mode != "vector"


def plainly(alive: list[Entry], asked: Wanted) -> list[str]:
    """What a vector search finds, computed without any index."""
    assert asked.vector is not None
    among = [
        one
        for one in alive
        if (asked.from_us is None or one.at_us >= asked.from_us)
        and (asked.to_us is None or one.at_us <= asked.to_us)
        and (not asked.labels or (all if asked.all_labels else any)(label in one.labels for label in asked.labels))
    ]
    cosine = {one.id: round(float(one.vector.astype(float) @ asked.vector.astype(float)), 9) for one in among}
    return sorted(cosine, key=lambda id: (-cosine[id], id))[: asked.limit]


@pytest.mark.parametrize("rows", [1, 64, 65, 1_000])
def test_it_grows(rows: int) -> None:
    """And says about how much memory it takes."""
    index = index_of(*[entry(number, "sky") for number in range(rows)])
    assert len(found(index, limit=2_000)) == len(index) == rows
    assert index.bytes_total >= rows * (DIMENSIONS * 4 + 400)
