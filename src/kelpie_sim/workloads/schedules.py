"""Messages that are sent at a time or every minute: made, looked at and cancelled while clocks jump and nodes crash."""

import asyncio
from typing import ClassVar

from msgspec import Struct

from kelpie.actor.recovery import REMINDERS
from kelpie.agent.schedules import SCHEDULES
from kelpie_sim.checkers.firings import Firings, Told, marker_of
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.client import SimClient
from kelpie_sim.play import Stage, is_idle
from kelpie_sim.workloads.speaking import NOTHING_HAPPENED, Made, make_agent

DEEDS_MIN, DEEDS_MAX = 4, 9  # of one client
AHEAD_S = (-5.0, 0.5, 2.0, 2.0, 8.0, 20.0, 45.0)  # from now to a time that is asked for
PAUSES_S = (0.2, 1.0, 1.0, 5.0, 20.0)
LASTS_S = (1.0, 100.0, 250.0)  # how long what recurs goes on
RACE_S_MAX = 1.6  # a little more than it takes until what is due at once is sent
ATTEMPTS_MAX = 200
REST_S_MAX = 180  # after the last night, until everything that was due is over
LATE_S_MAX = 10.0  # without any fault


class _Kept(Struct):
    id: str


class _Page(Struct):
    scheduled_messages: list[_Kept] = []


class Schedules:
    """Each client makes schedules for agents that others make some for as well, and cancels some of them."""

    virtual_ms_max: ClassVar[int] = 4 * 3_600_000

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._told: list[Told] = []
        self._gone_agents: dict[str, float] = {}
        self._firings = Firings(stage.sim, stage.cluster.watch)

    async def setup(self) -> None:
        """Two agents."""
        for number in range(2):
            self._agents.append(await make_agent(self._stage.clients[0], f"woken {number}", memory_blocks=[]))

    async def load(self) -> None:
        """All clients at once; at the end perhaps one of the agents is removed with its schedules."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")
        first = self._stage.clients[0]
        if first.rng.random() < 0.3:
            await self._remove_agent(first, self._agents[1])

    async def check(self) -> None:
        """The calendars are put right, the night passes, and all is sent; then the rest is cancelled."""
        client = self._stage.clients[0]
        for clock in self._stage.sim.clocks.values():
            clock.jump(self._stage.sim.server.tell_ms() - clock.now_ms())
        await self._pass_night()
        for id, seen in self._firings.seen.items():  # those whose maker was told nothing
            if seen.gone_s is None and seen.schedule.cron is not None:
                told = next(told for told in self._told if told.marker == marker_of(seen.schedule.messages))
                told.schedule_id = id
                await self._cancel(client, told)
        self._expect(await self._rests(), "there is still something to be sent")
        calm = not self._stage.sim.faults.plan.faults and not self._stage.shape.rolls
        self._firings.check(self._told, self._gone_agents, LATE_S_MAX if calm else None)
        if any(told.cancelled_s is not None for told in self._told):
            self._stage.sim.marks.reached("sim: a schedule was cancelled")
        if any(len(seen.runs) > 1 for seen in self._firings.seen.values()):
            self._stage.sim.marks.reached("sim: a schedule was sent again and again")

    async def _work(self, client: SimClient) -> None:
        rng = client.rng
        for number in range(rng.randint(DEEDS_MIN, DEEDS_MAX)):
            mine = [told for told in self._told if told.client == client.name and told.cancelled_s is None]
            known = [told for told in mine if told.schedule_id is not None]
            match rng.choice(("once", "once", "again", "cancel", "cancel", "look", "race", "race")):
                case "cancel" if known:
                    await self._cancel(client, rng.choice(known))
                case "look" if known:
                    await self._look(client)
                case "race":
                    made = await self._make(client, number, {"type": "one-time", "scheduled_at": 1.0})
                    await asyncio.sleep(rng.random() * RACE_S_MAX)
                    await self._cancel(client, made)
                case "again":
                    await self._make(client, number, {"type": "recurring", "cron_expression": "* * * * *"})
                case _:
                    at_ms = self._stage.sim.server.tell_ms() + rng.choice(AHEAD_S) * 1_000
                    await self._make(client, number, {"type": "one-time", "scheduled_at": max(at_ms, 1.0)})
            await asyncio.sleep(rng.choice(PAUSES_S) * rng.random() * 2)
        if any(told.recurs for told in self._told):
            await asyncio.sleep(rng.choice(LASTS_S) * rng.random())
        for told in [told for told in self._told if told.client == client.name and told.recurs]:
            if told.schedule_id is not None and told.cancelled_s is None:
                await self._cancel(client, told)

    async def _make(self, client: SimClient, number: int, when: dict[str, object]) -> Told:
        """Until one attempt is answered; each attempt is another schedule, for it may have been made. The last one."""
        agent_id = client.rng.choice(self._agents)
        for attempt in range(ATTEMPTS_MAX):
            marker = f"due-{client.name}-{number}-{attempt}"
            told = Told(marker=marker, client=client.name, agent_id=agent_id, recurs="cron_expression" in when)
            self._told.append(told)
            said = {"role": "user", "content": f"{marker} Call the count_up tool"}
            answer = await client.ask_once(
                "POST", f"/v1/agents/{agent_id}/schedule", {"messages": [said], "schedule": when}
            )
            if answer is not None and answer.status == 200:
                told.schedule_id = answer.read(Made).id
                return told
            if answer is not None and answer.status in NOTHING_HAPPENED:
                told.undone = f"{answer.status} {answer.error}"
            await client.rest()
        raise AssertionError(f"{client.name} could not make a schedule in {ATTEMPTS_MAX} attempts")

    async def _cancel(self, client: SimClient, told: Told) -> None:
        if told.cancel_begun_s is None:
            told.cancel_begun_s = client.now_s()
        answer = await client.ask("DELETE", f"/v1/agents/{told.agent_id}/schedule/{told.schedule_id}")
        self._expect(answer.status in (200, 404), f"a cancellation was answered {answer}")
        told.cancelled_s = client.now_s()

    async def _look(self, client: SimClient) -> None:
        """What was cancelled is not shown any more."""
        agent_id = client.rng.choice(self._agents)
        gone = {told.schedule_id for told in self._told if told.cancelled_s is not None}
        answer = await client.ask("GET", f"/v1/agents/{agent_id}/schedule?limit=100")
        self._expect(answer.status == 200, f"a list of schedules was answered {answer}")
        shown = {each.id for each in answer.read(_Page).scheduled_messages}
        self._expect(not shown & gone, f"schedules that were cancelled are shown: {sorted(shown & gone)}")

    async def _remove_agent(self, client: SimClient, agent_id: str) -> None:
        self._gone_agents[agent_id] = client.now_s()
        answer = await client.ask("DELETE", f"/v1/agents/{agent_id}")
        self._expect(answer.status in (200, 404), f"a removal of {agent_id} was answered {answer}")

    async def _pass_night(self) -> None:
        """Everything is switched off until all that is to be sent once is due, and has some time after it."""
        cluster, server = self._stage.cluster, self._stage.sim.server
        rows = Rows.take(server, REMINDERS.name, SCHEDULES.name)
        once = {id for (id,), schedule in rows.space(SCHEDULES).items() if schedule.cron is None}
        dues_ms = [each.due_ms for each in rows.space(REMINDERS).values() if each.address in once]
        for host in cluster.hosts:
            if host.is_up:
                host.crash()
        await asyncio.sleep(max(0, max(dues_ms, default=0) - server.tell_ms()) / 1_000)
        for host in cluster.hosts:
            if not host.is_up:
                cluster.boot(host)

    async def _rests(self) -> bool:
        """Whether all that is due is over in time."""
        for _ in range(REST_S_MAX):
            if is_idle(self._stage.sim) and not Rows.take(self._stage.sim.server, SCHEDULES.name).rows:
                return True
            await asyncio.sleep(1)
        return False

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, "schedules", sentence)
