"""Runs in the background are followed by several readers, who leave, are cut off, and come back late, on any node."""

import asyncio
from typing import ClassVar

from kelpie_sim.client import SimClient
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import make_agent, new_sent, read_run, read_to_end, send, wait_end

RUNS_MIN, RUNS_MAX = 2, 5  # of one client
READERS_MAX = 3


class Streams:
    """Each client begins runs of several steps, and readers follow them from wherever they left off."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """One or two agents."""
        first = self._stage.clients[0]
        for number in range(first.rng.choice((1, 2))):
            blocks = [{"label": "notes", "value": ""}]
            self._agents.append(await make_agent(first, f"reader {number}", memory_blocks=blocks))

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """When all is over, every run is read again from the beginning: that reading is the truth for all others."""
        first = self._stage.clients[0]
        for sent in self._stage.ledger.sent:
            for run_id in sent.run_ids:
                for _ in self._stage.cluster.hosts:
                    await read_to_end(self._stage.ledger, first, run_id, after=0)
                    await first.rest()

    async def _work(self, client: SimClient) -> None:
        ledger, rng = self._stage.ledger, client.rng
        count = rng.randint(RUNS_MIN, RUNS_MAX)
        pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.5, 1.0)) / count
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                agent_id = rng.choice(self._agents)
                number = self._numbers[client.name, agent_id] = self._numbers.get((client.name, agent_id), 0) + 1
                sent = new_sent(
                    ledger, client, agent_id, number, rng.choice(("background", "kept", "kept", "async", "async"))
                )
                await send(ledger, client, sent, self._draw_text(client))
                for run_id in sent.run_ids:
                    for _ in range(rng.randint(1, READERS_MAX)):
                        group.create_task(self._read(client, run_id), name=f"{client.name} reads {run_id}")
                await asyncio.sleep(pace_s * rng.random() * 2)
        for run_id in [run_id for sent in ledger.sent if sent.client == client.name for run_id in sent.run_ids]:
            await wait_end(client, run_id)

    async def _read(self, client: SimClient, run_id: str) -> None:
        """Perhaps late, perhaps in pieces; in the end all of it."""
        rng, after = client.rng, 0
        await asyncio.sleep(rng.choice((0.0, 0.0, 1.0, 10.0)) * rng.random())
        for _ in range(rng.choice((0, 1, 2))):
            reading = await read_run(self._stage.ledger, client, run_id, after=after, items_max=rng.choice((1, 2, 4)))
            if reading.ended:
                return
            after = reading.items[-1][0] if reading.items else after
            await asyncio.sleep(rng.choice((0.0, 0.5, 5.0)))
        await read_to_end(self._stage.ledger, client, run_id, after=after)

    def _draw_text(self, client: SimClient) -> str:
        """Turns of one to five steps."""
        texts = (
            "Reply with the message 'short'",
            "Call the count_up tool then call the count_up tool then call the count_up tool then reply with 'done'",
            "Call the look_up tool with name 'x' and call the count_up tool; then call the count_up tool then"
            " call the look_up tool with name 'y' then reply with the message 'done'",
            "Go on as you like.",
        )
        return client.rng.choice(texts)
