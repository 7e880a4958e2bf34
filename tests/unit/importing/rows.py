"""A retired server's tables from a fixture: what its database gives, without one."""

import gzip
import json
from pathlib import Path
from typing import Any

from kelpie.importing.move import Row

FIXTURES = Path(__file__).parents[2] / "wire" / "genuine" / "fixtures"


class RowsFile:
    """A `Source`."""

    def __init__(self, release: str) -> None:
        self.held: dict[str, list[Row]] = {}
        for line in gzip.decompress((FIXTURES / f"rows-{release}.jsonl.gz").read_bytes()).decode().splitlines():
            one = json.loads(line)
            self.held.setdefault(one["table"], []).append(one["row"])

    async def tables(self) -> dict[str, int]:
        return {table: len(rows) for table, rows in self.held.items()}

    async def rows(
        self, table: str, *, by: str = "id", after: Any = None, limit: int, where: dict[str, Any] | None = None
    ) -> list[Row]:
        wanted = [
            row
            for row in self.held.get(table, [])
            if all(row[name] == value for name, value in (where or {}).items()) and (after is None or row[by] > after)
        ]
        return sorted(wanted, key=lambda row: row[by])[:limit]
