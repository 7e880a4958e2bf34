"""CPU of one model call and of one streamed event, against the scripted server in another process.

Run `python benches/bench_llm.py [--calls 1000] [--words 2000]`. Prints a table; figures are CPU of this
process only (the server's are not counted), per call or per event. Ratios are what counts.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from kelpie.ids import StepId
from kelpie.llm.messages import Delta, ModelMessage, ModelRequest, TextPart
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.providers import ConfiguredModels
from kelpie.llm.transport import open_transport
from kelpie.system import system_world

_AT_ONCE = 100


def main() -> None:
    """Start the server, measure, stop it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=1_000)
    parser.add_argument("--words", type=int, default=2_000)
    options = parser.parse_args()
    command = [sys.executable, "-m", "kelpie_sim.model_server", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            print(f"{'what':44} {'CPU µs each':>12} {'a second':>10}")
            asyncio.run(_measure(address, options.calls, options.words))
        finally:
            server.terminate()


async def _measure(address: str, calls: int, words: int) -> None:
    for settings in (
        ProviderSettings(name="bench", kind="openai", base_url=f"{address}/v1", api_key="key"),
        ProviderSettings(name="bench", kind="anthropic", base_url=address, api_key="key"),
    ):
        kind = settings.kind
        models = ConfiguredModels(system_world(), open_transport(None), [settings])
        info = await models.find("bench/scripted")
        request = _request("scripted", "Reply with the message 'ok'")
        await models.ask(info, request, None)

        async def whole(models=models, info=info, request=request) -> int:
            await models.ask(info, request, None)
            return 1

        await _show(f"{kind}: whole call", calls, whole)

        async def at_once(whole=whole) -> int:
            async with asyncio.TaskGroup() as group:
                for _ in range(_AT_ONCE):
                    group.create_task(whole())
            return _AT_ONCE

        await _show(f"{kind}: whole call, {_AT_ONCE} at once", max(1, calls // _AT_ONCE), at_once)
        for name, label in ((f"chatter-{words}", "streamed event, in bulk"), (f"[drip-1] [chatter-{words}]", "")):
            request = _request("scripted", f"[{name}]" if label else name)

            async def streamed(models=models, info=info, request=request) -> int:
                pieces: list[Delta] = []
                await models.ask(info, request, pieces.append)
                return len(pieces)

            await _show(f"{kind}: {label or 'streamed event, one packet each'}", 10 if label else 1, streamed)
        await models.close()


async def _show(what: str, times: int, act: Callable[[], Awaitable[int]]) -> None:
    count = 0
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    for _ in range(times):
        count += await act()
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    print(f"{what:44} {cpu / count / 1_000:12.1f} {count / wall * 1e9:10.0f}", flush=True)


def _request(model: str, said: str) -> ModelRequest:
    message = ModelMessage(role="user", parts=(TextPart(text=said),))
    return ModelRequest(model=model, system="You are helpful. " * 20, messages=(message,), step_id=StepId("step-bench"))


if __name__ == "__main__":
    main()
