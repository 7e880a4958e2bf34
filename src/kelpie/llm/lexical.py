"""The built-in embedding model: texts as points by the words and pieces of words that they share.

It needs no key, no weights and no network, and gives the same vectors in every process and on every machine. It knows
no synonyms: two texts are near each other when they have words, or stems of words, in common. Each word stands for
itself and for its pieces of three and four characters, hashed to places of the vector; the small words of English
weigh little, however often they come. Chinese and Japanese, which are written without spaces, are taken by characters
and pairs of characters.
"""

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kelpie.limits import LEXICAL_WORDS_KEPT_MAX

LEXICAL_MODEL = "lexical-512"
LEXICAL_DIMENSIONS = 512
PIECE_CHARS_MIN = 3
PIECE_CHARS_MAX = 4
_WORD_CHARS_MAX = 64  # of a longer one, e.g. a line of base64, only the beginning counts
_PIECES_SHARE = 1.6  # how much all pieces of a word weigh beside the word itself
_SMALL_WORD_WEIGHT = 0.1
_WORD = re.compile(r"[^\W_]+")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_SMALL_WORDS = frozenset(
    "a about after all also am an and any are as at be been but by can could did do does for from had has have he her "
    "him his how i if in into is it its just like me more my no not of on or our out she should so some than that the "
    "their them then there these they this to up us was we were what when where which who why will with would you your "
    "s t d m re ve ll".split()
)

Vector = NDArray[np.float32]


def embed_lexically(text: str) -> Vector:
    """The text as a vector of LEXICAL_DIMENSIONS numbers and unit length; of a text without words, a fixed one."""
    counts = Counter(_words(text))
    if not counts:
        return _nowhere()
    features = [(_features(word), 1.0 + math.log(count)) for word, count in counts.items()]
    places = np.concatenate([places for (places, _), _ in features])
    weights = np.concatenate([weights * np.float32(often) for (_, weights), often in features])
    summed = np.bincount(places, weights, LEXICAL_DIMENSIONS)
    length = float(np.sqrt(np.dot(summed, summed)))
    assert len(summed) == LEXICAL_DIMENSIONS
    assert math.isfinite(length)
    return (summed / length).astype(np.float32) if length > 0 else _nowhere()


def _words(text: str) -> Iterator[str]:
    """Words in one case and without accents; unspaced scripts by characters and pairs of them."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in plain if not unicodedata.combining(char)) if not plain.isascii() else plain
    for match in _WORD.finditer(plain):
        word = match[0][:_WORD_CHARS_MAX]
        if _UNSPACED.search(word) is None:
            yield word
        else:
            yield from word
            yield from (word[at : at + 2] for at in range(len(word) - 1))


@lru_cache(maxsize=LEXICAL_WORDS_KEPT_MAX)
def _features(word: str) -> tuple[NDArray[np.int16], Vector]:
    """Where in the vector a word counts, and how much: the word itself, then its pieces."""
    weight = _SMALL_WORD_WEIGHT if word in _SMALL_WORDS else min(1.0, 0.4 + 0.15 * len(word))
    framed = f"<{word}>"
    pieces = [
        framed[at : at + size]
        for size in range(PIECE_CHARS_MIN, min(PIECE_CHARS_MAX, len(framed) - 1) + 1)
        for at in range(len(framed) - size + 1)
    ]
    share = weight * _PIECES_SHARE / math.sqrt(len(pieces)) if pieces else 0.0
    hashed = [_hash(framed), *(_hash(piece) for piece in pieces)]
    weights = [weight, *([share] * len(pieces))]
    assert len(hashed) == len(weights)
    places = np.array([number % LEXICAL_DIMENSIONS for number in hashed], np.int16)
    signs = np.array([1.0 if number >> 32 & 1 else -1.0 for number in hashed], np.float32)
    assert places.min() >= 0
    return places, signs * np.array(weights, np.float32)


def _hash(feature: str) -> int:
    """The same number everywhere, which `hash` is not."""
    return int.from_bytes(hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def _nowhere() -> Vector:
    """Where texts without a word are: near each other, and far from all others."""
    vector = np.zeros(LEXICAL_DIMENSIONS, np.float32)
    vector[0] = 1.0
    return vector
