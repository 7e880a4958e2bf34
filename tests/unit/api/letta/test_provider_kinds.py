"""Goal: each kind of provider is asked where it lives, or refused with advice. Method: exact addresses."""

import pytest

from kelpie.api.letta.provider_kinds import REFUSED, SPOKEN, read_address
from kelpie.errors import InvalidInput
from kelpie.llm.transport import Endpoint


@pytest.mark.parametrize(
    ("kind", "given", "wire", "base_url"),
    [
        ("openai", None, "openai", "https://api.openai.com/v1"),
        ("openai", "http://127.0.0.1:1/v1/", "openai", "http://127.0.0.1:1/v1"),
        ("anthropic", "https://api.anthropic.com/v1", "anthropic", "https://api.anthropic.com"),
        ("ollama", "http://localhost:11434", "openai", "http://localhost:11434/v1"),
        ("vllm", "http://gpu:8000/v1", "openai", "http://gpu:8000/v1"),
        ("azure", "https://x.openai.azure.com", "openai", "https://x.openai.azure.com/openai/v1"),
        ("azure", "https://x.openai.azure.com/openai", "openai", "https://x.openai.azure.com/openai/v1"),
        ("bedrock", "https://b/openai/v1", "openai", "https://b/openai/v1"),
        ("minimax", None, "anthropic", "https://api.minimax.io/anthropic"),
    ],
)
def test_an_address_is_made_whole(kind: str, given: str | None, wire: str, base_url: str) -> None:
    """With or without its version, as clients write it."""
    assert read_address(kind, given, None) == (wire, base_url)


@pytest.mark.parametrize("kind", sorted(SPOKEN))
def test_every_spoken_kind_has_an_address_that_can_be_asked(kind: str) -> None:
    """Once it is given where its owner runs it."""
    given = "http://127.0.0.1:1" if SPOKEN[kind].needs_url else None
    _, base_url = read_address(kind, given, None)
    Endpoint(kind, base_url, [])


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_other_kinds_are_refused_with_advice(kind: str) -> None:
    """Not later, when an agent asks one."""
    with pytest.raises(InvalidInput, match="; "):
        read_address(kind, "https://x", None)
