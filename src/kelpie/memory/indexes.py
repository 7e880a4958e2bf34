"""Which indexes are in memory: those used last, within one bound for all of them together."""

from kelpie.errors import LimitExceeded
from kelpie.limits import INDEX_BYTES_MAX
from kelpie.memory.search_index import SearchIndex


class KeptIndex:
    """An index in memory, and the version that it is true of."""

    def __init__(self, version: int, index: SearchIndex) -> None:
        self.version = version
        self.index = index


class Indexes:
    """Indexes in memory by the id of what they are of; those not used for longest go when all take too much."""

    def __init__(self, bytes_max: int = INDEX_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: dict[str, KeptIndex] = {}  # the last used one last

    def find(self, id: str) -> KeptIndex | None:
        """The index, which counts as used now."""
        kept = self._kept.pop(id, None)
        if kept is not None:
            self._kept[id] = kept
        return kept

    def keep(self, id: str, version: int, index: SearchIndex) -> None:
        """Keep an index. Raises LimitExceeded when it alone takes too much."""
        self._kept.pop(id, None)
        self._kept[id] = KeptIndex(version, index)
        self.trim()

    def drop(self, id: str) -> None:
        """Forget an index."""
        self._kept.pop(id, None)

    def trim(self) -> None:
        """Drop what is too much; the last used one is too much only if it is so alone."""
        total = sum(kept.index.bytes_total for kept in self._kept.values())
        while total > self._bytes_max:
            id = next(iter(self._kept))
            size = self._kept.pop(id).index.bytes_total
            total -= size
            if not self._kept:
                raise LimitExceeded(
                    f"the index of '{id}' takes {size} bytes of memory, over the limit of {self._bytes_max}",
                    limit="INDEX_BYTES_MAX",
                    maximum=self._bytes_max,
                )
