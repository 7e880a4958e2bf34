"""The move from a real PostgreSQL: the same as from its rows. Needs the server's programs, but not pgvector."""

import asyncio
import gzip
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kelpie.errors import InvalidInput, ServerUnreachable
from kelpie.importing.letta.database import open_database
from kelpie.importing.letta.ground import Ground
from kelpie.importing.letta.plan import move_all
from kelpie.importing.letta.secrets import OldSecrets
from tests.unit.api.knocking import visit
from tests.unit.importing.rows import FIXTURES, RowsFile
from tests.unit.importing.test_letta import KEY, RELEASES, counts, move

PLACES = [
    *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
    Path(shutil.which("postgres") or "/").resolve().parent,
]
FOUND = [place for place in PLACES if (place / "initdb").exists() and (place / "postgres").exists()]
BINS = FOUND[:1]  # none: nothing to test
Run = Callable[[Any], Any]


@pytest.fixture(scope="module", params=BINS, ids=str)
def postgres(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a PostgreSQL of our own, which is run by somebody else than root.

    Its directory is not pytest's own, which only root may enter.
    """
    programs: Path = request.param
    directory = Path(tempfile.mkdtemp(prefix="kelpie-postgres-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = {"user": "nobody"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(directory, "nobody")
    data = directory / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": directory, **user}
    subprocess.run([programs / "initdb", "-D", data, "-U", "old", "-A", "trust", "-E", "UTF8", "--no-sync"], **quiet)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} -c fsync=off"
    subprocess.run([programs / "pg_ctl", "-D", data, "-w", "-l", directory / "log", "-o", options, "start"], **quiet)
    yield port
    subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **quiet)
    shutil.rmtree(directory)


@pytest.fixture(scope="module", params=RELEASES)
def database(request: pytest.FixtureRequest, postgres: int) -> tuple[str, str]:
    """A release, and the address of what a genuine server of it left; vectors are kept as text."""
    release: str = request.param
    name = f"old_{release.replace('.', '_')}"
    sql = gzip.decompress((FIXTURES / f"dump-{release}.sql.gz").read_bytes()).decode()
    sql = re.sub(r"public\.vector\b(\(\d+\))?", "text", sql)
    sql = re.sub(r"^(CREATE|COMMENT ON) EXTENSION .*;$", "", sql, flags=re.MULTILINE)

    async def restore() -> None:
        maker = await asyncpg.connect(f"postgresql://old@127.0.0.1:{postgres}/postgres")
        await maker.execute(f"CREATE DATABASE {name}")
        await maker.close()

    asyncio.run(restore())
    url = f"postgresql://old@127.0.0.1:{postgres}/{name}"
    subprocess.run(
        ["psql", "-q", "-v", "ON_ERROR_STOP=1", url],
        input=sql.encode(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return release, url


def test_the_database_gives_what_its_rows_gave(run: Run, database: tuple[str, str]) -> None:
    """Goal: the wire to PostgreSQL adds and loses nothing. Method: the same move from both, compared as a whole."""
    release, url = database

    async def scenario() -> None:
        async with visit() as one, visit() as other:
            source = await open_database(url)
            ground = Ground(house=one.node.house, source=source, secrets=OldSecrets(KEY), models={})
            report = await move_all(ground, "a fixture", "fixture", dry=False, note=lambda kind: None)
            await source.close()
            expected = await move(other, RowsFile(release))
            assert counts(report) == counts(expected)
            assert report.left_tables == expected.left_tables
            without_secrets = ("tools", "blocks", "conversations", "archives", "passages", "folders", "files", "runs")
            sums = [{name: each.kinds[name].sum for name in without_secrets} for each in (report, expected)]
            assert sums[0] == sums[1]

    run(scenario())


def test_the_database_cannot_be_written_to(run: Run, database: tuple[str, str]) -> None:
    async def scenario() -> None:
        source = await open_database(database[1])
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await source._connection.execute("DELETE FROM agents")
        await source.close()

    run(scenario())


def test_another_database_is_refused(run: Run, postgres: int) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidInput, match="not the database of such a server"):
            await open_database(f"postgresql://old@127.0.0.1:{postgres}/postgres")
        with pytest.raises(InvalidInput, match="does not exist"):
            await open_database(f"postgresql://old@127.0.0.1:{postgres}/nothing")
        with pytest.raises(ServerUnreachable):
            await open_database("postgresql://old@127.0.0.1:1/nothing")

    run(scenario())
