"""Goal: today's code opens the data of every released storage format. Method: a copy of a committed directory."""

import asyncio
import shutil
from pathlib import Path

from kelpie.storage import keys
from kelpie.storage.records import Batch, Records
from kelpie.storage.sqlite import open_sqlite
from kelpie.storage.sqlite_file import MIGRATIONS
from kelpie.storage.store import Row
from kelpie.system import system_world
from tests.formats.make_format_1 import NOTES, Note

HERE = Path(__file__).parent
FORMAT_1 = [
    Row(b"note first 0000000000000000", b'{"text":"rewritten","number":10,"form":1}', 2),
    Row("note größe 0000000000000002".encode(), '{"text":"text of größe","number":2,"form":1}'.encode(), 1),
    Row(b"note with%20space 0000000000000001", b'{"text":"text of with space","number":1,"form":1}', 1),
]


def test_each_format_has_a_directory() -> None:
    formats = sorted(path.name for path in HERE.glob("format-*"))
    assert formats == [f"format-{number}" for number in range(1, len(MIGRATIONS) + 1)]


def test_format_1_opens_with_its_data_and_takes_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        data_dir = shutil.copytree(HERE / "format-1", tmp_path / "data")
        store = await open_sqlite(data_dir, system_world())
        assert await store.scan(b"\x00", b"\xff", limit=100) == FORMAT_1
        records, batch = Records(store), Batch()
        (found, gone) = await records.get_all([NOTES.at("with space", 1), NOTES.at("doomed", 3)])
        assert found is not None and gone is None
        assert (found.key, found.value, found.version) == (
            keys.key("note", "with space", 1),
            Note(text="text of with space", number=1),
            1,
        )
        batch.check(found)
        batch.put(NOTES.at("new", 4), Note(text="new", number=4))
        assert await records.commit(batch) > 2, "versions go on from what the old data had"
        await store.close()

    asyncio.run(scenario())
