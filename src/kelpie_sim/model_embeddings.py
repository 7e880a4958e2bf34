"""The scripted model server's embedding models: `text-embedding-3-small`, `embed-<dimensions>`.

A text's vector counts its words, hashed to places, so that texts with the same words are the same point whatever their
order, and texts without a word in common are far apart. Pure.
"""

import base64
import re
import struct
import zlib
from typing import Literal

import msgspec
from msgspec import Struct

EMBEDDING_MODELS = {"text-embedding-3-small": 1_536, "text-embedding-3-large": 3_072}
_SIZED = re.compile(r"embed-(\d{1,4})")
_TEXTS_MAX = 2_048  # of OpenAI
_CHARS_MAX = 32_000  # 8,192 tokens, roughly


class AskedEmbeddings(Struct):
    """A request for vectors."""

    model: str
    input: str | list[str]
    encoding_format: Literal["float", "base64"] = "float"

    @property
    def texts(self) -> list[str]:
        """What is to be embedded."""
        return [self.input] if isinstance(self.input, str) else self.input


def embedding_fault(asked: AskedEmbeddings) -> str | None:
    """What OpenAI would refuse in the request; None when it would take it."""
    if not 0 < len(asked.texts) <= _TEXTS_MAX:
        return f"'$.input' is invalid: an array of 1 to {_TEXTS_MAX} texts is expected"
    if not all(asked.texts):
        return "'$.input' is invalid: the input cannot be an empty string"
    if max(len(text) for text in asked.texts) > _CHARS_MAX:
        return "This model's maximum context length is 8192 tokens, however you requested more."
    if dimensions_of(asked.model) == 0:
        return f"The model `{asked.model}` does not embed."
    return None


def dimensions_of(model: str) -> int:
    """How many numbers its vectors have; 0 for a model that does not embed."""
    sized = _SIZED.fullmatch(model)
    return int(sized[1]) if sized else EMBEDDING_MODELS.get(model, 0)


def embeddings_whole(asked: AskedEmbeddings) -> bytes:
    """The body of the answer; the vectors last text first, which the order of `index` allows."""
    data = [
        {"object": "embedding", "index": index, "embedding": _written(embedded(text, asked.model), asked)}
        for index, text in enumerate(asked.texts)
    ]
    tokens = sum(len(text) for text in asked.texts) // 4 + 1
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return msgspec.json.encode({"object": "list", "data": data[::-1], "model": asked.model, "usage": usage})


def embedded(text: str, model: str) -> list[float]:
    """The vector of a text."""
    counts = [0.0] * dimensions_of(model)
    for word in re.findall(r"\w+", text.casefold()) or [""]:
        counts[zlib.crc32(word.encode()) % len(counts)] += 1.0
    length = sum(count * count for count in counts) ** 0.5
    return [count / length for count in counts]


def _written(vector: list[float], asked: AskedEmbeddings) -> list[float] | str:
    if asked.encoding_format == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
