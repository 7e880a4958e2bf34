"""Facts about well-known models that their providers do not tell in their lists.

Sizes are the makers' published ones; a prefix stands for a family, the first match wins. Everything here is a
default: what a provider tells about a model comes first.
"""

import re
from typing import NamedTuple

from kelpie.limits import CONTEXT_WINDOW_TOKENS_DEFAULT, MODEL_OUTPUT_TOKENS_DEFAULT


class ModelSize(NamedTuple):
    """How much a model reads and writes, in tokens."""

    context_tokens: int
    output_tokens_max: int


UNKNOWN_SIZE = ModelSize(CONTEXT_WINDOW_TOKENS_DEFAULT, MODEL_OUTPUT_TOKENS_DEFAULT)

_OPENAI_SIZES: tuple[tuple[str, ModelSize], ...] = (
    ("gpt-6", ModelSize(400_000, 128_000)),
    ("gpt-5", ModelSize(272_000, 128_000)),
    ("gpt-4.1", ModelSize(1_047_576, 32_768)),
    ("gpt-4o", ModelSize(128_000, 16_384)),
    ("chatgpt-4o", ModelSize(128_000, 16_384)),
    ("gpt-4-turbo", ModelSize(128_000, 4_096)),
    ("gpt-4-32k", ModelSize(32_768, 4_096)),
    ("gpt-4", ModelSize(8_192, 4_096)),
    ("gpt-3.5-turbo", ModelSize(16_385, 4_096)),
    ("o1-mini", ModelSize(128_000, 65_536)),
    ("o1", ModelSize(200_000, 100_000)),
    ("o3", ModelSize(200_000, 100_000)),
    ("o4", ModelSize(200_000, 100_000)),
)
_ANTHROPIC_SIZES: tuple[tuple[str, ModelSize], ...] = (
    ("claude-haiku-4-5", ModelSize(200_000, 64_000)),
    ("claude-sonnet-4", ModelSize(200_000, 64_000)),
    ("claude-opus-4-1", ModelSize(200_000, 32_000)),
    ("claude-opus-4-0", ModelSize(200_000, 32_000)),
    ("claude-opus-4-2", ModelSize(200_000, 32_000)),  # claude-opus-4-20250514
    ("claude-opus-4", ModelSize(200_000, 64_000)),
    ("claude-3-7", ModelSize(200_000, 64_000)),
    ("claude-3-5", ModelSize(200_000, 8_192)),
    ("claude-3", ModelSize(200_000, 4_096)),
    ("claude", ModelSize(200_000, 64_000)),
)
# Named where a provider cannot be asked: enough to begin with.
OPENAI_MODELS = ("gpt-5", "gpt-5-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini")
ANTHROPIC_MODELS = ("claude-opus-4-8", "claude-sonnet-5", "claude-haiku-4-5")

OPENAI_EMBEDDING_MODELS = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")
_EMBEDDING_DIMENSIONS = {
    "text-embedding-3-small": 1_536, "text-embedding-3-large": 3_072, "text-embedding-ada-002": 1_536,
    "nomic-embed-text": 768, "mxbai-embed-large": 1_024, "all-minilm": 384, "bge-m3": 1_024,
    "snowflake-arctic-embed": 1_024, "mistral-embed": 1_024,
}  # fmt: skip
_EMBEDS = re.compile(r"embed|minilm|(^|[/-])(bge|gte|e5)-", re.IGNORECASE)
_OPENAI_REASONER = re.compile(r"o\d|gpt-[5-9]")
_CLAUDE_VERSION = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_NOT_FOR_CHAT = re.compile(
    r"embed|whisper|tts|dall-e|moderation|image|audio|realtime|transcribe|sora|davinci|babbage|instruct$|rerank"
)


def size_of(kind: str, model: str) -> ModelSize | None:
    """The size of a well-known model on that wire; None when it is not known."""
    assert kind in ("openai", "anthropic")
    name = model.rpartition("/")[2]  # routers put the maker's name in front
    for prefix, size in _ANTHROPIC_SIZES + _OPENAI_SIZES:
        if name.startswith(prefix):
            return size
    return None


def chats(model: str) -> bool:
    """Whether a model of that name is for conversation, as far as its name tells."""
    return _NOT_FOR_CHAT.search(model.lower()) is None


def embeds(model: str) -> bool:
    """Whether a model of that name embeds texts, as far as its name tells."""
    return _EMBEDS.search(model) is not None


def dimensions_of(model: str) -> int | None:
    """How many numbers the vectors of a well-known embedding model have; None when it is not known."""
    return _EMBEDDING_DIMENSIONS.get(model.rpartition("/")[2].partition(":")[0])


def takes_temperature(model: str) -> bool:
    """Whether that model accepts a temperature: reasoning models of OpenAI and Claude from 4.7 refuse it."""
    name = model.rpartition("/")[2]
    return not _OPENAI_REASONER.match(name) and claude_version(name) < (4, 7)


def thinks_adaptively(model: str) -> bool:
    """Whether a Claude model is told an effort instead of a budget of thinking tokens (from 4.6)."""
    return claude_version(model.rpartition("/")[2]) >= (4, 6)


def claude_version(model: str) -> tuple[int, int]:
    """`claude-sonnet-4-5-20250929` is (4, 5); (0, 0) for what is not named so."""
    found = _CLAUDE_VERSION.match(model)
    if found is None:
        return (99, 0) if model.startswith("claude-mythos") else (0, 0)
    return int(found[1]), int(found[2] or 0)
