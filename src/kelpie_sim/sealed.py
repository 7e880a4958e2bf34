"""What a simulated program may not touch: threads, sockets, processes, signals. Each attempt is an error."""

import asyncio
from typing import Any


class SimulationEscape(RuntimeError):
    """Simulated code tried to reach the real world past the seams."""


def _refused(name: str) -> Any:
    def refuse(self: object, *arguments: object, **options: object) -> Any:
        raise SimulationEscape(f"loop.{name} reaches past the simulation; go through a seam")

    refuse.__name__ = name
    return refuse


class SealedLoop(asyncio.BaseEventLoop):
    """An event loop without I/O: every verb that would leave the process raises SimulationEscape."""

    run_in_executor: Any = _refused("run_in_executor")
    set_default_executor: Any = _refused("set_default_executor")
    getaddrinfo: Any = _refused("getaddrinfo")
    getnameinfo: Any = _refused("getnameinfo")
    create_connection: Any = _refused("create_connection")
    create_server: Any = _refused("create_server")
    create_unix_connection: Any = _refused("create_unix_connection")
    create_unix_server: Any = _refused("create_unix_server")
    create_datagram_endpoint: Any = _refused("create_datagram_endpoint")
    connect_accepted_socket: Any = _refused("connect_accepted_socket")
    connect_read_pipe: Any = _refused("connect_read_pipe")
    connect_write_pipe: Any = _refused("connect_write_pipe")
    start_tls: Any = _refused("start_tls")
    sendfile: Any = _refused("sendfile")
    subprocess_exec: Any = _refused("subprocess_exec")
    subprocess_shell: Any = _refused("subprocess_shell")
    add_reader: Any = _refused("add_reader")
    remove_reader: Any = _refused("remove_reader")
    add_writer: Any = _refused("add_writer")
    remove_writer: Any = _refused("remove_writer")
    sock_recv: Any = _refused("sock_recv")
    sock_recv_into: Any = _refused("sock_recv_into")
    sock_recvfrom: Any = _refused("sock_recvfrom")
    sock_recvfrom_into: Any = _refused("sock_recvfrom_into")
    sock_sendall: Any = _refused("sock_sendall")
    sock_sendto: Any = _refused("sock_sendto")
    sock_sendfile: Any = _refused("sock_sendfile")
    sock_connect: Any = _refused("sock_connect")
    sock_accept: Any = _refused("sock_accept")
    add_signal_handler: Any = _refused("add_signal_handler")
    remove_signal_handler: Any = _refused("remove_signal_handler")
    set_task_factory: Any = _refused("set_task_factory")
