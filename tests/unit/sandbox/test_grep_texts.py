"""Matches are counted, shown with their surroundings and page by page; a bad pattern is told."""

import msgspec

from kelpie.sandbox.programs.grep_texts import grep
from kelpie.sandbox.sandbox import Job
from tests.unit.sandbox.build import a_sandbox

TEXTS = [["a", "one\nTwo\nthree\ntwo"], ["b", "two"]]


def given(pattern: str, **fields: object) -> dict:
    return {"pattern": pattern, "texts": TEXTS, "context_lines": 0, "skip": 0, "matches_max": 9, **fields}


def test_matches_are_found_in_any_case_with_the_lines_around_them() -> None:
    assert grep(given("^two$")) == {
        "ok": True,
        "matches": [["a", 2, [[2, "Two"]]], ["a", 4, [[4, "two"]]], ["b", 1, [[1, "two"]]]],
        "total": 3,
    }
    assert grep(given("three", context_lines=1))["matches"] == [["a", 3, [[2, "Two"], [3, "three"], [4, "two"]]]]


def test_pages_of_matches() -> None:
    page = grep(given("two", skip=1, matches_max=1))
    assert (page["matches"], page["total"]) == ([["a", 4, [[4, "two"]]]], 3)


def test_a_pattern_that_is_none_is_told() -> None:
    assert "no regular expression" in grep(given("("))["error"]


def test_a_pattern_that_never_ends_is_ended(run, tmp_path) -> None:
    texts = [["a", "a" * 60 + "!"]]
    job = Job(program="grep_texts", input=msgspec.json.encode(given("(a+)+$", texts=texts)), deadline_ms=1_000)
    ended = run(a_sandbox(tmp_path).run(job))
    assert ended.result is None and "did not end within 1 s" in ended.died
