"""Passages: what was kept is found until it is forgotten, and an index says exactly what the store says.

Each passage begins with a word of its own, so a search for that word must put it first. A search that is asked for more
than there is finds all there is: those that were kept before it began, none that was forgotten by then, and nothing
else; what was kept or forgotten meanwhile may be found or not.
"""

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from kelpie.llm.embedding import Embeddings
from kelpie.memory.passages import PASSAGES, Passage, unpack_vector
from kelpie.memory.search_index import Entry, SearchIndex, Wanted
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.watch import Watch

NAME = "kept"
FOUND_MAX = 100  # as many as one search finds


class Kept(Struct):
    """A passage that somebody tried to keep. `word` is its first; times of what was acknowledged."""

    word: str
    archive_id: str
    begun_s: float
    times_max: int = 1  # how often it may have been kept
    id: str | None = None
    kept_s: float | None = None
    undone: str = ""  # somebody was told that nothing had happened
    forget_begun_s: float | None = None
    forgotten_s: float | None = None

    def was_there(self, begun_s: float, ended_s: float) -> bool:
        """Whether it was there for the whole of that time, for sure."""
        kept = self.kept_s is not None and self.kept_s <= begun_s
        return kept and (self.forget_begun_s is None or self.forget_begun_s > ended_s)

    def was_gone(self, begun_s: float, ended_s: float) -> bool:
        """Whether it was not there for the whole of that time, for sure."""
        forgotten = self.forgotten_s is not None and self.forgotten_s <= begun_s
        return forgotten or bool(self.undone) or self.begun_s > ended_s


class Hit(Struct, frozen=True):
    """What a search found, as far as it is looked at."""

    id: str
    text: str
    ranks: tuple[int | None, int | None] = (None, None)  # by meaning, by words

    @property
    def word(self) -> str:
        """Its first word."""
        return self.text.split(" ", 1)[0]


class Shelves:
    """All passages that clients know of."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.all: list[Kept] = []

    def check_search(self, archive_id: str, word: str, found: Sequence[Hit], begun_s: float, ended_s: float) -> None:
        """A search of an archive for a word, with the limit FOUND_MAX."""
        here = {each.word: each for each in self.all if each.archive_id == archive_id}
        words = [hit.word for hit in found]
        ids = [hit.id for hit in found]
        self._expect(len(set(ids)) == len(ids), f"a search of {archive_id} found some twice: {words}")
        for hit in found:
            each = here.get(hit.word)
            if each is None:
                self._blame(f"a search of {archive_id} found {hit}, which nobody kept")
            elif each.was_gone(begun_s, ended_s):
                self._blame(f"a search of {archive_id} from {begun_s:.3f} to {ended_s:.3f} found {each}")
        wanted = here.get(word)
        if wanted is not None and wanted.was_there(begun_s, ended_s):
            self._expect(words[:1] == [word], f"a search from {begun_s:.3f} for {wanted} found first {words[:1]}")
        if len(found) < FOUND_MAX:
            self.check_list(archive_id, words, begun_s, ended_s)

    def check_list(self, archive_id: str, words: Sequence[str], begun_s: float, ended_s: float) -> None:
        """All that somebody was shown of an archive."""
        shown = set(words)
        for each in self.all:
            if each.archive_id == archive_id and each.was_there(begun_s, ended_s):
                self._expect(each.word in shown, f"{each} was not among those shown at {begun_s:.3f}")
            if each.archive_id == archive_id and each.was_gone(begun_s, ended_s):
                self._expect(each.word not in shown, f"{each} was among those shown at {begun_s:.3f}")

    def check_rows(self, rows: Rows, gone: Sequence[str]) -> None:
        """When all is over: each passage stands in the store once or not at all, as was acknowledged."""
        there = Counter((each.shelf_id, each.text.split(" ", 1)[0]) for each in rows.space(PASSAGES).values())
        for each in self.all:
            times = there.pop((each.archive_id, each.word), 0)
            if each.archive_id in gone or each.forgotten_s is not None or each.undone:
                self._expect(times == 0, f"{each} stands {times} times in the store")
            elif each.kept_s is not None and each.forget_begun_s is None:
                self._expect(times >= 1, f"{each} stands {times} times in the store")
            self._expect(times <= each.times_max, f"{each} stands {times} times in the store")
        self._expect(not there, f"nobody kept {sorted(there)}")

    def check_index(self, archive_id: str, word: str, found: Sequence[Hit], built: Sequence[Hit]) -> None:
        """What a node found, against what an index finds that was built from the rows just now."""
        self._expect(list(found) == list(built), f"for {word} in {archive_id}: found {found}, stored is {built}")

    def _blame(self, sentence: str) -> None:
        self._watch.blame(NAME, sentence)

    def _expect(self, holds: bool, sentence: str) -> None:
        self._watch.expect(holds, NAME, sentence)


async def find_anew(rows: Rows, embeddings: Embeddings, archive_id: str, handle: str, word: str) -> list[Hit]:
    """What a search for the word finds in an index that is built from the rows."""
    passages: dict[str, Passage] = {
        each.id: each for each in rows.space(PASSAGES).values() if each.shelf_id == archive_id
    }
    if not passages:
        return []
    (vector,) = await embeddings.embed(handle, [word])
    index = SearchIndex(len(vector), len(passages))
    for each in passages.values():
        entry = Entry(id=each.id, text=each.text, vector=unpack_vector(each.vector), at_us=each.created_at_us)
        index.add(entry)
    hits = await index.search(Wanted(text=word, vector=vector, limit=FOUND_MAX))
    return [Hit(hit.id, passages[hit.id].text, (hit.vector_rank, hit.text_rank)) for hit in hits]
