"""The assembled node: it serves from whatever parts it is given, and real parts are opened and closed with it."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest

from kelpie.access.vault import Vault
from kelpie.actor import host
from kelpie.config import read_config
from kelpie.errors import StoreDown, StoreOwned
from kelpie.ids import NodeId
from kelpie.llm.embedding import Embeddings
from kelpie.llm.providers import ConfiguredModels
from kelpie.node import Node, build_node, open_real
from kelpie.storage.memory import MemoryStore
from kelpie.system import system_world
from kelpie_sim.sandbox import SimSandbox, answer_ok

Run = Callable[[Coroutine[Any, Any, Any]], Any]
AGENT = {"model": "kelpie/rehearsed", "memory_blocks": [{"label": "human", "value": "Name: Ada"}]}
MESSAGE = {"messages": [{"role": "user", "content": "Reply with the message 'well'"}]}


async def live(node: Node, work: Callable[[httpx2.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    """Run the node for as long as the work takes; the client talks to its application without a socket."""
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        living = group.create_task(node.run(started))
        await started.wait()
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(node.app), base_url="http://node") as http:
            await work(http)
        living.cancel()


async def create_agent(http: httpx2.AsyncClient) -> str:
    """The id of a new agent."""
    return (await http.post("/v1/agents/", json=AGENT)).raise_for_status().json()["id"]


def test_a_node_that_gets_no_lease_says_so_plainly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """StoreDown itself and not a group of it: whoever starts nodes looks for it."""
    monkeypatch.setattr(host, "COMMIT_ATTEMPTS_MAX", 1)

    class Away(MemoryStore):
        async def now_ms(self) -> int:
            raise StoreDown("away")

    async def play() -> None:
        world = system_world()
        refuse = httpx2.MockTransport(lambda request: httpx2.Response(500))
        models, vault = ConfiguredModels(world, refuse, ()), Vault(bytes(32), world.entropy)
        parts = {"vault": vault, "embeddings": Embeddings(None), "sandbox": SimSandbox(answer_ok)}
        node = build_node(world, Away(world), models, (), NodeId("a"), **parts)
        with pytest.raises(StoreDown, match="no lease could be had"):
            await node.run(asyncio.Event())

    run(play())


def test_a_node_serves_from_the_parts_it_is_given(run: Run) -> None:
    """Memory instead of a disk, no provider: a message is answered, by the same assembly that a server uses."""

    async def talk(http: httpx2.AsyncClient) -> None:
        path = f"/v1/agents/{await create_agent(http)}/messages"
        answer = (await http.post(path, json=MESSAGE)).raise_for_status().json()
        assert [(one["message_type"], one["content"]) for one in answer["messages"]] == [("assistant_message", "well")]

    async def play() -> None:
        world = system_world()
        refuse = httpx2.MockTransport(lambda request: httpx2.Response(500))
        models, vault = ConfiguredModels(world, refuse, ()), Vault(bytes(32), world.entropy)
        parts = {"vault": vault, "embeddings": Embeddings(None), "sandbox": SimSandbox(answer_ok)}
        node = build_node(world, MemoryStore(world), models, (), NodeId("a"), **parts)
        await live(node, talk)

    run(play())


def test_a_draining_node_begins_no_turns_and_still_answers(run: Run, tmp_path: Path) -> None:
    """After drain(): 503 with Retry-After for a message, 200 for reading."""

    async def talk(node: Node, http: httpx2.AsyncClient) -> None:
        agent_id = await create_agent(http)
        assert await node.drain(1_000), "nothing was running"
        refused = await http.post(f"/v1/agents/{agent_id}/messages", json=MESSAGE)
        assert (refused.status_code, refused.headers["x-kelpie-error"]) == (503, "draining")
        assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get(f"/v1/agents/{agent_id}")).status_code == 200

    async def play() -> None:
        async with open_real(read_config({}, {"data_dir": str(tmp_path)})) as node:
            await live(node, lambda http: talk(node, http))

    run(play())


def test_real_parts_are_closed_with_the_node(run: Run, tmp_path: Path) -> None:
    """A second node on the directory is refused while the first is open, and finds its agents afterwards."""
    config = read_config({}, {"data_dir": str(tmp_path / "data")})
    made: list[str] = []

    async def make(http: httpx2.AsyncClient) -> None:
        made.append(await create_agent(http))

    async def find(http: httpx2.AsyncClient) -> None:
        assert [each["id"] for each in (await http.get("/v1/agents/")).json()] == made

    async def play() -> None:
        async with open_real(config) as node:
            await live(node, make)
            with pytest.raises(StoreOwned):
                async with open_real(config):
                    raise AssertionError("two nodes on one directory")
        async with open_real(config) as again:
            await live(again, find)

    run(play())
