"""Made `format-1/kelpie.db` with the code of storage format 1; kept to show what is in it, not to be run again."""

import asyncio
import sys
from pathlib import Path

from msgspec import Struct

from kelpie.storage.records import Batch, Records, Space
from kelpie.storage.sqlite import open_sqlite
from kelpie.system import system_world


class Note(Struct, frozen=True, kw_only=True):
    """A record like those of format 1."""

    text: str
    number: int
    form: int = 1


NOTES = Space("note", Note)


async def make(data_dir: Path) -> None:
    """Two commits, the second of which deletes."""
    store = await open_sqlite(data_dir, system_world())
    batch = Batch()
    for number, name in enumerate(("first", "with space", "größe", "doomed")):
        batch.put(NOTES.at(name, number), Note(text=f"text of {name}", number=number))
    await Records(store).commit(batch)
    batch = Batch()
    batch.delete(NOTES.at("doomed", 3))
    batch.put(NOTES.at("first", 0), Note(text="rewritten", number=10))
    await Records(store).commit(batch)
    await store.close()


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1])))
