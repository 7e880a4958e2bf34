"""Codec of OpenAI's embeddings, pure; also for the many servers that speak it."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from kelpie.errors import ModelUnavailable
from kelpie.llm.wire import decode_json

EMBEDDINGS_PATH = "/embeddings"


class _Asked(Struct, frozen=True):
    model: str
    input: Sequence[str]
    encoding_format: str = "float"


class _Vector(Struct, frozen=True):
    index: int
    embedding: list[float]


class _Answered(Struct, frozen=True):
    data: list[_Vector]


def encode_embeddings(model: str, texts: Sequence[str]) -> bytes:
    """The request's body. An empty text, which OpenAI refuses, is asked as a space."""
    assert texts
    return msgspec.json.encode(_Asked(model=model, input=[text or " " for text in texts]))


def decode_embeddings(body: bytes, provider: str) -> list[list[float]]:
    """The vectors in the order of the texts, which need not be that of the answer."""
    answered = decode_json(body, _Answered, provider)
    ordered = sorted(answered.data, key=lambda one: one.index)
    if [one.index for one in ordered] != list(range(len(ordered))):
        raise ModelUnavailable(f"{provider} answered with vectors of no or the same texts", provider=provider)
    return [one.embedding for one in ordered]
