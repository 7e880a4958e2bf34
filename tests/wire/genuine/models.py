"""The scripted model server with embeddings, for a genuine retired server: `python -m tests.wire.genuine.models`.

A vector counts the words of its text: place = a hash of the word, so that texts which share words are near. Most
places are zero, which keeps dumps of the vectors small.
"""

import argparse
import asyncio
import hashlib
import json
import math

from kelpie_sim.model_server import LISTED_MODELS, ModelServer, Plan

DIMENSIONS = {"text-embedding-3-small": 1_536, "text-embedding-3-large": 3_072, "text-embedding-ada-002": 1_536}


class ModelsWithEmbeddings(ModelServer):
    """What ModelServer answers, and POST /v1/embeddings."""

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Plan:
        """The answer to one request."""
        if (method, target.partition("?")[0]) != ("POST", "/v1/embeddings"):
            return super().answer(method, target, headers, body)
        asked = json.loads(body)
        texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        dimensions = DIMENSIONS.get(asked["model"], 1_536)
        data = [
            {"object": "embedding", "index": at, "embedding": embed(str(text), dimensions)}
            for at, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        raw = json.dumps({"object": "list", "data": data, "model": asked["model"], "usage": usage}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        return Plan(chunks=[head.encode() + raw])


def embed(text: str, dimensions: int) -> list[float]:
    """A unit vector that counts the words of the text."""
    counts: dict[int, int] = {}
    for word in text.casefold().split():
        place = int.from_bytes(hashlib.sha256(word.strip(".,;:!?").encode()).digest()[:4]) % dimensions
        counts[place] = counts.get(place, 0) + 1
    length = math.sqrt(sum(count * count for count in counts.values())) or 1.0
    return [counts.get(place, 0) / length for place in range(dimensions)]


async def _serve(port: int) -> None:
    server = await ModelsWithEmbeddings([*LISTED_MODELS, "gpt-4o-mini", *DIMENSIONS]).open("127.0.0.1", port)
    print(f"models on {server.sockets[0].getsockname()}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8390)
    asyncio.run(_serve(parser.parse_args().port))
