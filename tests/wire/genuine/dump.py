"""The rows of a retired server's database, as JSON lines: `python -m tests.wire.genuine.dump postgresql://... FILE.gz`.

One line a row, `{"table": ..., "row": {...}}`, as PostgreSQL itself writes rows as JSON; vectors are text. The first
line names the release by its last migration. What is read here is what `importing` reads from the database.
"""

import asyncio
import gzip
import json
import sys
from pathlib import Path

import asyncpg

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"


async def dump(uri: str, target: Path) -> int:
    """Write every row of every table; how many."""
    connection = await asyncpg.connect(uri)
    lines = []
    for (table,) in await connection.fetch(TABLES):
        rows = await connection.fetch(f'SELECT row_to_json(t)::text FROM "{table}" t ORDER BY t::text')
        lines += [json.dumps({"table": table, "row": json.loads(row)}, ensure_ascii=False) for (row,) in rows]
    await connection.close()
    with gzip.GzipFile(target, "wb", mtime=0) as file:
        file.write("\n".join(lines).encode())
    return len(lines)


if __name__ == "__main__":
    print(asyncio.run(dump(sys.argv[1], Path(sys.argv[2]))))
