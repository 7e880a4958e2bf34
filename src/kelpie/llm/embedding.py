"""Embedding models: the built-in one, always there, and those of the configured providers.

A handle names a model as for replies. One whose provider is not configured here, such as the hosted models that clients
name by habit, stands for the built-in model: whoever shows an agent or an archive shows what is really used.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from kelpie.errors import ModelUnavailable, NotFound
from kelpie.limits import EMBEDDING_BATCH_CHARS_MAX, EMBEDDING_BATCH_TEXTS_MAX, EMBEDDING_DIMENSIONS_MAX
from kelpie.llm.lexical import LEXICAL_DIMENSIONS, LEXICAL_MODEL, embed_lexically

PROBE = "How many numbers does a text become?"
MODELS_REMEMBERED_MAX = 1_024

Vectors = NDArray[np.float32]


class EmbeddingInfo(Struct, frozen=True, kw_only=True):
    """An embedding model that can be named. `dimensions` 0: not known before the model was asked."""

    handle: str
    provider: str
    provider_kind: str  # whose wire format it speaks: openai, lexical
    model: str
    endpoint: str | None
    dimensions: int


class EmbeddingSource(Protocol):
    """The configured providers, as far as they embed."""

    async def list_embeddings(self) -> list[EmbeddingInfo]:
        """Every embedding model of every provider, by provider and name."""
        ...

    async def find_embedding(self, handle: str) -> EmbeddingInfo | None:
        """The model of that handle, None if its provider embeds nothing; NotFound when it lists others only."""
        ...

    async def ask_embeddings(self, info: EmbeddingInfo, texts: Sequence[str]) -> list[list[float]]:
        """One vector for each text, in one request that is retried by policy. ModelRefused, ModelUnavailable."""
        ...


BUILT_IN = EmbeddingInfo(
    handle=f"kelpie/{LEXICAL_MODEL}",
    provider="kelpie",
    provider_kind="lexical",
    model=LEXICAL_MODEL,
    endpoint=None,
    dimensions=LEXICAL_DIMENSIONS,
)


class Embeddings:
    """All embedding models. Without a source, the built-in one is the only one."""

    def __init__(self, source: EmbeddingSource | None) -> None:
        self._source = source
        self._known: dict[str, EmbeddingInfo] = {}

    async def list_models(self) -> list[EmbeddingInfo]:
        """Every model, the built-in one first; a provider that does not answer contributes nothing."""
        listed = [] if self._source is None else await self._source.list_embeddings()
        return [BUILT_IN, *(self._known.get(info.handle, info) for info in listed)]

    async def find(self, handle: str | None) -> EmbeddingInfo:
        """What embeds under that handle, its dimensions known.

        Raises NotFound (its provider lists other models only), ModelRefused, ModelUnavailable.
        """
        if handle is None or handle == BUILT_IN.handle or self._source is None:
            return BUILT_IN
        if handle in self._known:
            return self._known[handle]
        info = await self._source.find_embedding(handle)
        if info is None:
            return BUILT_IN
        if info.dimensions == 0:
            vectors = await self._ask(self._source, info, [PROBE])
            return self._known.get(handle) or _sized(info, vectors.shape[1])
        self._remember(info)
        return info

    async def find_for_agent(self, handle: str | None) -> EmbeddingInfo:
        """As `find`; a model that its provider does not list any more is the built-in one: an agent is not stuck."""
        try:
            return await self.find(handle)
        except NotFound:
            return BUILT_IN

    async def recall(self, handle: str) -> EmbeddingInfo:
        """What `find_for_agent` would answer, to be shown: nothing is asked of a model, and nothing fails."""
        if handle in self._known or handle == BUILT_IN.handle or self._source is None:
            return self._known.get(handle, BUILT_IN)
        try:
            return await self._source.find_embedding(handle) or BUILT_IN
        except NotFound:
            return BUILT_IN

    async def embed(self, handle: str, texts: Sequence[str]) -> Vectors:
        """One row of unit length for each text, by the model of that handle, which is one that `find` answered.

        Nothing stands in for it: vectors of two models cannot be compared. Raises as `find` does.
        """
        if handle == BUILT_IN.handle:
            return await _embed_built_in(texts)
        info = await self.find(handle)
        if self._source is None or info is BUILT_IN:
            raise NotFound(f"the provider of the embedding model '{handle}' is no longer configured", handle=handle)
        rows = [await self._ask(self._source, info, some) for some in _batches(texts)]
        assert sum(len(some) for some in rows) == len(texts)
        return np.concatenate(rows) if rows else np.zeros((0, info.dimensions), np.float32)

    async def _ask(self, source: EmbeddingSource, info: EmbeddingInfo, texts: Sequence[str]) -> Vectors:
        """The vectors of one batch, checked; what was learned of the model is remembered."""
        answered = await source.ask_embeddings(info, texts)
        sizes = {len(vector) for vector in answered}
        if len(answered) != len(texts) or len(sizes) != 1 or not 0 < max(sizes) <= EMBEDDING_DIMENSIONS_MAX:
            raise ModelUnavailable(
                f"{info.handle} answered {len(answered)} vectors of {sorted(sizes)} numbers to {len(texts)} texts",
                provider=info.provider,
            )
        vectors = np.array(answered, np.float64)
        with np.errstate(over="ignore"):  # what overflows is refused below
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths < 1e-9).any():
            raise ModelUnavailable(f"{info.handle} answered with a vector without a direction", provider=info.provider)
        self._remember(_sized(info, vectors.shape[1]))
        return (vectors / lengths).astype(np.float32)

    def _remember(self, info: EmbeddingInfo) -> None:
        if len(self._known) >= MODELS_REMEMBERED_MAX:
            self._known.clear()
        self._known[info.handle] = info


async def _embed_built_in(texts: Sequence[str]) -> Vectors:
    """Others get their turn between texts."""
    vectors = np.zeros((len(texts), LEXICAL_DIMENSIONS), np.float32)
    for at, text in enumerate(texts):
        vectors[at] = embed_lexically(text)
        await asyncio.sleep(0)
    return vectors


def _batches(texts: Sequence[str]) -> list[Sequence[str]]:
    """The texts in their order, in batches that are bounded in texts and, but for a single text, in characters."""
    batches: list[list[str]] = []
    chars = 0
    for text in texts:
        if batches and len(batches[-1]) < EMBEDDING_BATCH_TEXTS_MAX and chars + len(text) <= EMBEDDING_BATCH_CHARS_MAX:
            batches[-1].append(text)
            chars += len(text)
        else:
            batches.append([text])
            chars = len(text)
    return list(batches)


def _sized(info: EmbeddingInfo, dimensions: int) -> EmbeddingInfo:
    return msgspec.structs.replace(info, dimensions=dimensions)
