"""Goal: one owner per data directory, whole formats only, clear words for what cannot be opened."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from kelpie.errors import DataCorrupt, KelpieError, StoreDown, StoreOwned, StoreTooNew
from kelpie.storage import sqlite_file
from kelpie.storage.sqlite import SqliteStore, open_sqlite
from kelpie.storage.sqlite_file import DATABASE_NAME, MIGRATIONS
from kelpie.storage.store import Put, Row
from kelpie.system import system_world


async def opened(data_dir: Path) -> SqliteStore:
    return await open_sqlite(data_dir, system_world())


async def write(data_dir: Path) -> int:
    store = await opened(data_dir)
    version = await store.commit([], [Put(b"k", b"v")])
    await store.close()
    return version


async def read(data_dir: Path) -> list[Row | None]:
    store = await opened(data_dir)
    rows = await store.get([b"k"])
    await store.close()
    return rows


def format_of(data_dir: Path) -> tuple[int, list[str]]:
    """The number of the format, and the names of its tables and views."""
    with closing(sqlite3.connect(data_dir / DATABASE_NAME)) as db:
        (number,) = db.execute("PRAGMA user_version").fetchone()
        names = db.execute("SELECT name FROM sqlite_master WHERE type <> 'index' ORDER BY name").fetchall()
    return number, [name for (name,) in names]


def test_a_missing_directory_is_made_for_its_owner_only(tmp_path: Path) -> None:
    data_dir = tmp_path / "some" / "data"
    asyncio.run(write(data_dir))
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data_dir.iterdir()}
    assert modes == {"kelpie.db": 0o600, "lock": 0o600}
    assert format_of(data_dir) == (1, ["kv", "meta", "records"])


def test_a_second_opener_is_told_who_owns_the_directory(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await opened(tmp_path)
        for _ in range(2):
            with pytest.raises(StoreOwned) as refused:
                await opened(tmp_path)
            assert refused.value.fields == {"pid": str(os.getpid()), "directory": str(tmp_path)}
            assert str(os.getpid()) in refused.value.sentence and str(tmp_path) in refused.value.sentence
        await store.commit([], [Put(b"k", b"v")])
        await store.close()

    asyncio.run(scenario())
    assert asyncio.run(read(tmp_path)) != [None]


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    asyncio.run(write(tmp_path))
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew) as refused:
        asyncio.run(opened(tmp_path))
    assert refused.value.fields == {"format": 99, "known": len(MIGRATIONS)}
    assert format_of(tmp_path) == (99, ["kv", "meta", "records"])


@pytest.mark.parametrize("kind", ["garbage", "cut short", "another program's", "without its meta row"])
def test_what_is_not_ours_is_corrupt_and_the_directory_is_free_again(tmp_path: Path, kind: str) -> None:
    path = tmp_path / DATABASE_NAME
    if kind == "another program's":
        with closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE kv (mine)")
    else:
        asyncio.run(write(tmp_path))
    if kind == "garbage":
        path.write_bytes(b"garbage " * 1_000)
    if kind == "cut short":
        path.write_bytes(path.read_bytes()[:5_000])
    if kind == "without its meta row":
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("DELETE FROM meta")
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(DataCorrupt):
            asyncio.run(opened(tmp_path))
    assert path.read_bytes() == before
    path.unlink()
    assert asyncio.run(read(tmp_path)) == [None]


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StoreDown, match="file/data"):
        asyncio.run(opened(tmp_path / "file" / "data"))


def test_a_migration_keeps_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = asyncio.run(write(tmp_path))
    more = ("CREATE TABLE extra (name TEXT)", "INSERT INTO extra VALUES ('x')")
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*MIGRATIONS, more, ("DROP TABLE extra",), more))
    for _ in range(2):
        assert asyncio.run(read(tmp_path)) == [Row(b"k", b"v", version)]
        assert format_of(tmp_path) == (4, ["extra", "kv", "meta", "records"])


def test_a_migration_that_fails_leaves_the_last_whole_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = asyncio.run(write(tmp_path))
    good, bad = ("CREATE TABLE good (name)",), ("CREATE TABLE half (name)", "DELETE FROM kv", "NONSENSE")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_file, "MIGRATIONS", (*MIGRATIONS, good, bad))
        with pytest.raises(KelpieError):
            asyncio.run(opened(tmp_path))
    assert format_of(tmp_path) == (2, ["good", "kv", "meta", "records"])
    monkeypatch.setattr(sqlite_file, "MIGRATIONS", (*MIGRATIONS, good))
    assert asyncio.run(read(tmp_path)) == [Row(b"k", b"v", version)]
