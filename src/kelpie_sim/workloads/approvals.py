"""Agents ask before they act: people allow, deny, do it themselves, answer twice, contradict each other, or give up."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import msgspec
from msgspec import Struct

from kelpie_sim.checkers.rows import Rows
from kelpie_sim.checkers.verdicts import APPROVE, DENY, RETURN, Given, Verdicts
from kelpie_sim.client import SimClient
from kelpie_sim.http import HttpAnswer
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import Answered, Made, make_agent, new_sent, send, wait_end

MESSAGES_MIN, MESSAGES_MAX = 2, 6  # of one client
ROUNDS_MAX = 14  # of answers to one message; then it is given up
OWN_TOOL = {"name": "ask_client", "description": "Done by the client.", "parameters": {"type": "object"}}
WAYS = ("allow", "allow", "deny", "mixed", "mixed", "older", "twice", "contradict", "withdraw", "shout")


class _Call(Struct):
    name: str
    tool_call_id: str


class _Pending(Struct):
    id: str
    tool_calls: list[_Call]


class _Agent(Struct):
    pending_approval: _Pending | None = None


class Approvals:
    """Each client speaks with an agent of its own, which needs its leave for most of what it does."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: dict[str, str] = {}  # of each client
        self._given: list[Given] = []
        self._numbers: dict[str, int] = {}
        self._verdicts = Verdicts(stage.sim, stage.cluster.tools, stage.cluster.watch)

    async def setup(self) -> None:
        """An agent for each client."""
        for client in self._stage.clients:
            rules = [{"type": "requires_approval", "tool_name": "count_up"}]
            if client.rng.random() < 0.5:
                rules.append({"type": "requires_approval", "tool_name": "set_value"})
            if client.rng.random() < 0.3:
                rules.append({"type": "exit_loop", "tool_name": "count_up"})
            self._agents[client.name] = await make_agent(client, "careful", memory_blocks=[], tool_rules=rules)

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """What was said of each call, what was run, and what clients were told, fit together."""
        self._verdicts.check(Rows.take(self._stage.sim.server), self._given)

    async def _work(self, client: SimClient) -> None:
        ledger, rng, agent_id = self._stage.ledger, client.rng, self._agents[client.name]
        for _ in range(rng.randint(MESSAGES_MIN, MESSAGES_MAX)):
            number = self._numbers[client.name] = self._numbers.get(client.name, 0) + 1
            sent = new_sent(ledger, client, agent_id, number, rng.choice(("sync", "async", "stream", "tokens")))
            await send(ledger, client, sent, self._draw_text(client), client_tools=[OWN_TOOL])
            self._expect(not sent.outcome.startswith("refused"), f"{sent.marker} was {sent.outcome}")
            for run_id in sent.run_ids:
                await wait_end(client, run_id)
            await self._settle(client, agent_id)
            await asyncio.sleep(rng.choice((0.0, 2.0, 8.0)) * rng.random())

    async def _settle(self, client: SimClient, agent_id: str) -> None:
        """Answer until nothing waits any more."""
        for number in range(ROUNDS_MAX + 1):
            pending = await self._pending(client, agent_id)
            if pending is None:
                return
            way = "withdraw" if number == ROUNDS_MAX else client.rng.choice(WAYS)
            await asyncio.sleep(client.rng.choice((0.0, 0.0, 1.0, 6.0)) * client.rng.random())
            await self._react(client, agent_id, pending, way)
        self._expect(await self._pending(client, agent_id) is None, f"{agent_id} still asks")

    async def _react(self, client: SimClient, agent_id: str, pending: _Pending, way: str) -> None:
        calls = pending.tool_calls
        match way:
            case "older" if all(call.name != OWN_TOOL["name"] for call in calls):
                approve = client.rng.random() < 0.5
                given = self._note(agent_id, {call.tool_call_id: APPROVE if approve else DENY for call in calls})
                older = {"type": "approval", "approve": approve, "approval_request_id": pending.id}
                await self._give(client, given, [older])
            case "twice":
                given = self._note(agent_id, self._draw(client, calls, "mixed"))
                await self._give_all(client, [given, given], at_once=client.rng.random() < 0.5)
                self._stage.sim.marks.reached("sim: an answer to waiting calls was given twice")
            case "contradict":
                both = [self._note(agent_id, self._draw(client, calls, each)) for each in ("allow", "deny")]
                if both[0].verdicts != both[1].verdicts:
                    await self._give_all(client, both, at_once=True)
                    won = sum(bool(given.run_ids) for given in both)
                    self._expect(won == 1, f"{won} of {both} were accepted")
            case "withdraw":
                await client.ask("POST", f"/v1/agents/{agent_id}/messages/cancel", {})
            case "shout":
                body = {"messages": [{"role": "user", "content": "Reply with the message 'never mind'"}]}
                answer = await client.ask("POST", f"/v1/agents/{agent_id}/messages", body)
                self._expect(
                    answer.error == "answer_awaited", f"a message to {agent_id}, which asks, was answered {answer}"
                )
            case _:
                given = self._note(agent_id, self._draw(client, calls, way))
                await self._give(client, given)
                self._expect(bool(given.run_ids), f"{given}: was not accepted")

    def _draw(self, client: SimClient, calls: Sequence[_Call], way: str) -> dict[str, str]:
        """What is said of each call; of one that the client runs itself what came of it."""
        verdicts: dict[str, str] = {}
        for call in calls:
            approve = way == "allow" or (way == "mixed" and client.rng.random() < 0.5)
            if call.name == OWN_TOOL["name"]:
                verdicts[call.tool_call_id] = f"{RETURN} done {client.rng.randrange(100)}" if approve else DENY
            else:
                verdicts[call.tool_call_id] = APPROVE if approve else DENY
        return verdicts

    def _note(self, agent_id: str, verdicts: dict[str, str]) -> Given:
        given = Given(agent_id=agent_id, verdicts=verdicts)
        self._given.append(given)
        return given

    async def _give_all(self, client: SimClient, all_given: Sequence[Given], *, at_once: bool) -> None:
        """One after the other, or none waiting for another."""
        async with asyncio.TaskGroup() as group:
            for given in all_given:
                task = group.create_task(self._give(client, given), name=f"{client.name} answers")
                if not at_once:
                    await task

    async def _give(self, client: SimClient, given: Given, messages: list[dict[str, object]] | None = None) -> None:
        """Until it is accepted or refused, and then until its run has ended; half of the time without a key."""
        body = {"messages": messages or [_answer(given.verdicts)], "client_tools": [OWN_TOOL]}
        key = (
            f"answer-{client.name}-{len(self._given)}-{client.rng.randrange(10**9)}"
            if client.rng.random() < 0.5
            else None
        )
        path = f"/v1/agents/{given.agent_id}/messages"
        if client.rng.random() < 0.5:
            answer = await client.ask("POST", f"{path}/async", body, key=key)
            runs = [answer.read(Made).id] if answer.status == 200 else []
        else:
            answer = await client.ask("POST", path, body, key=key)
            runs = _runs_of(answer)
        for run_id in runs:
            given.run_ids.append(run_id)
            await wait_end(client, run_id)
        if not runs:
            given.refused = f"{answer.status} {answer.error}"
            self._expect(answer.status == 400, f"{given} was answered {answer}")

    async def _pending(self, client: SimClient, agent_id: str) -> _Pending | None:
        answer = await client.ask("GET", f"/v1/agents/{agent_id}?include=agent.pending_approval")
        assert answer.status == 200, answer
        return answer.read(_Agent).pending_approval

    def _draw_text(self, client: SimClient) -> str:
        """What is asked of the agent: one call that needs leave, several, with others among them, and none."""
        texts = (
            "Call the count_up tool then reply with the message 'done'",
            "Call the count_up tool and call the look_up tool with name 'x' and call the count_up tool; then reply with"
            " the message 'done'",
            "Call the set_value tool with name 'x' and value '1' and call the count_up tool then call the count_up"
            " tool",
            "Call the ask_client tool and call the count_up tool then call the ask_client tool",
            "Call the look_up tool with name 'x' then call the count_up tool then call the look_up tool with name 'y'",
            "Go on as you like.",
        )
        return client.rng.choice(texts)

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, "verdicts", sentence)


def _answer(verdicts: dict[str, str]) -> dict[str, object]:
    """The message that says so."""
    approvals: list[dict[str, object]] = []
    for call_id, said in verdicts.items():
        if said in (APPROVE, DENY):
            approvals.append({"type": "approval", "tool_call_id": call_id, "approve": said == APPROVE})
        else:
            text = said.removeprefix(f"{RETURN} ")
            approvals.append({"type": "tool", "tool_call_id": call_id, "tool_return": text, "status": "success"})
    return {"type": "approval", "approvals": approvals}


def _runs_of(answer: HttpAnswer) -> list[str]:
    """Which run an answer is of, if the request was accepted."""
    if answer.status == 200:
        shown = msgspec.json.decode(answer.body, type=Answered).messages
        return list(dict.fromkeys(each.run_id for each in shown if each.run_id is not None))
    return [] if answer.run_id is None else [answer.run_id]
