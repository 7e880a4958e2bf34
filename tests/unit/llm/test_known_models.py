"""Goal: names are read rightly. Method: examples of every rule."""

import pytest

from kelpie.llm.known_models import chats, claude_version, size_of, takes_temperature, thinks_adaptively


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-sonnet-4-5-20250929", (4, 5)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-opus-4.7", (4, 7)),
        ("claude-sonnet-5", (5, 0)),
        ("claude-fable-5-2", (5, 2)),
        ("claude-3-5-haiku-20241022", (0, 0)),
        ("claude-mythos-preview", (99, 0)),
        ("llama3", (0, 0)),
    ],
)
def test_versions(model: str, version: tuple[int, int]) -> None:
    """A date is no minor version."""
    assert claude_version(model) == version


def test_what_models_understand() -> None:
    """Temperature, the form of thinking, whether it converses."""
    names = ("gpt-4o", "gpt-5-mini", "o3", "claude-haiku-4-5", "claude-opus-4-7", "anthropic/claude-opus-4-8", "qwen3")
    assert [takes_temperature(name) for name in names] == [True, False, False, True, False, False, True]
    assert [thinks_adaptively(name) for name in names] == [False] * 4 + [True, True, False]
    assert [chats(name) for name in ("gpt-4o", "text-embedding-3-small", "tts-1")] == [True, False, False]


def test_sizes() -> None:
    """The longest fitting prefix comes first; a router's prefix is passed over; unknown is None."""
    sizes = [size_of("openai", name) for name in ("gpt-4o-mini", "gpt-4", "anthropic/claude-opus-4-1", "mystery")]
    assert [size and size.context_tokens for size in sizes] == [128_000, 8_192, 200_000, None]
