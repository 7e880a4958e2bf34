"""Groups of agents talk by each of the rules, and one is told what another does, while nodes crash and names change."""

import asyncio
import json
from typing import ClassVar

from kelpie.actor.recovery import REMINDERS
from kelpie.agent.groups import GROUPS
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.checkers.talks import NAME, Spoken, Talks
from kelpie_sim.client import SimClient
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage, is_idle
from kelpie_sim.workloads.speaking import NOTHING_HAPPENED, Made, make_agent, new_sent, send, wait_end

DEEDS_MIN, DEEDS_MAX = 3, 8  # of one client
PATTERNS = ("round_robin", "dynamic", "supervisor", "sleeptime")
MEMBERS_MAX = 3
ATTEMPTS_MAX = 100
REST_S_MAX = 240
ASK_ALL = "send_message_to_all_agents_in_group"


class _Group:
    """A group, and who is in it."""

    def __init__(self, id: str, pattern: str, members: list[str], manager: str) -> None:
        self.id = id
        self.pattern = pattern
        self.members = members
        self.manager = manager


class Groups:
    """Each client speaks to groups that others speak to as well, and to agents that are watched."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._groups: list[_Group] = []
        self._spoken: list[Spoken] = []
        self._maybe: list[str] = []  # agents of groups that may have been made
        self._numbers: dict[tuple[str, str], int] = {}
        self._talks = Talks(stage.sim, stage.cluster.watch)

    async def setup(self) -> None:
        """Two groups."""
        first = self._stage.clients[0]
        for pattern in first.rng.sample(PATTERNS, k=2):
            self._groups.append(await self._make(first, pattern))

    async def load(self) -> None:
        """All clients at once; at the end perhaps one of the groups goes."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")
        first = self._stage.clients[0]
        if first.rng.random() < 0.2:
            gone = self._groups[0]
            answer = await first.ask("DELETE", f"/v1/groups/{gone.id}")
            self._expect(answer.status in (200, 204, 404), f"a removal of {gone.id} was answered {answer}")
            after = await first.ask("GET", f"/v1/groups/{gone.id}")
            self._expect(after.status == 404, f"{gone.id} was removed and is answered {after.status}")

    async def check(self) -> None:
        """When nobody is to be told of anything any more, the talks are as they should be."""
        self._expect(await self._rests(), "there is still somebody to be told")
        rows = Rows.take(self._stage.sim.server)
        made = {group.id for group in self._groups}
        for (id,), group in rows.space(GROUPS).items():
            self._expect(id in made or group.agent_ids[0] in self._maybe, f"{id} was made, and nothing had happened")
        direct = [sent.marker for sent in self._stage.ledger.sent]
        self._talks.check(rows, self._spoken, direct)
        for each in self._groups:
            self._stage.sim.marks.reached(f"sim: a group talked by the rule {each.pattern}")

    async def _make(self, client: SimClient, pattern: str) -> _Group:
        """A group of agents of its own; an attempt that may have made one leaves its agents to it."""
        rng = client.rng
        rule: dict[str, object] = {"manager_type": pattern}
        if pattern in ("round_robin", "dynamic") and rng.random() < 0.6:
            rule["max_turns"] = rng.randint(1, 5)
        if pattern == "sleeptime":
            rule["sleeptime_agent_frequency"] = rng.choice((1, 2, 2, 3))
        agents: list[str] = []
        for _ in range(ATTEMPTS_MAX):
            for number in range(len(agents), rng.randint(2, MEMBERS_MAX + 1)):
                agents.append(await make_agent(client, f"agent {number}", memory_blocks=[], tools=["count_up"]))
            manager, *members = agents
            named = rule if pattern == "round_robin" else rule | {"manager_agent_id": manager}
            body = {"agent_ids": members, "description": "to talk", "manager_config": named}
            answer = await client.ask_once("POST", "/v1/groups/", body)
            if answer is not None and answer.status == 200:
                return _Group(answer.read(Made).id, pattern, members, manager)
            if answer is None or answer.status not in NOTHING_HAPPENED:
                self._maybe += agents
                agents = []
            await client.rest()
        raise AssertionError(f"{client.name} could not make a group in {ATTEMPTS_MAX} attempts")

    async def _work(self, client: SimClient) -> None:
        rng = client.rng
        count = rng.randint(DEEDS_MIN, DEEDS_MAX)
        pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.5, 1.0)) / count
        for _ in range(count):
            group = rng.choice(self._groups)
            match rng.choice(("speak",) * 5 + ("rename", "describe")):
                case "rename":
                    renamed = {"name": f"called {rng.randrange(100)}"}
                    answer = await client.ask(
                        "PATCH", f"/v1/agents/{rng.choice([*group.members, group.manager])}", renamed
                    )
                    self._expect(answer.status == 200, f"a new name was answered {answer}")
                case "describe":
                    described = {"description": f"to talk of {rng.randrange(100)}"}
                    answer = await client.ask("PATCH", f"/v1/groups/{group.id}", described)
                    self._expect(answer.status == 200, f"a new description was answered {answer}")
                case _ if group.pattern == "sleeptime" and rng.random() < 0.8:
                    await self._speak_to_leader(client, group)
                case _:
                    await self._speak(client, group)
            await asyncio.sleep(pace_s * rng.random() * 2)
        for run_id in [id for sent in self._stage.ledger.sent if sent.client == client.name for id in sent.run_ids]:
            await wait_end(client, run_id)

    async def _speak(self, client: SimClient, group: _Group) -> None:
        """Until the talk is over; or once, without a key."""
        number = self._numbers[client.name, group.id] = self._numbers.get((client.name, group.id), 0) + 1
        spoken = Spoken(group_id=group.id, marker=f"t-{client.name}-{group.id[6:14]}-{number}")
        self._spoken.append(spoken)
        path, said = f"/v1/groups/{group.id}/messages", f"{spoken.marker} {self._draw_text(client, group)}"
        body = {"messages": [{"role": "user", "content": said}]}
        if client.rng.random() < 0.2:
            answer = await client.ask_once("POST", path, body)
            if answer is not None and answer.run_id is None and answer.status in NOTHING_HAPPENED:
                spoken.undone = f"{answer.status} {answer.error}"
            return
        answer = await client.ask("POST", path, body, key=f"key-{spoken.marker}")
        spoken.known = answer.status == 200 or answer.run_id is not None
        self._expect(spoken.known, f"{spoken} was answered {answer}")

    async def _speak_to_leader(self, client: SimClient, group: _Group) -> None:
        number = self._numbers[client.name, group.manager] = self._numbers.get((client.name, group.manager), 0) + 1
        mode = client.rng.choice(("sync", "async", "async", "stream"))
        sent = new_sent(self._stage.ledger, client, group.manager, number, mode)
        await send(self._stage.ledger, client, sent, self._draw_text(client, group))

    def _draw_text(self, client: SimClient, group: _Group) -> str:
        """What is asked; of a manager perhaps whom it is to choose, or to ask all."""
        texts = ["Reply with the message 'well'", "Call the count_up tool", "Go on as you like."]
        if group.pattern == "dynamic":
            texts += [f"Reply with the message '{client.rng.choice(group.members)}'", "Reply with the message 'DONE!'"]
        if group.pattern == "supervisor":
            texts += [f"Call the {ASK_ALL} tool with {json.dumps({'message': 'Call the count_up tool'})}"] * 3
        return client.rng.choice(texts)

    async def _rests(self) -> bool:
        """Whether all that is due is over in time."""
        groups = {group.id for group in self._groups}
        for _ in range(REST_S_MAX):
            reminders = Rows.take(self._stage.sim.server, REMINDERS.name).space(REMINDERS).values()
            if is_idle(self._stage.sim) and not any(each.address in groups for each in reminders):
                return True
            await asyncio.sleep(1)
        return False

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, NAME, sentence)
