"""What all kinds of a move look up: the house that is moved into, the source, its secrets, its tools by their ids."""

import msgspec
from msgspec import Raw, Struct

from kelpie.api.letta.house import House
from kelpie.errors import InvalidInput
from kelpie.ids import ToolId, parse_id
from kelpie.importing.letta.secrets import OldSecrets
from kelpie.importing.move import Row, Source
from kelpie.limits import IMPORT_LINKS_MAX

NO_OBJECT = Raw(b"{}")


class Ground(Struct, frozen=True, kw_only=True):
    """Where a move stands."""

    house: House
    source: Source
    secrets: OldSecrets
    models: dict[str, str] = {}  # handle there -> handle here

    async def links(self, table: str, by: str, **where: str) -> list[Row]:
        """All rows of a table of links that are about one thing, in the order of another column."""
        rows = await self.source.rows(table, by=by, limit=IMPORT_LINKS_MAX + 1, where=dict(where))
        if len(rows) > IMPORT_LINKS_MAX:
            raise InvalidInput(f"{table}: more than {IMPORT_LINKS_MAX} rows of {where}")
        return rows

    async def tool_ids(self, agent_id: str) -> tuple[list[ToolId], list[str]]:
        """The agent's tools as they are called here, and the names of those that there are not."""
        here: list[ToolId] = []
        missing: list[str] = []
        for link in await self.links("tools_agents", "tool_id", agent_id=agent_id):
            rows = await self.source.rows("tools", limit=1, where={"id": link["tool_id"]})
            name = str(rows[0]["name"]) if rows else link["tool_id"]
            found = (await self.house.tools.named([name])).get(name)
            if found is None:
                missing.append(name)
            else:
                here.append(found.id)
        return list(dict.fromkeys(here)), missing

    def model(self, handle: str | None) -> str | None:
        """The handle here."""
        return None if handle is None else self.models.get(handle, handle)


def checked_id(kind: str, row: Row) -> str:
    """The row's id. Raises InvalidInput if it is not one that clients may name here."""
    return parse_id(kind, str(row["id"]))


def raw_object(value: object) -> Raw:
    """An object as it is stored; nothing is an empty one."""
    return Raw(msgspec.json.encode(value)) if value else NO_OBJECT
