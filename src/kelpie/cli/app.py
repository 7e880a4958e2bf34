"""The commands for people, and what `kelpie --help` says of all commands."""

import os
import platform
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kelpie import __version__
from kelpie.cli.chat import chat as hold_chat
from kelpie.cli.client import Client
from kelpie.cli.doctor import diagnose
from kelpie.cli.exits import OK
from kelpie.cli.rooms import enter
from kelpie.cli.runs import show_run, show_runs
from kelpie.cli.speech import plain
from kelpie.config import read_config
from kelpie.limits import PAGE_ROWS_MAX

ELSEWHERE = {"ignore_unknown_options": True, "allow_extra_args": True}
Url = Annotated[str | None, typer.Option("--url", help="The server to talk to (KELPIE_URL).", show_default=False)]

app = typer.Typer(
    name="kelpie",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str]) -> int:
    """Run a command; its exit status. Typer's own errors exit by themselves."""
    app(args=list(arguments), prog_name="kelpie")
    return OK


def print_version(wanted: bool) -> None:
    """One line, if it is wanted; then nothing else is done."""
    if wanted:
        print(f"kelpie {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
        raise typer.Exit()


@app.callback()
def before_all(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    """Stateful AI agents that survive their server."""


@app.command(context_settings=ELSEWHERE, add_help_option=False)
def serve(context: typer.Context) -> None:
    """Serve agents over HTTP; it has its own --help."""
    raise typer.Exit(enter("serve", context.args))


@app.command()
def chat(
    agent: Annotated[
        str | None, typer.Argument(help="Name or id; the one used last if none is given. With --new: its name.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Make a new agent.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", metavar="HANDLE", help="With --new: its model, e.g. openai/gpt-5-mini.")
    ] = None,
    block: Annotated[
        list[str] | None,
        typer.Option("--block", metavar="LABEL=VALUE", help="With --new: a memory block; may be repeated."),
    ] = None,
    message: Annotated[
        str | None,
        typer.Option("--message", "-m", metavar="TEXT", help="Say this and leave, instead of a conversation."),
    ] = None,
    url: Url = None,
) -> None:
    """Talk to an agent; what it thinks and does is shown. In a pipe, each line is a message."""
    with closing(connect(url)) as client:
        raise typer.Exit(hold_chat(client, agent, new=new, model=model, blocks=block or [], message=message))


@app.command()
def agents(
    json: Annotated[bool, typer.Option("--json", help="As JSON, as the server gives it.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=PAGE_ROWS_MAX, help="At most this many.")] = 50,
    url: Url = None,
) -> None:
    """List agents, newest first."""
    with closing(connect(url)) as client:
        if json:
            print(client.list_agents_raw(limit=limit).decode())
            return
        found = client.list_agents(limit=limit)
    if not found:
        print("There is no agent yet; `kelpie chat --new NAME` makes one.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("NAME", "ID", "MODEL", "LAST USED", "BLOCKS", "TOOLS"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("ID", "LAST USED"))
    for each in found:
        counts = (str(len(each.blocks)), str(len(each.tools)))
        table.add_row(plain(each.name), each.id, each.model or "", each.last_used.replace("T", " "), *counts)
    Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False).print(table)


@app.command()
def runs(
    which: Annotated[
        str | None, typer.Argument(help="An agent's name or id: its runs. A run's id: all that happened in it.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=PAGE_ROWS_MAX, help="At most this many.")] = 20,
    url: Url = None,
) -> None:
    """See what agents did: runs, and in each the steps, tool calls, tokens and times."""
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    with closing(connect(url)) as client:
        if which is not None and which.startswith("run-"):
            show_run(client, which, console)
        else:
            show_runs(client, which, limit, console)


@app.command()
def doctor(url: Url = None) -> None:
    """Say what is configured, reachable and missing."""
    raise typer.Exit(diagnose(os.environ, {} if url is None else {"url": url}))


@app.command(context_settings=ELSEWHERE, add_help_option=False)
def sim(context: typer.Context) -> None:
    """Run simulated nodes through faults; it has its own --help."""
    raise typer.Exit(enter("sim", context.args))


@app.command("import", context_settings=ELSEWHERE, add_help_option=False)
def import_(context: typer.Context) -> None:
    """Move in from another server; it has its own --help."""
    raise typer.Exit(enter("import", context.args))


@app.command()
def version() -> None:
    """Print the version."""
    print_version(True)


def connect(url: str | None) -> Client:
    """A client of the server that flag, variable or default name."""
    return Client(read_config(os.environ, {} if url is None else {"url": url}).url)
