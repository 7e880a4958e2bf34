"""Clients talk to a few agents in every way there is, with tools that do harm when repeated; some is cancelled."""

import asyncio
from typing import ClassVar

from kelpie_sim.client import SimClient
from kelpie_sim.faults import FaultKind
from kelpie_sim.ledger import Sent
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import MODES, make_agent, new_sent, send, wait_end

MESSAGES_MIN, MESSAGES_MAX = 3, 9  # of one client
CANCEL_PERCENT = 20
BURST_PERCENT = 12
CONTROL_S_MAX = 10.0  # a few attempts at nodes that are not the owner
SLOW_ONLY = frozenset((FaultKind.MODEL_SLOW, FaultKind.MODEL_FAILS, FaultKind.MODEL_GARBAGE, FaultKind.TOOL_SLOW))


class Conversations:
    """Each client sends numbered messages, one after the other, to agents of its choice."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX
    modes = MODES

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """One to three agents."""
        first = self._stage.clients[0]
        for number in range(first.rng.choice((1, 2, 3))):
            blocks = [{"label": "notes", "value": ""}]
            self._agents.append(await make_agent(first, f"talker {number}", memory_blocks=blocks))

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._talk(client), name=f"{client.name} talks")

    async def check(self) -> None:
        """Every message that was accepted, and none that was refused: nobody removed an agent here."""
        for sent in self._stage.ledger.sent:
            refused = sent.outcome.startswith("refused")
            self._stage.cluster.watch.expect(not refused, "no_lost_turn", f"{sent.marker} was {sent.outcome}")

    async def _talk(self, client: SimClient) -> None:
        ledger, rng = self._stage.ledger, client.rng
        async with asyncio.TaskGroup() as group:
            count = rng.randint(MESSAGES_MIN, MESSAGES_MAX)
            pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.5, 1.0)) / count
            for _ in range(count):
                agent_id = rng.choice(self._agents)
                number = self._numbers[client.name, agent_id] = self._numbers.get((client.name, agent_id), 0) + 1
                sent = new_sent(ledger, client, agent_id, number, rng.choice(self.modes))
                if rng.random() * 100 < CANCEL_PERCENT:
                    sent.cancel = True
                    group.create_task(self._cancel(client, sent), name=f"cancel {sent.marker}")
                await send(ledger, client, sent, self._draw_text(client, sent))
                if rng.random() * 100 < BURST_PERCENT:
                    await self._burst(client, agent_id)
                await asyncio.sleep(pace_s * rng.random() * 2)
        for run_id in [run_id for sent in ledger.sent if sent.client == client.name for run_id in sent.run_ids]:
            await wait_end(client, run_id)

    async def _burst(self, client: SimClient, agent_id: str) -> None:
        """Several at once that only have to be accepted: they wait behind each other, in order."""
        for _ in range(client.rng.randint(2, 4)):
            number = self._numbers[client.name, agent_id] = self._numbers.get((client.name, agent_id), 0) + 1
            sent = new_sent(self._stage.ledger, client, agent_id, number, "async")
            await send(self._stage.ledger, client, sent, "Call the count_up tool")

    async def _cancel(self, client: SimClient, sent: Sent) -> None:
        """Some time after it was sent, if it was accepted by then; a run, or whatever the agent is doing."""
        await asyncio.sleep(client.rng.choice((0.1, 1.0, 4.0)))
        path = f"/v1/agents/{sent.agent_id}/messages/cancel"
        if not sent.run_ids:
            return
        begun_s = client.now_s()
        await client.ask("POST", path, {"run_ids": sent.run_ids})
        took_s = client.now_s() - begun_s
        if {fault.kind for fault in self._stage.sim.faults.plan.faults} <= SLOW_ONLY and not self._stage.shape.rolls:
            self._stage.cluster.watch.expect(
                took_s < CONTROL_S_MAX, "control", f"to cancel {sent.run_ids} took {took_s:.1f} s without any fault"
            )

    def _draw_text(self, client: SimClient, sent: Sent) -> str:
        """What is asked of the agent; a fifth of it leaves the model free to do what it likes."""
        mark = f"mark-{sent.marker}"
        texts = (
            f"Reply with the message 'ok {sent.marker}'",
            "Call the count_up tool",
            f"Call the set_value tool with name 'x' and value '{sent.marker}', call the count_up tool and"
            " call the look_up tool with name 'x'; then reply with the message 'done'",
            f"Call the memory_insert tool with label 'notes' and new_string '{mark}', call the count_up tool",
            "Call the count_up tool then call the count_up tool then call the look_up tool with name 'y'",
            f"Call the conversation_search tool with query '{sent.marker}'",
            "What do you think?",
            "Go on as you like.",
        )
        text = client.rng.choice(texts)
        if mark in text:
            self._stage.ledger.marks[mark] = sent.agent_id
        return text
