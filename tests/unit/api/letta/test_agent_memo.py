"""What is kept of agents: given back only for the same sources, and bounded in bytes."""

import pytest
from msgspec import Raw

from kelpie.api.letta.agent_memo import AgentMemo


def test_an_agent_is_remembered_as_long_as_its_sources_are_the_same() -> None:
    memo = AgentMemo()
    assert memo.recall("a", (1, 2)) is None
    assert memo.keep("a", (1, 2), b"[1]") == memo.recall("a", (1, 2)) == Raw(b"[1]")
    assert memo.recall("b", (1, 2)) is None
    assert memo.recall("a", (1, 3)) is None
    assert memo.recall("a", (1, 2)) is None, "what it was before is not kept"
    memo.keep("a", (1, 3), b"[2]")
    assert memo.recall("a", (1, 3)) == Raw(b"[2]")


def test_those_that_were_not_shown_for_longest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes are kept: three agents of three bytes, none of eleven, one of ten alone."""
    monkeypatch.setattr("kelpie.api.letta.agent_memo.AGENTS_KEPT_BYTES_MAX", 10)
    memo = AgentMemo()

    def kept() -> list[str]:
        return [name for name in "abcdef" if memo.recall(name, ()) is not None]

    for name in "abc":
        memo.keep(name, (), b"[1]")
    assert kept() == ["a", "b", "c"]
    memo.recall("a", ())
    memo.keep("d", (), b"[1]")
    assert kept() == ["a", "c", "d"]
    assert memo.keep("e", (), b"[123456789]") == Raw(b"[123456789]")
    assert kept() == ["a", "c", "d"]
    assert memo.recall("c", (0,)) is None
    memo.keep("e", (), b"[12]")
    assert kept() == ["a", "d", "e"]
    memo.keep("f", (), b"[12345678]")
    assert kept() == ["f"]
