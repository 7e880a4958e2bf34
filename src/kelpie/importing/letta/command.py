"""`kelpie import letta`: move in from a retired server, or from its agent files."""

import argparse
import asyncio
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from kelpie.cli.exits import OK, PROBLEM
from kelpie.config import Config, read_config
from kelpie.errors import InvalidInput
from kelpie.importing.letta.database import Database, open_database
from kelpie.importing.letta.files import move_file
from kelpie.importing.letta.ground import Ground
from kelpie.importing.letta.plan import kinds_of, move_all
from kelpie.importing.letta.secrets import OldSecrets
from kelpie.importing.letta.server import NOT_TOLD, Server, open_server
from kelpie.importing.report import Report, lines_of
from kelpie.node import open_real

_PASSWORD = re.compile(r"(//[^:/@]*):[^@/]*@")


def main(arguments: Sequence[str]) -> int:
    """Move; 0 if the store has what was carried. Raises InvalidInput, StoreOwned, ServerUnreachable."""
    given = parser().parse_args(arguments)
    flags = {} if given.data_dir is None else {"data_dir": given.data_dir}
    config = read_config(os.environ, flags)
    report = asyncio.run(_move(config, given))
    print("\n".join(lines_of(report)))
    return OK if report.sound else PROBLEM


def parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(
        prog="kelpie import",
        description="Move in from another server. It is only read; stop it first, so that nothing is missed. What was "
        "moved before is not moved again, so a move that was interrupted goes on when it is started anew.",
        allow_abbrev=False,
    )
    parser.add_argument("what", choices=["letta"], help="whose data: a Letta V1 server's, 0.11 to 0.16")
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        metavar="PLACE",
        help="postgresql://user:password@host:port/database, http://host:8283 of a server that runs, or a file.af",
    )
    parser.add_argument("--api-key", metavar="KEY", help="the password of a server that wants one")
    parser.add_argument(
        "--encryption-key",
        default=os.environ.get("LETTA_ENCRYPTION_KEY"),
        metavar="KEY",
        help="the old server's LETTA_ENCRYPTION_KEY (read from there if it is not given)",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where to move to (KELPIE_DATA_DIR); nobody may serve it")
    parser.add_argument(
        "--model", action="append", default=[], metavar="OLD=NEW", help="call a model otherwise; may be repeated"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and understand everything, write nothing")
    return parser


async def _move(config: Config, given: argparse.Namespace) -> Report:
    models = dict(_pair(each) for each in given.model)
    if not given.source.startswith(("postgres", "http://", "https://")):
        async with open_real(config) as node:
            return await move_file(node.house, Path(given.source), dry=given.dry_run)
    source = await open_source(given.source, given.api_key)
    try:
        async with open_real(config) as node:
            ground = Ground(house=node.house, source=source, secrets=OldSecrets(given.encryption_key), models=models)
            counts = await source.tables()
            with _bar() as bar:
                tasks = {
                    kind.name: bar.add_task(kind.name, total=counts.get(kind.table, 0))
                    for kind in kinds_of(ground, dry=given.dry_run)
                }
                name = _PASSWORD.sub(r"\1@", given.source)
                source_id = hashlib.sha256(name.encode()).hexdigest()[:16]
                report = await move_all(
                    ground, name, source_id, dry=given.dry_run, note=lambda kind: bar.advance(tasks[kind])
                )
            notes = (NOT_TOLD,) if isinstance(source, Server) else ()
            return msgspec.structs.replace(report, notes=notes)
    finally:
        await source.close()


async def open_source(place: str, api_key: str | None) -> Database | Server:
    """The database or the server at that place. Raises InvalidInput, ServerUnreachable."""
    if place.startswith("postgres"):
        return await open_database(place)
    return await open_server(place.rstrip("/"), api_key)


def _bar() -> Progress:
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(file=sys.stderr), disable=not sys.stderr.isatty())


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not old or not equals or not new:
        raise InvalidInput(f"--model {text}: OLD=NEW is wanted", field="--model")
    return old, new
