"""Texts to be found by meaning and by words: an index in memory, derived from what is stored and never stored itself.

Nearest neighbours are exact: every vector is compared. Words are ranked by BM25. A hybrid search fuses both lists by
reciprocal rank. Equal scores are ordered by id, and no score depends on when a text was added, so an index that was
kept up to date answers exactly as one that was built anew.
"""

import asyncio
import math
from array import array
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from kelpie.limits import SEARCH_DEPTH, SEARCH_NUMBERS_AT_ONCE
from kelpie.memory.words import words_of

Vector = NDArray[np.float32]
D = TypeVar("D", bound=np.generic)
SearchMode = Literal["vector", "fts", "hybrid"]
FUSION_OFFSET = 60  # of reciprocal rank fusion: how little the first places count more than the next ones
BM25_SATURATION = 1.2
BM25_LENGTH_SHARE = 0.75
_NEAR = 1e-4  # by which a score in single precision may be off, generously
_SCORE_DIGITS = 9  # what is left of a score in double precision when the order of summing does not matter
_ROW_BYTES = 400  # id, key and bookkeeping of one text, roughly
_WORD_BYTES = 200  # bookkeeping of one word, roughly
_ROWS_MIN = 64


class Entry(Struct, frozen=True, kw_only=True):
    """A text to be found. `vector` has unit length."""

    id: str
    text: str
    vector: Vector
    at_us: int
    labels: tuple[str, ...] = ()


class Wanted(Struct, frozen=True, kw_only=True):
    """What to look for, and among which texts; both times are inclusive.

    Of `labels` a text has one, or all; of `needed` it has all. Without them, any text is among them.
    """

    text: str
    vector: Vector | None  # of the text; None only in mode fts
    mode: SearchMode = "hybrid"
    labels: tuple[str, ...] = ()
    all_labels: bool = False
    needed: tuple[str, ...] = ()
    from_us: int | None = None
    to_us: int | None = None
    limit: int


class Hit(Struct, frozen=True, kw_only=True):
    """A text that was found. Ranks count from 1; None: not among the best of that list.

    `score`: the cosine in mode vector, BM25 in mode fts, fused ranks in mode hybrid.
    """

    id: str
    at_us: int
    score: float
    vector_rank: int | None = None
    text_rank: int | None = None


class Fused(NamedTuple):
    """An id in a fused list."""

    id: str
    score: float
    vector_rank: int | None
    text_rank: int | None


class SearchIndex:
    """All texts of one place. Whoever changes it while a search waits between blocks spoils that search."""

    def __init__(self, dimensions: int, rows: int = 0) -> None:
        assert dimensions > 0
        rows = max(_ROWS_MIN, rows)
        self._vectors: NDArray[np.float32] = np.zeros((rows, dimensions), np.float32)
        self._times: NDArray[np.int64] = np.zeros(rows, np.int64)
        self._lengths: NDArray[np.int32] = np.zeros(rows, np.int32)  # in words
        self._alive: NDArray[np.bool_] = np.zeros(rows, np.bool_)
        self._ids: list[str] = []  # by row
        self._rows: dict[str, int] = {}  # of the texts that are alive
        self._words: dict[str, array[int]] = {}  # rows, once for each time that the word comes
        self._labels: dict[str, array[int]] = {}  # rows
        self._labels_by_row: list[tuple[str, ...]] = []
        self._occurrences = 0

    def __len__(self) -> int:
        """How many texts can be found."""
        return len(self._rows)

    def __contains__(self, id: str) -> bool:
        return id in self._rows

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self._vectors.shape[1]

    @property
    def bytes_total(self) -> int:
        """The memory it takes, roughly."""
        words = len(self._words) * _WORD_BYTES + self._occurrences * 4
        return self._vectors.nbytes + len(self._ids) * _ROW_BYTES + words

    @property
    def is_hollow(self) -> bool:
        """Whether more texts were removed than are left: an index built anew takes less memory."""
        return len(self._ids) > 2 * len(self._rows) + _ROWS_MIN

    def add(self, entry: Entry) -> None:
        """Let a text be found; its id is new."""
        assert entry.id not in self._rows, "a text is added once"
        assert entry.vector.shape == (self.dimensions,)
        row = len(self._ids)
        if row == len(self._alive):
            self._grow()
        words = words_of(entry.text)
        self._vectors[row] = entry.vector
        self._times[row] = entry.at_us
        self._lengths[row] = len(words)
        self._alive[row] = True
        self._ids.append(entry.id)
        self._labels_by_row.append(entry.labels)
        self._rows[entry.id] = row
        _note(self._words, words, row)
        _note(self._labels, dict.fromkeys(entry.labels), row)
        self._occurrences += len(words)

    def remove(self, id: str) -> None:
        """Let a text not be found any more, if it is there."""
        row = self._rows.pop(id, None)
        if row is not None:
            self._alive[row] = False

    def labels_of(self, id: str) -> tuple[str, ...]:
        """The labels of a text that is there."""
        return self._labels_by_row[self._rows[id]]

    def ids_between(self, from_us: int, to_us: int) -> list[str]:
        """The texts of these times, both inclusive."""
        used = len(self._ids)
        times = self._times[:used]
        rows = np.flatnonzero(self._alive[:used] & (times >= from_us) & (times <= to_us))
        return [self._ids[row] for row in rows.tolist()]

    async def search(self, wanted: Wanted) -> list[Hit]:
        """The best texts, best first. Others get their turn between blocks of vectors."""
        assert wanted.limit > 0
        assert wanted.vector is not None or wanted.mode == "fts"
        among = self._among(wanted)
        depth = wanted.limit if wanted.mode != "hybrid" else max(wanted.limit, SEARCH_DEPTH)
        near: list[tuple[float, str]] = []
        said: list[tuple[float, str]] = []
        if wanted.mode != "fts" and wanted.vector is not None:
            near = await self._nearest(wanted.vector, among, depth)
        if wanted.mode != "vector":
            said = self._saying(words_of(wanted.text), among, depth)
        return self._hits(near, said, wanted)

    # -- inside --------------------------------------------------------------------------------------------

    def _among(self, wanted: Wanted) -> NDArray[np.bool_]:
        """Which rows are asked about."""
        used = len(self._ids)
        among = self._alive[:used].copy()
        if wanted.from_us is not None:
            among &= self._times[:used] >= wanted.from_us
        if wanted.to_us is not None:
            among &= self._times[:used] <= wanted.to_us
        if wanted.labels:
            has = self._labelled(wanted.labels, used)
            among &= has.all(axis=0) if wanted.all_labels else has.any(axis=0)
        if wanted.needed:
            among &= self._labelled(wanted.needed, used).all(axis=0)
        return among

    def _labelled(self, labels: Sequence[str], used: int) -> NDArray[np.bool_]:
        """For each label, which rows have it."""
        has = np.zeros((len(labels), used), np.bool_)
        for at, label in enumerate(labels):
            has[at, _rows_of(self._labels, label)] = True
        return has

    async def _nearest(self, vector: Vector, among: NDArray[np.bool_], limit: int) -> list[tuple[float, str]]:
        """The rows with the largest cosine: looked for in single precision, then scored in double precision."""
        used, at_once = len(among), SEARCH_NUMBERS_AT_ONCE // self.dimensions
        assert vector.shape == (self.dimensions,)
        cosines = np.empty(used, np.float32)
        for start in range(0, used, at_once):
            cosines[start : start + at_once] = self._vectors[start : min(start + at_once, used)] @ vector
            await asyncio.sleep(0)
        rows = np.flatnonzero(among)
        if len(rows) > limit:
            worst = np.partition(cosines[rows], len(rows) - limit)[len(rows) - limit]
            rows = rows[cosines[rows] >= worst - _NEAR]
        exact = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), at_once):
            some = self._vectors[rows[start : start + at_once]].astype(np.float64)
            exact[start : start + at_once] = some @ vector.astype(np.float64)
        assert len(exact) >= min(limit, int(among.sum()))
        return self._best(rows, exact, limit)

    def _saying(self, words: Sequence[str], among: NDArray[np.bool_], limit: int) -> list[tuple[float, str]]:
        """The rows that say most of the words most often, beside what is usual among those asked about (BM25)."""
        total = int(np.count_nonzero(among))
        if not total:
            return []
        lengths = self._lengths[: len(among)]
        usual = max(1.0, float(lengths[among].sum()) / total)
        relative = lengths.astype(np.float64) / usual
        spread = BM25_SATURATION * (1 - BM25_LENGTH_SHARE + BM25_LENGTH_SHARE * relative)
        scores = np.zeros(len(among), np.float64)
        for word in sorted(set(words)):
            scores += self._saying_one(word, spread, among)
        assert np.isfinite(scores).all()
        rows = np.flatnonzero(scores > 0)
        return self._best(rows, scores[rows], limit)

    def _saying_one(self, word: str, spread: NDArray[np.floating], among: NDArray[np.bool_]) -> NDArray[np.floating]:
        """What one word adds to the score of each row."""
        total = int(np.count_nonzero(among))
        often = np.bincount(_rows_of(self._words, word), minlength=len(among)).astype(np.float64)
        often[~among] = 0
        saying = int(np.count_nonzero(often))
        assert saying <= total
        rarity = math.log1p((total - saying + 0.5) / (saying + 0.5))
        return rarity * often * (BM25_SATURATION + 1) / (often + spread)

    def _best(self, rows: NDArray[np.intp], scores: NDArray[np.float64], limit: int) -> list[tuple[float, str]]:
        """Scores and ids, best first, ties by id."""
        assert len(rows) == len(scores)
        rounded = np.round(scores, _SCORE_DIGITS)
        if len(rows) > limit:  # sort no more than what may be among the best
            worst = np.partition(rounded, len(rows) - limit)[len(rows) - limit]
            keep = rounded >= worst
            rows, rounded = rows[keep], rounded[keep]
        ranked = sorted((-score, self._ids[row]) for score, row in zip(rounded.tolist(), rows.tolist(), strict=True))
        return [(-score, id) for score, id in ranked[:limit]]

    def _hits(self, near: list[tuple[float, str]], said: list[tuple[float, str]], wanted: Wanted) -> list[Hit]:
        if wanted.mode == "hybrid":
            fused = fuse([id for _, id in near], [id for _, id in said])[: wanted.limit]
        elif wanted.mode == "vector":
            fused = [Fused(id, score, rank, None) for rank, (score, id) in enumerate(near, 1)]
        else:
            fused = [Fused(id, score, None, rank) for rank, (score, id) in enumerate(said, 1)]
        assert all(one.id in self._rows for one in fused)
        assert len(fused) <= wanted.limit
        return [
            Hit(
                id=one.id,
                at_us=int(self._times[self._rows[one.id]]),
                score=one.score,
                vector_rank=one.vector_rank,
                text_rank=one.text_rank,
            )
            for one in fused
        ]

    def _grow(self) -> None:
        rows = len(self._alive) + max(_ROWS_MIN, len(self._alive) // 2)
        self._vectors = _longer(self._vectors, rows)
        self._times = _longer(self._times, rows)
        self._lengths = _longer(self._lengths, rows)
        self._alive = _longer(self._alive, rows)


def fuse(near: Sequence[str], said: Sequence[str]) -> list[Fused]:
    """Two lists of ids, each best first, as one: the sum of the reciprocal ranks, ties by id."""
    near_ranks = {id: rank for rank, id in enumerate(near, 1)}
    said_ranks = {id: rank for rank, id in enumerate(said, 1)}
    fused: list[Fused] = []
    for id in dict.fromkeys([*near, *said]):
        ranks = near_ranks.get(id), said_ranks.get(id)
        score = sum(1 / (FUSION_OFFSET + rank) for rank in ranks if rank is not None)
        fused.append(Fused(id, score, *ranks))
    assert len(near_ranks) == len(near)
    assert len(said_ranks) == len(said)
    return sorted(fused, key=lambda one: (-one.score, one.id))


def _note(rows_by_name: "dict[str, array[int]]", names: Iterable[str], row: int) -> None:
    """Note the row under each name, as often as it comes."""
    for name in names:
        rows = rows_by_name.get(name)
        if rows is None:
            rows_by_name[name] = array("I", (row,))
        else:
            rows.append(row)


def _rows_of(rows_by_name: "dict[str, array[int]]", name: str) -> NDArray[np.uint32]:
    """The rows noted under a name. Not to be kept: the list cannot grow while it is looked at."""
    rows = rows_by_name.get(name)
    return np.zeros(0, np.uint32) if rows is None else np.frombuffer(rows, np.uint32)


def _longer(column: NDArray[D], rows: int) -> NDArray[D]:
    longer = np.zeros((rows, *column.shape[1:]), column.dtype)
    longer[: len(column)] = column
    return longer
