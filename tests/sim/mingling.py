"""A workload full of what could leak the process into the order: sets of tasks, groups, gathers, streams."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from kelpie_sim.simulation import Simulation


async def mingle(sim: Simulation) -> object:
    """Everything at once; what happened goes into the trace."""

    async def worker(number: int) -> None:
        try:
            await asyncio.sleep(number % 3)
            if number == 7:
                raise ValueError("seven")
            await sim.loop.create_future()
        finally:
            sim.trace.event("ended", number)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(worker(number))
    except* ValueError:
        pass
    tasks = {asyncio.ensure_future(asyncio.sleep(0.001 * number, number)) for number in range(30)}
    for task in tasks:
        task.add_done_callback(lambda ended: sim.trace.event("slept", ended.result()))
    futures = [sim.loop.create_future() for _ in range(30)]
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: sim.trace.event("set", number))
    for future in set(futures):
        future.set_result(None)
    await asyncio.wait(tasks)
    return await asyncio.gather(*(stream_once(sim, at) for at in range(5)))


async def stream_once(sim: Simulation, count: int) -> bytes:
    """One request to a Starlette application that streams `count` pieces; the whole body."""

    async def pieces() -> AsyncIterator[bytes]:
        for number in range(count):
            await asyncio.sleep(0.5)
            yield b"%d;" % number

    async def answer(request: Request) -> StreamingResponse:
        return StreamingResponse(pieces())

    body: list[bytes] = []
    requests: list[dict[str, object]] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, object]:
        if requests:
            return requests.pop()
        await sim.loop.create_future()
        raise AssertionError("never")

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            body.append(message["body"])
            sim.trace.event("piece", len(body))

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "asgi": {}}
    await Starlette(routes=[Route("/", answer)])(scope, receive, send)
    return b"".join(body)
