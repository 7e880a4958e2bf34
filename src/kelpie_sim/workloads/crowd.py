"""More messages at once than one agent may have waiting: full is an answer, and whoever comes again is served."""

import asyncio
from typing import ClassVar

from kelpie_sim.client import SimClient
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import make_agent, new_sent, send, wait_end

MESSAGES = 78  # a little more than TURNS_QUEUED_MAX


class Crowd:
    """All clients together send MESSAGES to one agent, none waiting for another."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agent = ""

    async def setup(self) -> None:
        """One agent."""
        self._agent = await make_agent(self._stage.clients[0], "star", memory_blocks=[])

    async def load(self) -> None:
        """All at once."""
        async with asyncio.TaskGroup() as group:
            for number in range(MESSAGES):
                client = self._stage.clients[number % len(self._stage.clients)]
                group.create_task(self._say(client, number), name=f"{client.name} says {number}")

    async def check(self) -> None:
        """Nobody was refused for good."""
        for sent in self._stage.ledger.sent:
            accepted = sent.outcome == "accepted"
            self._stage.cluster.watch.expect(accepted, "no_lost_turn", f"{sent.marker} was {sent.outcome}")

    async def _say(self, client: SimClient, number: int) -> None:
        sent = new_sent(self._stage.ledger, client, self._agent, number, "async")
        await send(self._stage.ledger, client, sent, "Reply with the message 'thanks'")
        for run_id in sent.run_ids:
            await wait_end(client, run_id)
