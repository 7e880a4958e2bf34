"""How long a search over an archive takes, and how much memory: `python -m benches.bench_archive`.

The index alone, without the store: random vectors and texts of forty words, median of nine searches.
"""

import asyncio
import statistics
import time

import numpy as np

from kelpie.memory.search_index import Entry, SearchIndex, Wanted

SIZES = ((10_000, 256), (10_000, 1_536), (100_000, 256), (100_000, 1_536))
SEARCHES = 9
WORDS_PER_TEXT = 40
VOCABULARY = 20_000
AT_ONCE = 1_000


def filled(rows: int, dimensions: int, draw: np.random.Generator) -> tuple[SearchIndex, float]:
    """An index, and the milliseconds that one text took to be added."""
    index = SearchIndex(dimensions, rows)
    spent = 0.0
    for start in range(0, rows, AT_ONCE):
        vectors = draw.standard_normal((AT_ONCE, dimensions), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        words = draw.zipf(1.3, (AT_ONCE, WORDS_PER_TEXT)) % VOCABULARY
        texts = [" ".join(f"w{word}" for word in row) for row in words]
        begun = time.perf_counter()
        for at in range(AT_ONCE):
            index.add(Entry(id=f"passage-{start + at:07}", text=texts[at], vector=vectors[at], at_us=start + at))
        spent += time.perf_counter() - begun
    return index, spent / rows * 1_000


async def median_ms(index: SearchIndex, wanted: Wanted) -> float:
    """The median of several searches."""
    taken = []
    for _ in range(SEARCHES):
        begun = time.perf_counter()
        await index.search(wanted)
        taken.append((time.perf_counter() - begun) * 1_000)
    return statistics.median(taken)


async def main() -> None:
    """Print the table of docs/benchmarks.md."""
    draw = np.random.default_rng(1)
    print("| passages | numbers | vector | words | hybrid | memory | adding one |\n|---|---|---|---|---|---|---|")
    for rows, dimensions in SIZES:
        index, add_ms = filled(rows, dimensions, draw)
        vector = draw.standard_normal(dimensions, dtype=np.float32)
        vector /= np.linalg.norm(vector)
        taken = [
            await median_ms(index, Wanted(text="w5 w70 w1000", vector=vector, mode=mode, limit=10))
            for mode in ("vector", "fts", "hybrid")
        ]
        cells = [f"{rows:,}", f"{dimensions:,}", *[f"{ms:.1f} ms" for ms in taken]]
        print(f"| {' | '.join(cells)} | {index.bytes_total / 1e6:.0f} MB | {add_ms * 1_000:.0f} µs |")
        del index


if __name__ == "__main__":
    asyncio.run(main())
