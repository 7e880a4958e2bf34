"""`kelpie doctor`: what is configured, what is reachable, what is missing and how to get it.

Every check answers with a finding and changes nothing. Problems make the exit status 1; notes do not.
"""

import errno
import fcntl
import os
import platform
import shutil
import socket
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx2
import msgspec
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from kelpie import __version__
from kelpie.cli.client import Client
from kelpie.cli.exits import OK, PROBLEM
from kelpie.config import SETTINGS, Config, read_config
from kelpie.errors import InvalidInput, KelpieError
from kelpie.llm.provider import ProviderSettings
from kelpie.storage.sqlite_file import DATABASE_NAME, LOCK_NAME

PROBE_SECONDS = 2.0
FREE_BYTES_MIN = 200_000_000
ANTHROPIC_VERSION = "2023-06-01"
SUBJECT_CHARS = 10
INDENT = 16  # mark, subject, and the spaces between
LINE_CHARS_MAX = 1_000  # where there is no terminal to wrap for

Mark = Literal["ok", "note", "problem"]
MARKS: Mapping[Mark, tuple[str, str]] = {"ok": ("ok", "green"), "note": ("--", "yellow"), "problem": ("!!", "bold red")}


class Finding(Struct, frozen=True):
    """One thing that was looked at: what was seen, and what to do about it."""

    mark: Mark
    subject: str
    seen: str
    remedy: str = ""


def diagnose(environ: Mapping[str, str], flags: Mapping[str, str]) -> int:
    """Look at everything, print it, and return the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    width = console.width if console.is_terminal else LINE_CHARS_MAX
    status = OK
    for finding in findings(environ, flags):
        mark, style = MARKS[finding.mark]
        first, *further = hang(finding, width)
        console.print(Text.assemble((mark, style), "  ", (finding.subject.ljust(SUBJECT_CHARS), "bold"), "  ", first))
        for line in further:
            console.print(Text(" " * INDENT + line))
        if finding.mark == "problem":
            status = PROBLEM
    return status


def hang(finding: Finding, width: int) -> list[str]:
    """The lines beside the subject: what was seen, then the remedy on a line of its own."""
    room = max(width - INDENT, INDENT)
    texts = [text for text in (finding.seen, finding.remedy) if text]
    return [
        line for text in texts for line in textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)
    ]


def findings(environ: Mapping[str, str], flags: Mapping[str, str]) -> Iterator[Finding]:
    """Everything there is to see, from the ground up."""
    yield Finding("ok", "kelpie", f"{__version__} on Python {platform.python_version()}, {sys.executable}")
    try:
        config = read_config(environ, flags)
    except InvalidInput as error:
        yield Finding("problem", "settings", error.sentence)
        return
    yield from look_at_settings(config, environ)
    yield look_at_data(Path(config.data_dir).expanduser().absolute())
    yield look_at_server(config)
    yield from look_at_providers(config, httpx2.Client(timeout=PROBE_SECONDS, trust_env=False))


def look_at_settings(config: Config, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What was set, secrets left out; and variables that nothing reads."""
    given = [
        f"{setting.variable}={'(set)' if setting.secret else environ[setting.variable]}"
        for setting in SETTINGS
        if environ.get(setting.variable)
    ]
    yield Finding("ok", "settings", ", ".join(given) or "all defaults; docs/reference/settings.md lists them")
    for warning in config.warnings:
        yield Finding("problem", "settings", warning)


def look_at_data(data_dir: Path) -> Finding:
    """Whether the data directory can be used, and who uses it."""
    if not data_dir.exists():
        parent = next(path for path in data_dir.parents if path.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return Finding("ok", "data", f"{data_dir} does not exist yet; the server makes it")
        return Finding(
            "problem", "data", f"{data_dir} cannot be made", f"allow writing to {parent}, or set KELPIE_DATA_DIR"
        )
    if not data_dir.is_dir() or not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        return Finding("problem", "data", f"{data_dir} is not a directory that can be written", "set KELPIE_DATA_DIR")
    free = shutil.disk_usage(data_dir).free
    if free < FREE_BYTES_MIN:
        return Finding("problem", "data", f"{data_dir} has only {free // 1_000_000} MB left", "make room")
    database = data_dir / DATABASE_NAME
    held = f"{database.stat().st_size / 1e6:.1f} MB of data" if database.exists() else "no data yet"
    owner = owner_of(data_dir)
    used = f"in use by the server with pid {owner}" if owner else "not in use"
    return Finding("ok", "data", f"{data_dir}: {held}, {used}, {free / 1e9:.0f} GB free")


def owner_of(data_dir: Path) -> str:
    """The pid of the process that owns the data directory, or an empty text."""
    try:
        lock = os.open(data_dir / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return os.read(lock, 20).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(lock)
    return ""


def look_at_server(config: Config, *, seconds: float = PROBE_SECONDS) -> Finding:
    """Whether a server answers, and if not, whether one could be started there."""
    client = Client(config.url, answer_seconds=seconds)
    try:
        client.health()
        return Finding("ok", "server", f"a Kelpie server answers at {config.url}, models: {len(client.list_models())}")
    except KelpieError as error:
        where = urlsplit(config.url)
        if where.hostname not in ("127.0.0.1", "::1", "localhost"):
            return Finding("problem", "server", error.sentence)
        if is_free(where.hostname, where.port or 80):
            return Finding("note", "server", f"nothing listens at {config.url}", "`kelpie serve` starts a server there")
        seen = f"port {where.port} is taken by something that is not a healthy Kelpie server"
        return Finding("problem", "server", seen, "stop it, or choose another port with KELPIE_PORT")
    finally:
        client.close()


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def look_at_providers(config: Config, http: httpx2.Client) -> Iterator[Finding]:
    """Whether each configured provider answers, with its key; and what else could be configured."""
    looks: Mapping[str, Callable[[ProviderSettings], httpx2.Request]] = {
        "openai": lambda each: http.build_request(
            "GET",
            f"{each.base_url}/models",
            headers={"authorization": f"Bearer {each.api_key}"} if each.api_key else {},
        ),
        "anthropic": lambda each: http.build_request(
            "GET",
            f"{each.base_url}/v1/models",
            headers={"x-api-key": each.api_key, "anthropic-version": ANTHROPIC_VERSION},
        ),
    }
    with http:
        for each in config.providers:
            yield ask_provider(each, http, looks[each.kind](each))
    if not config.providers:
        yield Finding(
            "note",
            "models",
            "no provider is configured, so only kelpie/rehearsed answers, which is offline and does not think",
            "set OPENAI_API_KEY or ANTHROPIC_API_KEY; for your own server OPENAI_BASE_URL, e.g. "
            "http://127.0.0.1:11434/v1 for Ollama",
        )


def ask_provider(each: ProviderSettings, http: httpx2.Client, request: httpx2.Request) -> Finding:
    """One request for the list of models."""
    variable = each.kind.upper()
    try:
        response = http.send(request)
    except httpx2.TransportError as error:
        seen = f"{each.base_url} does not answer ({error or type(error).__name__})"
        return Finding("problem", each.name, seen, f"start it, or correct {variable}_BASE_URL")
    match response.status_code:
        case 200:
            return Finding("ok", each.name, f"{each.base_url} answers, {count_models(response.content)}")
        case 401 | 403:
            seen = f"{each.base_url} refuses the key (status {response.status_code})"
            return Finding("problem", each.name, seen, f"set {variable}_API_KEY to a valid key")
        case 404:
            seen = f"{each.base_url} answers, but lists no models (status 404)"
            ends = "end in /v1" if each.kind == "openai" else "not end in /v1"
            return Finding("note", each.name, seen, f"{variable}_BASE_URL should probably {ends}")
        case status:
            return Finding("problem", each.name, f"{each.base_url} answers with status {status}")


class _Models(Struct):
    data: list[msgspec.Raw]


def count_models(body: bytes) -> str:
    """How many models a list names."""
    try:
        return f"{len(msgspec.json.decode(body, type=_Models).data)} models listed"
    except msgspec.MsgspecError:
        return "but its list of models is not understood"
