"""Clients talk with agents in several threads at once: their own and conversations, which are forked and removed.

What is said in one thread stands in none but those that were forked from it, and no thread waits for another.
"""

import asyncio
from contextlib import suppress
from typing import ClassVar

from kelpie_sim.client import SimClient
from kelpie_sim.http import ConnectionLost
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import Made, make_agent, new_sent, send, wait_end

DEEDS_MIN, DEEDS_MAX = 6, 14  # of one client
OWN_MODES = ("sync", "async", "stream", "tokens", "background", "kept")
TALK_MODES = ("sync", "stream", "tokens", "background", "kept")  # a conversation has no way to be asked for later


class Threads:
    """Each client speaks in threads of its choice; some of them are made, forked, compacted and removed meanwhile."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._threads: list[tuple[str, str]] = []  # agent, thread
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """Two agents, one of them with two conversations."""
        first = self._stage.clients[0]
        for number in range(2):
            agent_id = await make_agent(first, f"talker {number}")
            self._threads.append((agent_id, agent_id))
        for _ in range(2):
            await self._begin(first, self._threads[0][0])

    async def load(self) -> None:
        """All clients at once; at the end one of the agents is removed with all its threads."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")
        first = self._stage.clients[0]
        await self._remove(first, "agents", self._threads[0][0])

    async def check(self) -> None:
        """What was removed is not to be found by anybody, what was not is."""
        client, ledger = self._stage.clients[0], self._stage.ledger
        for agent_id, thread_id in self._threads:
            if thread_id == agent_id:
                continue
            answer = await client.ask("GET", f"/v1/conversations/{thread_id}")
            gone = thread_id in ledger.deleted or agent_id in ledger.deleted
            doomed = thread_id in ledger.doomed or agent_id in ledger.doomed
            self._expect(answer.status == 404 if gone else doomed or answer.status == 200, f"{thread_id}: {answer}")

    async def _work(self, client: SimClient) -> None:
        rng = client.rng
        count = rng.randint(DEEDS_MIN, DEEDS_MAX)
        pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.5, 1.0)) / count
        for _ in range(count):
            agent_id, thread_id = rng.choice(self._threads)
            match rng.choice(("speak", "speak", "speak", "speak", "begin", "fork", "compact", "remove")):
                case "speak":
                    await self._speak(client, agent_id, thread_id)
                case "begin":
                    await self._begin(client, agent_id)
                case "fork":
                    await self._fork(client, agent_id, thread_id)
                case "compact":
                    path, body = f"/v1/conversations/{thread_id}/compact", {"compaction_settings": {"mode": "all"}}
                    with suppress(ConnectionLost):  # a thread that is at work is not compacted
                        await client.ask("POST", path, body, attempts_max=5)
                case "remove" if thread_id != agent_id:
                    await self._remove(client, "conversations", thread_id)
            await asyncio.sleep(pace_s * rng.random() * 2)
        ledger = self._stage.ledger
        for run_id in [run_id for sent in ledger.sent if sent.client == client.name for run_id in sent.run_ids]:
            await wait_end(client, run_id)

    async def _speak(self, client: SimClient, agent_id: str, thread_id: str) -> None:
        number = self._numbers[client.name, thread_id] = self._numbers.get((client.name, thread_id), 0) + 1
        modes = OWN_MODES if thread_id == agent_id else TALK_MODES
        sent = new_sent(self._stage.ledger, client, agent_id, number, client.rng.choice(modes), thread_id=thread_id)
        await send(self._stage.ledger, client, sent, f"Reply with the message 'ok {sent.marker}'")

    async def _begin(self, client: SimClient, agent_id: str) -> None:
        answer = await client.ask("POST", f"/v1/conversations/?agent_id={agent_id}", {"summary": "a talk"})
        if answer.status == 200:
            self._threads.append((agent_id, answer.read(Made).id))

    async def _fork(self, client: SimClient, agent_id: str, thread_id: str) -> None:
        answer = await client.ask("POST", f"/v1/conversations/{thread_id}/fork")
        if answer.status == 200:
            self._threads.append((agent_id, answer.read(Made).id))

    async def _remove(self, client: SimClient, kind: str, target: str) -> None:
        ledger = self._stage.ledger
        ledger.doomed[target] = None
        answer = await client.ask("DELETE", f"/v1/{kind}/{target}")
        self._expect(answer.status in (200, 404), f"a removal of {target} was answered {answer}")
        ledger.deleted[target] = client.now_s()

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, "threads", sentence)
