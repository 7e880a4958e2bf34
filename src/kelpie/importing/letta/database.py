"""The retired server's PostgreSQL, read in one snapshot that cannot write."""

import re
from typing import Any

import asyncpg
import msgspec

from kelpie.errors import InvalidInput, ServerUnreachable
from kelpie.importing.move import Row
from kelpie.limits import IMPORT_CONNECT_SECONDS_MAX

_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
_NAME = re.compile("[a-z_]+")
_DRIVER = re.compile(r"^postgres(ql)?(\+\w+)?://")


class Database:
    """A `Source`. Everything is seen as it was when the connection began."""

    def __init__(self, connection: Any, tables: dict[str, int]) -> None:
        self._connection = connection
        self._tables = tables

    async def tables(self) -> dict[str, int]:
        """Every table, with the number of its rows."""
        return self._tables

    async def rows(
        self, table: str, *, by: str = "id", after: Any = None, limit: int, where: dict[str, Any] | None = None
    ) -> list[Row]:
        """Rows as PostgreSQL itself writes them as JSON; vectors are text."""
        assert all(_NAME.fullmatch(name) for name in (table, by, *(where or {})))
        if table not in self._tables:
            return []
        conditions = [f'"{name}" = ${at}' for at, name in enumerate(where or {}, start=2)]
        values = [limit, *(where or {}).values()]
        if after is not None:
            values.append(after)
            conditions.append(f'"{by}" > ${len(values)}')
        filtered = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        query = f'SELECT row_to_json(t)::text FROM (SELECT * FROM "{table}" {filtered} ORDER BY "{by}" LIMIT $1) t'
        found = await self._connection.fetch(query, *values)
        return [msgspec.json.decode(row) for (row,) in found]

    async def close(self) -> None:
        """Leave the database as it was."""
        await self._connection.close()


async def open_database(url: str) -> Database:
    """Connect. Raises InvalidInput (the address), ServerUnreachable."""
    try:
        connection: Any = await asyncpg.connect(_DRIVER.sub("postgresql://", url), timeout=IMPORT_CONNECT_SECONDS_MAX)
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        names = [name for (name,) in await connection.fetch(_TABLES) if _NAME.fullmatch(name)]
        counts = {name: await connection.fetchval(f'SELECT count(*) FROM "{name}"') for name in names}
    except (OSError, TimeoutError) as error:
        raise ServerUnreachable(f"the database does not answer: {error}") from None
    except (asyncpg.PostgresError, ValueError) as error:
        raise InvalidInput(f"the database cannot be read: {error}", field="from") from None
    if "alembic_version" not in counts or "agents" not in counts:
        await connection.close()
        raise InvalidInput("this is not the database of such a server: it has no agents and no revision", field="from")
    return Database(connection, counts)
