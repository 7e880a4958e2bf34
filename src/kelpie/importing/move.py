"""The loop of a move: kind by kind, row by row, each commit with the journal's word for it."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from kelpie.errors import Refused
from kelpie.importing.journal import MOVES, Progress, add, name_one
from kelpie.limits import IMPORT_ROWS_AT_ONCE
from kelpie.storage.records import Batch, Records

Row = dict[str, Any]


class Source(Protocol):
    """A place to move from, read-only: tables of rows."""

    async def tables(self) -> dict[str, int]:
        """Every table there is, with the number of its rows."""
        ...

    async def rows(
        self, table: str, *, by: str = "id", after: Any = None, limit: int, where: dict[str, Any] | None = None
    ) -> list[Row]:
        """Rows whose column `by` is over `after` (None: from the first), in the order of that column.

        A table that the source does not have is empty.
        """
        ...


class Carried(Struct, frozen=True, kw_only=True):
    """A row became records, whose digests add up to `sum`; `parts` counts what is inside of them.

    `without` says what it had there and has not here.
    """

    sum: int
    parts: dict[str, int] = {}
    without: tuple[str, ...] = ()


DONE = Carried(sum=0)  # what `carry` gives back when `also` was told


class Present(Struct, frozen=True, kw_only=True):
    """It is here already."""


class Staying(Struct, frozen=True, kw_only=True):
    """It does not come along, for this reason."""

    reason: str


Outcome = Carried | Present | Staying
Also = Callable[[Batch, Carried], None]


class Kind(Protocol):
    """One kind of thing that is moved."""

    @property
    def name(self) -> str:
        """What the report calls it."""
        ...

    @property
    def table(self) -> str:
        """Where its rows are."""
        ...

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """Put what the row becomes into the batch, and the journal's word with it: `also(batch, carried)`.

        Whoever commits by itself calls `also` for that commit and leaves `batch` empty. A Refused error means that the
        row stays, for the reason that it gives.
        """
        ...

    async def stored(self, id: str) -> int:
        """The sum of the digests of what the store has of that row."""
        ...


class Mover:
    """One move. `note` is told of every row; a `dry` one reads and understands everything and writes nothing."""

    def __init__(
        self, records: Records, source: Source, source_id: str, note: Callable[[str], None], *, dry: bool
    ) -> None:
        self._records = records
        self._source = source
        self._source_id = source_id
        self._note = note
        self._dry = dry

    async def move(self, kind: Kind) -> Progress:
        """All rows of one kind that were not dealt with before."""
        found = None if self._dry else await self._records.get(MOVES.at(self._source_id, kind.name))
        progress = await self._read_back(kind, Progress() if found is None else found.value)
        while not progress.done:
            rows = await self._source.rows(kind.table, after=progress.last or None, limit=IMPORT_ROWS_AT_ONCE)
            for row in rows:
                progress = await self._read_back(kind, await self._one(kind, row, progress))
                self._note(kind.name)
            if len(rows) < IMPORT_ROWS_AT_ONCE:
                progress = msgspec.structs.replace(progress, done=True)
                await self._write(kind, Batch(), progress)
        return progress

    async def _one(self, kind: Kind, row: Row, progress: Progress) -> Progress:
        """Deal with one row; how far the kind has come then."""
        id = str(row["id"])
        before = msgspec.structs.replace(progress, last=id, read=progress.read + 1)
        batch = Batch()
        after = before

        def also(batch: Batch, carried: Carried) -> None:
            nonlocal after
            after = _carried(before, carried)
            if not self._dry:
                batch.put(MOVES.at(self._source_id, kind.name), after)

        try:
            outcome = Staying(reason="deleted there") if row.get("is_deleted") else await kind.carry(row, batch, also)
        except Refused as error:
            outcome = Staying(reason=error.sentence)
        except KeyError as error:  # the source is another release, or another server, than it was understood as
            outcome = Staying(reason=f"its row has no {error}")
        match outcome:
            case Staying():
                after = msgspec.structs.replace(before, left=name_one(before.left, outcome.reason, id))
                await self._write(kind, Batch(), after)
            case Present():
                after = msgspec.structs.replace(before, present=before.present + 1)
                await self._write(kind, Batch(), after)
            case Carried():
                if batch.writes and not self._dry:
                    await self._records.commit(batch)
        assert after.read == after.carried + after.present + sum(each.count for each in after.left)
        return after

    async def _write(self, kind: Kind, batch: Batch, progress: Progress) -> None:
        if not self._dry:
            batch.put(MOVES.at(self._source_id, kind.name), progress)
            await self._records.commit(batch)

    async def _read_back(self, kind: Kind, progress: Progress) -> Progress:
        """With what the store has of the last row. The next commit of the kind keeps it."""
        if not progress.unread:
            return progress
        if self._dry:
            return msgspec.structs.replace(progress, stored=progress.sum, unread=False)
        stored = add(progress.stored, await kind.stored(progress.last))
        return msgspec.structs.replace(progress, stored=stored, unread=False)


def _carried(before: Progress, carried: Carried) -> Progress:
    parts = dict(before.parts)
    for name, count in carried.parts.items():
        parts[name] = parts.get(name, 0) + count
    without = before.without
    for reason in carried.without:
        without = name_one(without, reason, before.last)
    return msgspec.structs.replace(
        before,
        carried=before.carried + 1,
        parts=parts,
        without=without,
        sum=add(before.sum, carried.sum),
        unread=True,
    )
