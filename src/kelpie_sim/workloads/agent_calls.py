"""Agents that ask and tell each other, in circles too: what a tool says was sent comes, and comes once."""

import asyncio
import json
import re
from collections import Counter
from typing import ClassVar

from kelpie.llm.messages import ToolCallPart, ToolReturnPart
from kelpie.memory.history import MESSAGES, StoredMessage, searchable_text
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.client import SimClient
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import make_agent, new_sent, send, wait_end

ASK, TELL = "send_message_to_agent_and_wait_for_reply", "send_message_to_agent_async"
AGENTS = 3
MESSAGES_MIN, MESSAGES_MAX = 2, 5  # of one client
WORD = re.compile(r"word-[\w-]+")


class AgentCalls:
    """Clients tell agents to ask or tell others, who in turn are told to ask or tell others, or to answer."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """A few agents with the tools for it."""
        for number in range(AGENTS):
            fields = {"include_multi_agent_tools": True, "memory_blocks": []}
            self._agents.append(await make_agent(self._stage.clients[0], f"friend {number}", **fields))

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """Each word that a call carried stands in its target's history once if the call says so, and never twice."""
        calls: Counter[tuple[str, str]] = Counter()
        sent: Counter[tuple[str, str]] = Counter()
        heard: Counter[tuple[str, str]] = Counter()
        for history in self._histories().values():
            asked: dict[str, tuple[str, str]] = {}
            for message in history:
                for part in message.parts:
                    if isinstance(part, ToolCallPart) and (carried := _carried(part)) is not None:
                        asked[part.call_id] = carried
                        calls[carried] += 1
                    elif isinstance(part, ToolReturnPart) and part.call_id in asked:
                        sent[asked[part.call_id]] += part.ok
                if message.sender_id is not None and (word := WORD.search(searchable_text(message))) is not None:
                    heard[message.thread_id, word[0]] += 1
        for carried, times in heard.items():
            self._expect(times <= calls[carried], f"{carried}: {calls[carried]} calls, and it came {times} times")
        for carried, times in sent.items():
            self._expect(heard[carried] >= times, f"{carried} was said to be sent and did not come")
        if heard:
            self._stage.sim.marks.reached("sim: agents talked to each other")

    def _histories(self) -> dict[str, list[StoredMessage]]:
        histories: dict[str, list[StoredMessage]] = {}
        for message in Rows.take(self._stage.sim.server, MESSAGES.name).space(MESSAGES).values():
            histories.setdefault(message.thread_id, []).append(message)
        return {thread: sorted(history, key=lambda message: message.seq) for thread, history in histories.items()}

    async def _work(self, client: SimClient) -> None:
        ledger, rng = self._stage.ledger, client.rng
        for _ in range(rng.randint(MESSAGES_MIN, MESSAGES_MAX)):
            first, *others = rng.sample(self._agents, k=AGENTS)
            number = self._numbers[client.name, first] = self._numbers.get((client.name, first), 0) + 1
            sent = new_sent(ledger, client, first, number, rng.choice(("sync", "async", "async")))
            inner = "Reply with the message 'done'"
            way = others[: rng.randint(1, 2)] + ([first] if rng.random() < 0.3 else [])
            for at, target in enumerate(reversed(way)):
                said = {"other_agent_id": target, "message": f"word-{sent.marker}-{at} {inner}"}
                inner = f"Call the {rng.choice((ASK, TELL))} tool with {json.dumps(said)}"
            await send(ledger, client, sent, inner)
            await asyncio.sleep(rng.random() * 4)
        for run_id in [run_id for sent in ledger.sent if sent.client == client.name for run_id in sent.run_ids]:
            await wait_end(client, run_id)

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, "agent_calls", sentence)


def _carried(call: ToolCallPart) -> tuple[str, str] | None:
    """To whom the call carries which word."""
    if call.name not in (ASK, TELL):
        return None
    try:
        said = json.loads(call.arguments)
        word = WORD.search(said["message"])
        return None if word is None else (said["other_agent_id"], word[0])
    except (ValueError, KeyError, TypeError):
        return None
