"""Several agents share blocks and append marks to them, while people overwrite and read the same blocks."""

import asyncio
from typing import ClassVar

from kelpie.llm.messages import ToolCallPart, ToolReturnPart
from kelpie.memory.history import MESSAGES
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.client import SimClient
from kelpie_sim.ledger import Edit, Look
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import Made, make_agent, make_block, new_sent, send, wait_end

LABELS = ("shared", "diary")
DEEDS_MIN, DEEDS_MAX = 4, 9  # of one client
LIMIT_CHARS = 2_000  # of a block: now and then it is full


class SharedMemory:
    """Each client now tells an agent to append a mark, now edits a block, now reads one."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._blocks: dict[str, str] = {}  # label -> id
        self._edits = 0
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """One or two blocks that two or three agents share."""
        first = self._stage.clients[0]
        for label in LABELS[: first.rng.choice((1, 2))]:
            value = "as it was"
            block_id = await make_block(first, label, value, limit=LIMIT_CHARS)
            self._blocks[label] = block_id
            self._stage.ledger.registers[block_id] = None
        for number in range(first.rng.choice((2, 3))):
            self._agents.append(await make_agent(first, f"scribe {number}", block_ids=list(self._blocks.values())))

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """A mark that an agent was told is written was appended, once, by the time it was told."""
        rows = Rows.take(self._stage.sim.server, MESSAGES.name).space(MESSAGES)
        told: dict[str, int] = {}
        calls: dict[str, str] = {}
        for message in rows.values():
            for part in message.parts:
                if isinstance(part, ToolCallPart) and part.name == "memory_insert":
                    calls[part.call_id] = part.arguments
                if isinstance(part, ToolReturnPart) and part.ok and part.call_id in calls:
                    for mark in self._stage.ledger.marks:
                        told[mark] = told.get(mark, 0) + (f'"{mark}"' in calls[part.call_id])
        for mark, block_id in self._stage.ledger.marks.items():
            found = self._stage.values.marks_of(block_id)[mark]
            right = found == told.get(mark, 0)
            self._stage.cluster.watch.expect(
                right, "linearizable", f"{mark} was appended {found} times and said to be, {told.get(mark, 0)} times"
            )

    async def _work(self, client: SimClient) -> None:
        rng = client.rng
        count = rng.randint(DEEDS_MIN, DEEDS_MAX)
        pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.0, 0.5, 1.0)) / count
        for _ in range(count):
            deed = rng.choice((self._append, self._append, self._append, self._edit, self._look))
            await deed(client)
            await asyncio.sleep(pace_s * rng.random() * 2)
        for sent in [sent for sent in self._stage.ledger.sent if sent.client == client.name]:
            for run_id in sent.run_ids:
                await wait_end(client, run_id)

    async def _append(self, client: SimClient) -> None:
        """Tell an agent to append one mark, or two at once."""
        ledger, rng = self._stage.ledger, client.rng
        agent_id = rng.choice(self._agents)
        number = self._numbers[client.name, agent_id] = self._numbers.get((client.name, agent_id), 0) + 1
        sent = new_sent(ledger, client, agent_id, number, rng.choice(("sync", "async", "async", "stream")))
        calls = []
        for part in range(rng.choice((1, 1, 2))):
            label = rng.choice(list(self._blocks))
            mark = f"mark-{sent.marker}-{part}"
            ledger.marks[mark] = self._blocks[label]
            calls.append(f"Call the memory_insert tool with label '{label}' and new_string '{mark}'")
        await send(ledger, client, sent, ", ".join(calls))

    async def _edit(self, client: SimClient) -> None:
        """Overwrite a block; a repeat writes the same value again, which changes nothing but the order."""
        label = client.rng.choice(list(self._blocks))
        self._edits += 1
        edit = Edit(
            block_id=self._blocks[label],
            client=client.name,
            value=f"edit {self._edits} of {client.name}",
            begun_s=client.now_s(),
        )
        self._stage.ledger.edits.append(edit)
        if client.rng.random() < 0.5:
            answer = await client.ask("PATCH", f"/v1/blocks/{edit.block_id}", {"value": edit.value})
        else:
            path = f"/v1/agents/{client.rng.choice(self._agents)}/core-memory/blocks/{label}"
            answer = await client.ask("PATCH", path, {"value": edit.value})
        edit.known, edit.ended_s = answer.status == 200, client.now_s()
        self._stage.cluster.watch.expect(edit.known, "linearizable", f"an edit was refused with {answer}")

    async def _look(self, client: SimClient) -> None:
        label = client.rng.choice(list(self._blocks))
        begun_s = client.now_s()
        answer = await client.ask("GET", f"/v1/agents/{client.rng.choice(self._agents)}/core-memory/blocks/{label}")
        value = answer.read(Made).value
        assert value is not None, answer
        look = Look(
            block_id=self._blocks[label], client=client.name, value=value, begun_s=begun_s, ended_s=client.now_s()
        )
        self._stage.ledger.looks.append(look)
