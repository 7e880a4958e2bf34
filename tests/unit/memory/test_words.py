"""Goal: forms of one word meet, other words do not. Method: cases by value."""

import pytest

from kelpie.memory.words import stem, words_of


@pytest.mark.parametrize(
    "forms",
    [
        ("meeting", "meetings"),
        ("deploy", "deployed", "deploying", "deploys"),
        ("move", "moved", "moving", "moves"),
        ("stop", "stopped", "stopping", "stops"),
        ("policy", "policies"),
        ("class", "classes"),
        ("pass", "passed", "passing"),
        ("database", "databases"),
    ],
)
def test_forms_of_a_word_have_one_stem(forms: tuple[str, ...]) -> None:
    """English endings; the first stem names the group."""
    assert len({stem(form) for form in forms}) == 1


@pytest.mark.parametrize("word", ["bus", "this", "red", "sing", "as", "b2s", "übungs"])
def test_what_only_looks_like_an_ending_stays(word: str) -> None:
    """Short words, words with figures, words of other alphabets."""
    assert stem(word) == word


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("The sky, the SKY!", ["the", "sky", "the", "sky"]),
        ("Café Ångström", ["caf", "angstrom"]),
        ("snake_case and foo.bar(42)", ["snak", "cas", "and", "foo", "bar", "42"]),
        ("東京都", ["東", "京", "都", "東京", "京都"]),
    ],
)
def test_texts_as_words(text: str, words: list[str]) -> None:
    """In order, as often as they come."""
    assert words_of(text) == words
