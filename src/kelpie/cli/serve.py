"""`kelpie serve`: one process that listens, serves and ends well.

The first SIGTERM or SIGINT drains: new turns are refused with Retry-After while running ones finish, for at most
the configured time; what is left is resumed by the next start. The second one ends the process at once, which
loses nothing that was acknowledged, because nothing is acknowledged before it is on disk.
"""

import argparse
import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
import uvloop

from kelpie import __version__
from kelpie.api.host_guard import HostGuard, names_allowed
from kelpie.cli.banner import banner
from kelpie.cli.exits import OK
from kelpie.config import SETTINGS, Config, Setting, is_loopback, read_config
from kelpie.errors import InvalidInput, KelpieError, PortTaken
from kelpie.limits import (
    SERVER_CLOSE_SECONDS_MAX,
    SERVER_CONNECTIONS_WAITING_MAX,
    SERVER_KEEP_ALIVE_SECONDS,
    SERVER_SWITCH_INTERVAL_MS,
)
from kelpie.node import Node, open_real

log = logging.getLogger("kelpie.serve")


def main(arguments: Sequence[str]) -> int:
    """Serve until stopped; the exit status. Raises InvalidInput, PortTaken, StoreOwned, StoreTooNew, ..."""
    config = read_config(os.environ, read_flags(arguments))
    configure_logging(config)
    for warning in config.warnings:
        log.warning("%s", warning)
    sys.setswitchinterval(SERVER_SWITCH_INTERVAL_MS / 1_000)
    with bind(config.host, config.port) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, listener))
    return OK


def read_flags(arguments: Sequence[str]) -> dict[str, str]:
    """The given flags by setting name; `--help` prints and exits, as does a flag that does not exist."""
    given = vars(flag_parser().parse_args(arguments))
    return {name: value for name, value in given.items() if value is not None}


def flag_parser() -> argparse.ArgumentParser:
    """One flag for each setting of a server."""
    parser = argparse.ArgumentParser(
        prog="kelpie serve",
        description="Serve agents over HTTP. Each flag has a variable that does the same; the flag wins.",
        epilog="Model providers are set by OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL.",
        allow_abbrev=False,
    )
    for setting in served_settings():
        assert setting.flag is not None
        text = f"{setting.meaning} ({setting.variable}; default {setting.default or 'none'})"
        if setting.kind == "switch":
            parser.add_argument(setting.flag, dest=setting.name, action="store_const", const="1", help=text)
        else:
            parser.add_argument(setting.flag, dest=setting.name, metavar=metavar(setting), help=text)
    return parser


def served_settings() -> list[Setting]:
    """The settings of a server that have a flag; `url` is for the commands that talk to one."""
    return [setting for setting in SETTINGS if setting.flag is not None and setting.name != "url"]


def metavar(setting: Setting) -> str:
    """What stands for the value in `--help`."""
    return "|".join(setting.choices) or {"integer": "N"}.get(setting.kind, "TEXT")


def configure_logging(config: Config) -> None:
    """Our messages from the configured level up, the HTTP server's only if they matter; all to standard error."""
    logging.basicConfig(
        level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    quiet = logging.DEBUG if config.log_level == "debug" else logging.WARNING
    for name in ("uvicorn", "uvicorn.error", "asyncio", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(quiet)
    logging.getLogger("uvicorn.access").setLevel(logging.INFO)


@contextmanager
def bind(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket. Raises PortTaken, or InvalidInput for an address that this machine does not have."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _take(listener, address, host, port)
            yield listener
    except socket.gaierror as error:
        raise InvalidInput(f"KELPIE_HOST={host} is no address: {error.strerror}", field="KELPIE_HOST") from None


def _take(listener: socket.socket, address: tuple[Any, ...], host: str, port: int) -> None:
    try:
        listener.bind(address)
        listener.listen(SERVER_CONNECTIONS_WAITING_MAX)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {port} of {host} is taken by another program (`kelpie doctor` says whether it is a Kelpie); "
                "choose another one with --port or KELPIE_PORT",
                port=port,
            ) from None
        raise InvalidInput(
            f"cannot listen on {host} port {port}: {error.strerror}",
            field="KELPIE_PORT" if error.errno == errno.EACCES else "KELPIE_HOST",
        ) from None


async def serve(config: Config, listener: socket.socket) -> None:
    """Open the node, serve it on `listener`, drain it, close it. Raises what ends the node."""
    async with open_real(config) as node:
        server = Server(node, config, listener)
        ended: BaseException | None = None  # raised outside of except*, where Python 3.11.2 wraps it into a group
        try:
            async with asyncio.TaskGroup() as group:
                started = asyncio.Event()
                living = group.create_task(node.run(started), name="node")
                group.create_task(_serve_when_started(server, started, living), name="http")
        except* KelpieError as group:
            ended = first_leaf(group)
        if ended is not None:
            raise ended


def first_leaf(group: BaseExceptionGroup) -> BaseException:
    """The first error of a group that is none itself."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


async def _serve_when_started(server: "Server", started: asyncio.Event, living: "asyncio.Task[None]") -> None:
    """The HTTP side of the node's life: after its start, and its end ends the node's."""
    await started.wait()
    await server.serve(sockets=[server.listener])
    living.cancel()


class Server(uvicorn.Server):
    """uvicorn with our own way to start and to end."""

    def __init__(self, node: Node, config: Config, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                HostGuard(node.app, names_allowed(config.allowed_hosts, loopback=is_loopback(config.host))),
                loop="none",
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=config.access_log,
                proxy_headers=False,
                server_header=False,
                headers=[("server", f"kelpie/{__version__}")],
                backlog=SERVER_CONNECTIONS_WAITING_MAX,
                timeout_keep_alive=SERVER_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=SERVER_CLOSE_SECONDS_MAX,
            )
        )
        self.listener = listener
        self._node = node
        self._settings = config
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        port = self.listener.getsockname()[1]
        print(banner(self._settings, port), flush=True)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT are ours while the server runs."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, number)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def stop(self, number: int) -> None:
        """The first time: drain, then end. The second time: end at once."""
        if self._draining is not None:
            print("kelpie: stopped at once", file=sys.stderr, flush=True)
            os._exit(128 + number)
        self._draining = asyncio.get_running_loop().create_task(self._drain(), name="drain")

    async def _drain(self) -> None:
        print("kelpie: stopping; running turns finish, new ones are refused (again: stop at once)", file=sys.stderr)
        if not await self._node.drain(self._settings.drain_ms):
            log.warning("turns were still running after %d ms; the next start resumes them", self._settings.drain_ms)
        self.should_exit = True
