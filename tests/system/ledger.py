"""Clients that insist, and a ledger of what they were told: the other side of the kill -9 proof.

A worker repeats each request under the same Idempotency-Key until it is acknowledged, whatever happens to
the server in between. What is in the ledger was acknowledged; the proof compares it with what is there.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2

from tests.system.talk import insert_into, message_body, reply_with

TRIES_MAX = 600
TRY_AGAIN_SECONDS = 0.05
NOTES = "notes"


@dataclass(frozen=True, kw_only=True)
class Said:
    """A message that was accepted, and the first answer to it: a reply, or a run for an asynchronous one."""

    agent_id: str
    worker: int
    form: Literal["reply", "tool", "async"]
    word: str
    text: str
    answer: dict[str, Any]

    @property
    def path(self) -> str:
        """Where it was posted."""
        return f"/v1/agents/{self.agent_id}/messages" + ("/async" if self.form == "async" else "")

    @property
    def run_id(self) -> str:
        """The run that answered it."""
        return self.answer["id"] if self.form == "async" else self.answer["messages"][0]["run_id"]


@dataclass
class Ledger:
    """What all workers were told, in the order of the acknowledgements."""

    said: list[Said] = field(default_factory=list)
    written: dict[tuple[str, str], str] = field(default_factory=dict)  # (agent, label) -> last acknowledged value
    writes: int = 0
    broken: int = 0  # requests whose connection broke while they were under way
    refused: int = 0  # requests that were answered "later"


class Worker:
    """One client with one request under way at a time."""

    def __init__(self, number: int, http: httpx2.AsyncClient, agents: list[str], ledger: Ledger, seed: int) -> None:
        self._number = number
        self._http = http
        self._agents = agents
        self._ledger = ledger
        self._draw = random.Random(f"{seed}-{number}")
        self._counter = 0

    @property
    def label(self) -> str:
        """The label of the blocks that only this worker writes."""
        return f"worker{self._number}"

    async def live(self, over: asyncio.Event) -> None:
        """Do one deed after the other until `over`; what was begun then is brought to its end."""
        deeds = (self._say, self._say, self._say_async, self._use_tool, self._write_block, self._write_block)
        while not over.is_set():
            self._counter += 1
            await self._draw.choice(deeds)(self._draw.choice(self._agents))

    async def _say(self, agent_id: str) -> None:
        word = self._word("said")
        await self._post(agent_id, "reply", word, reply_with(word))

    async def _say_async(self, agent_id: str) -> None:
        word = self._word("later")
        await self._post(agent_id, "async", word, reply_with(word))

    async def _use_tool(self, agent_id: str) -> None:
        word = self._word("noted")
        await self._post(agent_id, "tool", word, insert_into(NOTES, word))

    async def _post(self, agent_id: str, form: Literal["reply", "tool", "async"], word: str, text: str) -> None:
        said = Said(agent_id=agent_id, worker=self._number, form=form, word=word, text=text, answer={})
        answer = await self.repeat(said)
        self._ledger.said.append(
            Said(agent_id=agent_id, worker=self._number, form=form, word=word, text=text, answer=answer)
        )

    async def repeat(self, said: Said) -> dict[str, Any]:
        """Post that message (again) under its own key; the answer."""
        return await self._insist(
            "POST", said.path, json=message_body(said.text), headers={"Idempotency-Key": said.word}
        )

    async def _write_block(self, agent_id: str) -> None:
        path = f"/v1/agents/{agent_id}/core-memory/blocks/{self.label}"
        place, value = (agent_id, self.label), self._word("value")
        before = await self._insist("GET", path)
        assert before["value"] == self._ledger.written.get(place, ""), "an acknowledged write is gone"
        after = await self._insist("PATCH", path, json={"value": value})
        assert after["value"] == value
        self._ledger.written[place] = value
        self._ledger.writes += 1

    async def _insist(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        for _ in range(TRIES_MAX):
            try:
                answer = await self._http.request(method, path, **request)
            except httpx2.TransportError as error:
                self._ledger.broken += not isinstance(error, httpx2.ConnectError)
                await asyncio.sleep(TRY_AGAIN_SECONDS)
                continue
            if answer.status_code == 200:
                return answer.json()
            assert answer.status_code in (429, 503), f"{method} {path}: {answer.status_code} {answer.text}"
            assert "retry-after" in answer.headers, f"{answer.status_code} without Retry-After"
            self._ledger.refused += 1
            await asyncio.sleep(TRY_AGAIN_SECONDS)
        raise AssertionError(f"{method} {path} was not acknowledged in {TRIES_MAX} tries")

    def _word(self, name: str) -> str:
        return f"{name}-w{self._number}-n{self._counter}"
