"""The data directory of the SQLite store: who owns it, what is in it, and how old forms become the new one.

    data_dir/lock         held by fcntl for as long as the process lives; holds its pid
    data_dir/kelpie.db    one SQLite database in WAL mode (with -wal and -shm beside it while it is open)

The database's `user_version` is the number of the storage format, which is the count of migrations applied.
Each migration is one transaction together with its number, so a crash leaves a whole format behind.
Operators read the view `records` in `sqlite3`: text keys, JSON values, large records put together.
"""

import errno
import fcntl
import os
import sqlite3
from pathlib import Path

from kelpie.errors import DataCorrupt, KelpieError, StorageFull, StoreDown, StoreOwned, StoreTooNew

DATABASE_NAME = "kelpie.db"
LOCK_NAME = "lock"
APPLICATION_ID = 0x4B454C50  # "KELP", in the file's header
WAL_CHECKPOINT_PAGES = 2_000  # about 8 MB of log before it is folded into the database
CACHE_KIB = 8_000
WAL_KEPT_BYTES = 64_000_000  # a log that grew beyond this is cut when it is next reused

# A plain table with a unique index: rows of 2 kB cost 480 us a commit, and 850 us in a WITHOUT ROWID table.
_FORMAT_1 = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    "CREATE TABLE kv (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, version INTEGER NOT NULL)",
    "CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO meta VALUES ('versions_reserved', 0)",
    """
    CREATE VIEW records AS SELECT
        substr(CAST(key AS TEXT), 1, instr(CAST(key AS TEXT), ' ') - 1) AS space,
        CAST(key AS TEXT) AS key,
        CASE WHEN substr(value, 1, 1) = x'23' THEN (
            SELECT group_concat(CAST(piece AS TEXT), '') FROM (
                SELECT chunk.value AS piece FROM kv AS chunk
                WHERE chunk.key > CAST('chunk ' || CAST(kv.key AS TEXT) || ' ' AS BLOB)
                AND chunk.key < CAST('chunk ' || CAST(kv.key AS TEXT) || '!' AS BLOB)
                ORDER BY chunk.key
            )
        ) ELSE CAST(value AS TEXT) END AS value,
        version
    FROM kv WHERE substr(key, 1, 6) <> CAST('chunk ' AS BLOB)
    """,
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (_FORMAT_1,)


def lock_directory(data_dir: Path) -> int:
    """Make `data_dir` (0700) if it is missing and own it; the descriptor to close when done with it.

    StoreOwned when another process (or another store of this one) owns it.
    """
    try:
        lock = _open_lock(data_dir.absolute())
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreDown
        raise kind(f"the data directory {data_dir} cannot be used: {error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        sentence = f"the data directory {data_dir} is in use by the process with pid {owner}"
        raise StoreOwned(sentence, pid=owner, directory=str(data_dir)) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    return lock


def connect(path: Path, *, wait_ms: int) -> sqlite3.Connection:
    """A connection that waits at most `wait_ms` for another program's lock.

    It may be handed from thread to thread, but only one may use it at a time.
    """
    assert wait_ms >= 0
    assert sqlite3.threadsafety >= 1, "SQLite was built for more than one thread"
    try:
        return sqlite3.connect(path, timeout=wait_ms / 1_000, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise read_error(error) from error


def prepare_database(db: sqlite3.Connection) -> int:
    """Bring the database to the newest format; the highest version that it may hold.

    Raises StoreTooNew, DataCorrupt, or as `read_error` says.
    """
    try:
        _prepare_database(db)
        reserved = db.execute("SELECT value FROM meta WHERE name = 'versions_reserved'").fetchone()
    except sqlite3.Error as error:
        raise read_error(error) from error
    if reserved is None:
        raise DataCorrupt("the database does not say which versions are reserved")
    return reserved[0]


def read_error(error: sqlite3.Error | MemoryError) -> KelpieError:
    """What an error of SQLite means to a caller whose request was surely not applied."""
    code = error_code(error)
    sentence = f"the database answered: {error or error_code(error)}"
    match code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StorageFull(f"the disk is full: {error}")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DataCorrupt(sentence)
        case _:
            return DataCorrupt(sentence) if code == sqlite3.SQLITE_IOERR_CORRUPTFS else StoreDown(sentence)


def error_code(error: sqlite3.Error | MemoryError) -> int:
    """SQLite's extended code; SQLITE_ERROR for errors of the Python module, which have none."""
    if isinstance(error, MemoryError):
        return sqlite3.SQLITE_NOMEM
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)


def _open_lock(data_dir: Path) -> int:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(data_dir / DATABASE_NAME, os.O_RDWR | os.O_CREAT, 0o600))
    lock = os.open(data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    directory = os.open(data_dir.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return lock


def _read_format(db: sqlite3.Connection) -> int:
    """The number of the storage format, 0 for an empty file; refuses what is not ours or is too new."""
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (found or tables) and application_id != APPLICATION_ID:
        raise DataCorrupt("the database was not written by Kelpie")
    if found > len(MIGRATIONS):
        raise StoreTooNew(
            f"the data is of storage format {found}, and this Kelpie knows formats up to {len(MIGRATIONS)}",
            format=found,
            known=len(MIGRATIONS),
        )
    assert found >= 0
    return found


def _prepare_database(db: sqlite3.Connection) -> None:
    found = _read_format(db)
    if db.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
        raise StoreDown("the file system under the data directory does not support a write-ahead log")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
    db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")  # per connection; the system caches the rest
    for number, statements in enumerate(MIGRATIONS[found:], start=found + 1):
        _migrate(db, number, statements)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def _migrate(db: sqlite3.Connection, number: int, statements: tuple[str, ...]) -> None:
    assert not db.in_transaction
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
