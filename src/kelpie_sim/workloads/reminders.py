"""Days pass after the storm: the inboxes are swept by reminders, not too early, and a key is remembered until then.

The machines are off meanwhile, as an office's are overnight: so the days cost nothing, and the reminders must last.
"""

import asyncio
from typing import ClassVar

from kelpie.actor.recovery import REMINDERS
from kelpie.agent.state import INBOX, INBOX_BY_TIME
from kelpie.limits import INBOX_KEPT_MS
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.client import SimClient
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import make_agent, new_sent, send, wait_end

MESSAGES_MIN, MESSAGES_MAX = 2, 5  # of one client
LATE_MS_MAX = 60_000  # after an entry is too old, until it is swept


class Reminders:
    """A few keyed messages, a long sleep, and the same keys again."""

    virtual_ms_max: ClassVar[int] = 3 * INBOX_KEPT_MS

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """One or two agents."""
        first = self._stage.clients[0]
        for number in range(first.rng.choice((1, 2))):
            self._agents.append(await make_agent(first, f"sleeper {number}"))

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """A few hours later all keys are known; a day after the last of them none is, and no reminder is left."""
        server, client = self._stage.sim.server, self._stage.clients[0]
        kept = set(Rows.take(server, INBOX.name).space(INBOX))
        await self._pass_night(INBOX_KEPT_MS // 2)
        self._expect(set(Rows.take(server, INBOX.name).space(INBOX)) == kept, "keys were forgotten too early")
        for sent in self._stage.ledger.sent[:2]:
            await send(self._stage.ledger, client, sent, "Reply with the message 'ok'")
        await self._pass_night(INBOX_KEPT_MS // 2)
        left = Rows.take(server, INBOX.name, INBOX_BY_TIME.name, REMINDERS.name).rows
        self._expect(not left, f"a day later there are still {sorted(left)[:4]}")
        self._stage.sim.marks.reached("sim: inboxes were swept")

    async def _pass_night(self, off_ms: int) -> None:
        """Everything is switched off for so long, and has some time after it."""
        cluster = self._stage.cluster
        for host in cluster.hosts:
            if host.is_up:
                host.crash()
        await asyncio.sleep(off_ms / 1_000)
        for host in cluster.hosts:
            if not host.is_up:
                cluster.boot(host)
        await asyncio.sleep(LATE_MS_MAX / 1_000)

    async def _work(self, client: SimClient) -> None:
        ledger, rng = self._stage.ledger, client.rng
        for _ in range(rng.randint(MESSAGES_MIN, MESSAGES_MAX)):
            agent_id = rng.choice(self._agents)
            number = self._numbers[client.name, agent_id] = self._numbers.get((client.name, agent_id), 0) + 1
            sent = new_sent(ledger, client, agent_id, number, rng.choice(("sync", "async")))
            await send(ledger, client, sent, "Reply with the message 'ok'")
            await asyncio.sleep(rng.random() * 4)
        for run_id in [run_id for sent in ledger.sent if sent.client == client.name for run_id in sent.run_ids]:
            await wait_end(client, run_id)

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, "reminders", sentence)
