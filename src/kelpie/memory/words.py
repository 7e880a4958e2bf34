"""Texts as words to be looked for: one case, no accents, no endings.

Both what is stored and what is asked goes through here, so an ending that is cut off wrongly costs little: words that
mean different things may meet, but a word always meets itself. Chinese and Japanese, written without spaces, are taken
by characters and pairs of characters.
"""

import re
import unicodedata
from functools import lru_cache

from kelpie.limits import SEARCH_WORD_CHARS_MAX, SEARCH_WORDS_KEPT_MAX

_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_STEM_CHARS_MIN = 3


def words_of(text: str) -> list[str]:
    """The words of a text in their order, each as often as it comes."""
    if text.isascii():
        return [stem(word) for word in _WORD.findall(text.lower())]
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    words: list[str] = []
    for word in _WORD.findall(plain):
        if _UNSPACED.search(word) is None:
            words.append(stem(word))
        else:
            words += [*word, *(word[at : at + 2] for at in range(len(word) - 1))]
    return words


@lru_cache(maxsize=SEARCH_WORDS_KEPT_MAX)
def stem(word: str) -> str:
    """The word without its English ending, as far as that can be told from its letters alone."""
    word = word[:SEARCH_WORD_CHARS_MAX]
    if not word.isascii() or not word.isalpha() or len(word) <= _STEM_CHARS_MIN:
        return word
    one = _singular(word)
    for ending in ("ing", "ed"):
        cut = one.removesuffix(ending)
        if cut != one and len(cut) >= _STEM_CHARS_MIN:
            one = cut[:-1] if cut[-1] == cut[-2] and cut[-1] not in "aeiouls" else cut
            break
    cut = one.removesuffix("e")
    return cut if len(cut) >= _STEM_CHARS_MIN else one


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
