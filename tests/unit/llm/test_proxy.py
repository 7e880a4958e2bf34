"""Goal: with a proxy configured, every call goes through it and nothing is asked directly. Method: a real one."""

import asyncio

import pytest

from kelpie.llm.messages import Delta, TextPart
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.providers import ConfiguredModels
from kelpie.llm.transport import open_transport
from kelpie.system import system_world
from kelpie_sim.model_server import ModelServer

from .build import API_KEY, QUICK, info, joined, request, told

PROVIDER = "http://provider.invalid"  # resolves nowhere: only the proxy can reach it


class ForwardProxy:
    """Forwards requests for PROVIDER to a local port, and remembers what it was asked for."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with one request on it."""
        method, target, version = (await reader.readline()).decode().split()
        self.asked.append(f"{method} {target}")
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        there_writer.write(f"{method} {target.removeprefix(PROVIDER)} {version}\r\n".encode())
        async with asyncio.TaskGroup() as group:
            group.create_task(pass_on(reader, there_writer))
            group.create_task(pass_on(there_reader, writer))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes from one side to the other until that side ends."""
    while chunk := await reader.read(65_536):
        writer.write(chunk)
    writer.close()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_call_goes_through_the_proxy_that_is_configured(run, streamed: bool) -> None:
    async def main() -> None:
        script = await ModelServer().open("127.0.0.1", 0)
        proxy = ForwardProxy(script.sockets[0].getsockname()[1])
        listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        transport = open_transport(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        settings = ProviderSettings(name="acme", kind="openai", base_url=f"{PROVIDER}/v1", api_key=API_KEY)
        models = ConfiguredModels(system_world(), transport, [settings], bounds=QUICK)
        async with script, listener:
            deltas: list[Delta] = []
            asked = request("Reply with the message 'through'", model="scripted")
            reply = await models.ask(info("scripted"), asked, deltas.append if streamed else None)
            await models.close()
        assert reply.parts == (TextPart(text="through"),)
        assert joined(deltas) == (told(reply) if streamed else [])
        assert proxy.asked == [f"POST {PROVIDER}/v1/chat/completions"]

    run(main())
