"""Agents and blocks are made, changed, attached, detached and removed under faults, while some are spoken to."""

import asyncio
from contextlib import suppress
from typing import ClassVar

from kelpie_sim.client import SimClient
from kelpie_sim.http import ConnectionLost, HttpAnswer
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import Made, make_agent, make_block, new_sent, send, wait_end

DEEDS_MIN, DEEDS_MAX = 8, 20  # of one client
LABELS = ("human", "persona", "project", "notes")


class Lifecycle:
    """Each client does things to agents and blocks that others do things to as well."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._blocks: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """Two agents and two blocks to begin with."""
        first = self._stage.clients[0]
        for _ in range(2):
            await self._new_block(first)
            await self._new_agent(first)

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """What was removed is not to be found by anybody, what was not is."""
        client, ledger = self._stage.clients[0], self._stage.ledger
        for kind, ids in (("agents", self._agents), ("blocks", self._blocks)):
            for each in ids:
                answer = await client.ask("GET", f"/v1/{kind}/{each}")
                if each not in ledger.doomed:
                    self._expect(answer.status == 200, f"{each} was removed by nobody and is answered {answer}")
                if each in ledger.deleted:
                    self._expect(answer.status == 404, f"{each} was removed and is still answered {answer.status}")

    async def _work(self, client: SimClient) -> None:
        rng = client.rng
        count = rng.randint(DEEDS_MIN, DEEDS_MAX)
        pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.0, 0.5, 1.0)) / count
        deeds = (
            *(self._new_agent, self._new_block, self._change_agent, self._relabel, self._attach, self._attach),
            *(self._detach, self._delete_block, self._delete_agent, self._replace_blocks),
            *(self._speak, self._speak, self._reset),
        )
        for _ in range(count):
            await rng.choice(deeds)(client)
            await asyncio.sleep(pace_s * rng.random() * 2)
        for sent in [sent for sent in self._stage.ledger.sent if sent.client == client.name]:
            for run_id in sent.run_ids:
                await wait_end(client, run_id)

    async def _new_agent(self, client: SimClient) -> None:
        rng = client.rng
        blocks = [{"label": label, "value": "new"} for label in LABELS if rng.random() < 0.3]
        name = f"agent {len(self._agents)}"
        self._agents.append(await make_agent(client, name, memory_blocks=blocks, tags=[f"tag {rng.randrange(3)}"]))

    async def _new_block(self, client: SimClient) -> None:
        self._blocks.append(await make_block(client, client.rng.choice(LABELS), "a block of its own"))

    async def _change_agent(self, client: SimClient) -> None:
        body = {"name": f"renamed {client.rng.randrange(100)}", "description": "changed"}
        answer = await client.ask("PATCH", f"/v1/agents/{self._agent(client)}", body)
        self._expect(answer.status in (200, 404), f"a change was answered {answer}")

    async def _replace_blocks(self, client: SimClient) -> None:
        wanted = client.rng.sample(self._blocks, k=min(2, len(self._blocks)))
        answer = await client.ask("PATCH", f"/v1/agents/{self._agent(client)}", {"block_ids": wanted})
        self._expect_blocks(answer)

    async def _relabel(self, client: SimClient) -> None:
        answer = await client.ask("PATCH", f"/v1/blocks/{self._block(client)}", {"label": client.rng.choice(LABELS)})
        self._expect_blocks(answer)

    async def _attach(self, client: SimClient) -> None:
        path = f"/v1/agents/{self._agent(client)}/core-memory/blocks/attach/{self._block(client)}"
        self._expect_blocks(await client.ask("PATCH", path))

    async def _detach(self, client: SimClient) -> None:
        path = f"/v1/agents/{self._agent(client)}/core-memory/blocks/detach/{self._block(client)}"
        self._expect_blocks(await client.ask("PATCH", path))

    async def _delete_block(self, client: SimClient) -> None:
        await self._delete(client, "blocks", self._block(client))

    async def _delete_agent(self, client: SimClient) -> None:
        await self._delete(client, "agents", self._agent(client))

    async def _delete(self, client: SimClient, kind: str, target: str) -> None:
        ledger = self._stage.ledger
        ledger.doomed[target] = None
        answer = await client.ask("DELETE", f"/v1/{kind}/{target}")
        self._expect(answer.status in (200, 404), f"a removal of {target} was answered {answer}")
        ledger.deleted[target] = client.now_s()
        after = await client.ask("GET", f"/v1/{kind}/{target}")
        self._expect(after.status == 404, f"{target} was removed and is answered {after.status}")

    async def _reset(self, client: SimClient) -> None:
        """Refused while a turn runs, so it is asked a few times only."""
        with suppress(ConnectionLost):
            path = f"/v1/agents/{self._agent(client)}/reset-messages"
            answer = await client.ask("PATCH", path, {}, attempts_max=5)
            self._expect(answer.status in (200, 404), f"a reset was answered {answer}")

    async def _speak(self, client: SimClient) -> None:
        ledger, rng = self._stage.ledger, client.rng
        agent_id = self._agent(client)
        number = self._numbers[client.name, agent_id] = self._numbers.get((client.name, agent_id), 0) + 1
        sent = new_sent(ledger, client, agent_id, number, rng.choice(("sync", "async", "async")))
        await send(ledger, client, sent, "Call the count_up tool then call the look_up tool with name 'x'")

    def _agent(self, client: SimClient) -> str:
        """Mostly one of the newest: the older ones have been removed."""
        return client.rng.choice(self._agents[-4:])

    def _block(self, client: SimClient) -> str:
        return client.rng.choice(self._blocks[-4:])

    def _expect_blocks(self, answer: HttpAnswer) -> None:
        """Done, gone, or the label is taken."""
        self._expect(answer.status in (200, 404, 409), f"an edit of blocks was answered {answer}")
        if answer.status == 200:
            assert answer.read(Made).id

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, "lifecycle", sentence)
