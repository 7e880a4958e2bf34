"""Goal: the built-in embedder puts texts with shared stems near each other, the same way everywhere.

Method: a small set of questions, each with one text that says the same in other forms of its words, among all texts;
a digest that another process and another hash seed must repeat.
"""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from kelpie.llm.lexical import LEXICAL_DIMENSIONS, embed_lexically

PARAPHRASES = (
    ("When is the deployment happening?", "We deploy the new service on Friday at noon."),
    ("user's food allergies", "Ada is allergic to peanuts and shellfish."),
    ("meetings about API redesign", "In the meeting on March 3 we redesigned the public API and its pagination."),
    ("database migration decisions", "Decided to migrate the databases to PostgreSQL 16 in May."),
    ("favourite colour", "Her favorite color is blue; she paints everything in it."),
    ("how to reset a password", "Passwords are resettable from the account page by an administrator."),
    ("birthday of his sister", "His sister's birthdays are always celebrated on 4 July."),
    ("travelling to Japan", "They travelled through Japan for two weeks in spring."),
    ("training schedule for the marathon", "Marathon trainings are scheduled for Tuesday and Thursday mornings."),
    ("the invoice has not been paid", "Unpaid invoices were sent again to the client; payment is due in June."),
    ("performance optimisation of queries", "Optimizing the query planner made the reports perform ten times better."),
    ("dog's name", "The name of their dog is Biscuit, a lazy beagle."),
    ("where does she work", "She works as a nurse at the general hospital."),
    ("learning to play the piano", "He learned piano as a child and plays jazz."),
    ("server crashed at night", "The crash of the main server happened at 3 in the night, out of memory."),
    ("recipe for tomato soup", "Soups: roast tomatoes, onions, garlic; cook; blend. A recipe of grandmother."),
    ("Wo wohnt der Kunde?", "Die Kunden wohnen in Hamburg, der Kunde Meier wohnt in Bremen."),
    ("東京の天気", "東京は今日とても良い天気です。"),
    ("le café préféré", "Son cafe préfère se boit au comptoir; cafés et croissants."),
    ("error handling in the parser", "The parser handles errors by resynchronising at the next line."),
)
OTHERS = ("The sky is blue.", "A random note about nothing.", "Buy milk, eggs and bread.", "Room 4 is taken.")
TEXTS = [text for _, text in PARAPHRASES] + list(OTHERS)


@pytest.mark.parametrize(("question", "text"), PARAPHRASES)
def test_a_paraphrase_with_shared_stems_ranks_first(question: str, text: str) -> None:
    """Among all texts of the set."""
    rows = np.stack([embed_lexically(one) for one in TEXTS])
    assert TEXTS[int(np.argmax(rows @ embed_lexically(question)))] == text


@pytest.mark.parametrize("text", ["a", "The sky is blue", "", "  \n", "!?", "x" * 100_000, "\ud800", "東", "🦜🦜"])
def test_every_text_has_a_vector_of_unit_length(text: str) -> None:
    """Also what has no words, one endless word, and half a surrogate pair."""
    vector = embed_lexically(text)
    assert (vector.dtype, vector.shape) == (np.float32, (LEXICAL_DIMENSIONS,))
    assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5


def test_case_accents_and_punctuation_do_not_matter() -> None:
    """Nor does the order of words."""
    assert np.array_equal(embed_lexically("Café, crème!"), embed_lexically("cafe creme"))
    assert np.allclose(embed_lexically("blue sky"), embed_lexically("sky blue"))


def test_it_is_the_same_in_every_process() -> None:
    """A stored vector is compared with one that is made much later, elsewhere."""
    assert {digest(seed) for seed in ("0", "1")} == {digest_here()}


def digest(seed: str) -> str:
    """The digest in a process of its own."""
    code = "from tests.unit.llm.test_lexical import digest_here; print(digest_here())"
    environ = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def digest_here() -> str:
    """Of the vectors of all texts."""
    return hashlib.sha256(b"".join(embed_lexically(text).tobytes() for text in TEXTS)).hexdigest()
