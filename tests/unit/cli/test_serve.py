"""Before the first request: flags, the socket, the banner; and how each error ends the process."""

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from kelpie import errors
from kelpie.cli.banner import banner, model_lines
from kelpie.cli.exits import status_of
from kelpie.cli.main import run
from kelpie.cli.serve import bind, flag_parser, read_flags, served_settings
from kelpie.config import read_config
from kelpie.errors import DataCorrupt, InvalidInput, KelpieError, PortTaken
from kelpie.node import Node
from kelpie.storage.sqlite_file import APPLICATION_ID, DATABASE_NAME, MIGRATIONS, lock_directory


def test_flags_are_read_by_setting() -> None:
    """Only what was given; a switch is on by being there."""
    given = ["--port", "9000", "--data-dir=/a", "--access-log"]
    assert read_flags(given) == {"port": "9000", "data_dir": "/a", "access_log": "1"}
    assert read_flags([]) == {}


def test_help_names_every_setting_of_a_server() -> None:
    """Each flag with its variable and its default."""
    text = " ".join(flag_parser().format_help().split())
    for setting in served_settings():
        assert f"({setting.variable}; default {setting.default or 'none'})" in text


@pytest.mark.parametrize("given", [["--prot", "1"], ["--po", "1"], ["--port"], ["stray"]])
def test_a_flag_that_is_none_is_refused(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Misspelled, abbreviated, without its value, or no flag at all."""
    with pytest.raises(SystemExit) as caught:
        read_flags(given)
    assert caught.value.code == 2 and "usage: kelpie serve" in capsys.readouterr().err


def test_a_free_port_can_be_asked_for() -> None:
    """Port 0 is one that nobody has; the socket listens, so nobody can take it any more."""
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        with pytest.raises(PortTaken) as caught, bind("127.0.0.1", port):
            raise AssertionError("two sockets listen on one port")
    assert caught.value.fields == {"port": port} and "--port" in caught.value.sentence


@pytest.mark.parametrize("host", ["no-such-host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    """An unknown name, and an address of another machine."""
    with pytest.raises(InvalidInput) as caught, bind(host, 0):
        raise AssertionError("listens on an address of nobody")
    assert caught.value.fields["field"] == "KELPIE_HOST" and host in caught.value.sentence


def test_the_banner_says_where_what_and_what_next() -> None:
    """The port that was really taken, the data, the models, and the first steps."""
    config = read_config({"KELPIE_PORT": "0", "KELPIE_DATA_DIR": "/data/x", "OPENAI_API_KEY": "sk-x"}, {})
    text = banner(config, 4711)
    expected = (
        "http://127.0.0.1:4711\n",
        "/data/x",
        "openai/...",
        "chat",
        "curl http://127.0.0.1:4711/v1/agents/",
        "/docs",
    )
    assert all(word in text for word in expected) and "sk-x" not in text


def test_the_banner_says_how_to_get_a_model() -> None:
    """With no provider the offline model is named for what it is."""
    lines = " ".join(model_lines(read_config({}, {})))
    assert all(word in lines for word in ("offline", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL"))


def every_leaf(kind: type[KelpieError] = KelpieError) -> list[type[KelpieError]]:
    """Every class of errors.py below `kind`."""
    found = [kind] if kind.__module__ == errors.__name__ else []
    return found + [leaf for below in kind.__subclasses__() for leaf in every_leaf(below)]


def test_each_way_to_stop_has_a_status_of_its_own() -> None:
    """Broken errors are told apart by number, and none of them looks like success or a usage error."""
    statuses = {leaf.code: status_of(leaf("x")) for leaf in every_leaf(errors.Broken)}
    assert len(set(statuses.values())) == len(statuses)
    assert all(70 <= status < 80 for status in statuses.values())
    assert {status_of(errors.StoreDown("x")), status_of(errors.ServerUnreachable("x"))} == {69}
    assert (status_of(InvalidInput("x")), status_of(errors.NotFound("x"))) == (2, 1)


@pytest.mark.parametrize(
    ("flags", "status", "sentence"),
    [
        (["--port", "http"], 2, "kelpie: --port must be a whole number from 0 to 65535, not 'http'\n"),
        (["--host", "192.0.2.1", "--allow-remote"], 2, "kelpie: cannot listen on 192.0.2.1 port 8283: "),
        (["--port", "{taken}"], 74, "kelpie: port {taken} of 127.0.0.1 is taken by another program"),
        (["--port", "0", "--data-dir", "{file}"], 69, "kelpie: the data directory {file} cannot be used: "),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    flags: list[str], status: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, and the exit status of its kind."""
    file = tmp_path / "file"
    file.write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"taken": str(taken.getsockname()[1]), "file": str(file)}
        assert run(["serve", *(flag.format_map(names) for flag in flags)]) == status
    said = capsys.readouterr().err
    assert said.startswith(sentence.format_map(names)) and said.count("\n") == 1


@pytest.mark.parametrize(
    ("pragmas", "status", "sentence"),
    [
        ("CREATE TABLE strangers (name TEXT)", 71, "kelpie: the database was not written by Kelpie\n"),
        (
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 999",
            72,
            f"kelpie: the data is of storage format 999, and this Kelpie knows formats up to {len(MIGRATIONS)}\n",
        ),
    ],
)
def test_data_that_is_not_ours_stops_the_server(
    pragmas: str, status: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody else's database, and one of a newer Kelpie: said in one sentence each, and left as it is."""
    path = tmp_path / DATABASE_NAME
    with closing(sqlite3.connect(path)) as db:
        db.executescript(pragmas)
    before = path.read_bytes()
    assert run(["serve", "--port", "0", "--data-dir", str(tmp_path)]) == status
    assert (capsys.readouterr().err, path.read_bytes()) == (sentence, before)


def test_a_data_directory_in_use_stops_the_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The owner is named."""
    lock = lock_directory(tmp_path)
    try:
        assert run(["serve", "--port", "0", "--data-dir", str(tmp_path)]) == 73
    finally:
        os.close(lock)
    sentence = f"kelpie: the data directory {tmp_path} is in use by the process with pid {os.getpid()}\n"
    assert capsys.readouterr().err == sentence


def test_a_node_that_breaks_ends_the_server(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stored bytes that contradict each other, found while serving: one sentence, and the status of its kind."""

    async def break_down(self: Node, started: asyncio.Event) -> None:
        started.set()
        await asyncio.sleep(0.05)
        raise DataCorrupt("record 'x' lacks chunks")

    monkeypatch.setattr(Node, "run", break_down)
    assert run(["serve", "--port", "0", "--data-dir", str(tmp_path)]) == 71
    said = capsys.readouterr()
    assert said.out.startswith("Kelpie ") and said.err == "kelpie: record 'x' lacks chunks\n"


def test_serving_does_without_what_people_need() -> None:
    """The serve path must start fast: neither typer nor rich is imported on it."""
    code = "import sys, kelpie.cli.main, kelpie.cli.serve; print([m for m in ('typer', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
