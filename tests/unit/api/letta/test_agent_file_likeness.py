"""What a file said otherwise than we do: found, put back, and left alone once it has changed."""

from kelpie.api.letta.agent_file.likeness import compare, restore

GIVEN = {"same": 1, "other": {"b": [1], "a": None}, "only theirs": [0]}
OURS = {"same": 1, "other": {"a": 1}, "only ours": 2}


def test_what_is_alike_needs_no_origin() -> None:
    assert compare({"a": {"x": 1, "y": 2}}, {"a": {"y": 2, "x": 1}}) is None


def test_what_was_otherwise_is_said_as_it_was() -> None:
    assert restore(OURS, compare(GIVEN, OURS)) == GIVEN


def test_what_has_changed_since_is_said_as_it_is_now() -> None:
    now = {**OURS, "other": {"a": 2}, "only theirs": "ours too now"}
    assert restore(now, compare(GIVEN, OURS)) == {"same": 1, "other": {"a": 2}, "only theirs": "ours too now"}
