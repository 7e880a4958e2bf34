"""Goal: keys sort as their parts do, ranges hold what they say, parts come back. Method: Hypothesis and examples."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelpie.limits import KEY_BYTES_MAX
from kelpie.storage import keys

text_part = st.text(alphabet=st.characters(exclude_categories=["Cs"], max_codepoint=0x2FF), max_size=6)
number_part = st.integers(0, keys.NUMBER_MAX)
# The kind of a part is fixed by its place, as it is in each of our key spaces.
some_parts = st.tuples(text_part, number_part, text_part)


@given(some_parts, some_parts)
def test_the_order_of_keys_is_the_order_of_parts(left: tuple[str, int, str], right: tuple[str, int, str]) -> None:
    assert (keys.key("agent", *left) < keys.key("agent", *right)) == (left < right)
    assert (keys.key("agent", *left) == keys.key("agent", *right)) == (left == right)


@given(st.lists(text_part, min_size=1, max_size=3), st.lists(text_part, min_size=1, max_size=3))
def test_a_range_holds_exactly_what_continues_its_prefix(prefix: list[str], parts: list[str]) -> None:
    start, end = keys.below("agent", *prefix)
    continues = len(parts) > len(prefix) and parts[: len(prefix)] == prefix
    assert (start <= keys.key("agent", *parts) < end) == continues
    assert start <= keys.key("agent", *prefix, *parts) < end


@given(text_part, text_part, text_part)
def test_past_skips_a_part_and_its_continuations_and_no_sibling(part: str, rest: str, other: str) -> None:
    past = keys.past("agent", "x", part)
    assert keys.key("agent", "x", part) < past
    assert keys.key("agent", "x", part, rest) < past
    if other > part:
        assert past <= keys.key("agent", "x", other)


@given(text_part)
def test_the_last_part_comes_back(part: str) -> None:
    assert keys.last_part(keys.key("agent", "x", part)) == part


def test_examples_are_readable() -> None:
    agent = "agent-123e4567-e89b-42d3-8456-426614174000"
    assert keys.key("message", agent, 10) == f"message {agent} 000000000000000a".encode()
    assert keys.key("name", "Bob's 50% a/b\n") == b"name Bob's%2050%25%20a/b%0a"
    assert keys.below("message", agent) == (f"message {agent} ".encode(), f"message {agent}!".encode())
    assert keys.last_part(keys.key("message", agent, 10)) == "000000000000000a"


def test_a_sibling_with_a_longer_name_is_neither_inside_nor_out_of_order() -> None:
    """`-` and `.` sort before most of what could separate parts."""
    ordered = [keys.key("tag", *parts) for parts in (("bob",), ("bob", "1"), ("bob-2",), ("bob-2", "1"), ("bob.x",))]
    assert ordered == sorted(ordered)


@pytest.mark.parametrize("part", [-1, keys.NUMBER_MAX + 1, "x" * KEY_BYTES_MAX])
def test_what_cannot_be_a_part_is_a_bug(part: str | int) -> None:
    with pytest.raises(AssertionError):
        keys.key("agent", part)
