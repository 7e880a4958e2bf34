"""Messages that are sent to an agent at a time, or again and again; each of them once, whatever crashes meanwhile.

A schedule is an errand that sleeps. A durable reminder wakes it when it is due, at least once; what is due becomes a
part of its state by the commit that removes the reminder; then it is sent, under a key of the schedule and the due
time. Times are those of the calendar, in the agent's time zone. After days in which nothing ran, a recurring one is
sent once, and goes on from now.
"""

import asyncio
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError
from msgspec import Raw, Struct

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import Done, Remind, arm, begin_work, take_reminder
from kelpie.actor.tenure import Tenure
from kelpie.agent.door import AgentDoor
from kelpie.agent.errand import Errand, ErrandState, Failed
from kelpie.agent.scheduling import AGENT_SCHEDULES, GONE
from kelpie.agent.state import AGENTS, NO_JSON, InputMessage, RunOptions
from kelpie.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import AgentId, RunId, ThreadId, new_id
from kelpie.limits import SCHEDULE_AHEAD_MS_MAX, SCHEDULES_PER_AGENT_MAX
from kelpie.storage.collection import Links
from kelpie.storage.records import Batch, Records, Space
from kelpie.world import World

DUE = "due"  # what the reminder is called
GONE_POLL_MS, GONE_POLLS_MAX = 50, 200  # how often, and how many times, one looks whether a schedule is gone


class Schedule(ErrandState, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What is sent when. `due_ms`: the time that comes next; `sending_ms`: the one that has come and is served."""

    agent_id: AgentId
    messages: tuple[InputMessage, ...]
    options: RunOptions = RunOptions()
    cron: str | None = None  # None: once
    zone: str = "UTC"
    due_ms: int | None
    sending_ms: int | None = None
    last_run_id: RunId | None = None
    last_error: str | None = None
    wire: Raw = NO_JSON  # the request as it was sent, given back
    created_at_us: int


class Unschedule(Struct, frozen=True, kw_only=True):
    """Send it no more. One that is being sent just now goes when it is known whether it was."""


class _Sent(Struct, frozen=True, kw_only=True):
    run_id: RunId


SCHEDULES = Space("schedule", Schedule, large=True)  # at(schedule_id)


class Schedules:
    """The schedules in the store."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world
        self._links = Links(records, AGENT_SCHEDULES)

    async def create(
        self,
        agent_id: AgentId,
        messages: tuple[InputMessage, ...],
        options: RunOptions,
        *,
        cron: str | None,
        at_ms: int | None,
        wire: Raw,
    ) -> Schedule:
        """A new schedule. Raises NotFound (the agent), InvalidInput (the time), LimitExceeded."""
        assert (cron is None) != (at_ms is None)
        agent = await self._records.get(AGENTS.at(agent_id))
        if agent is None:
            raise NotFound(f"Agent with id '{agent_id}' not found", id=agent_id)
        if len(await self._links.rights_of(agent_id)) >= SCHEDULES_PER_AGENT_MAX:
            raise LimitExceeded(
                f"an agent has at most {SCHEDULES_PER_AGENT_MAX} schedules",
                limit="SCHEDULES_PER_AGENT_MAX",
                maximum=SCHEDULES_PER_AGENT_MAX,
            )
        now_ms = self._world.wall.now_ms()
        due_ms = next_due_ms(cron, agent.value.timezone, now_ms) if cron is not None else at_ms
        assert due_ms is not None
        if due_ms > now_ms + SCHEDULE_AHEAD_MS_MAX:
            raise InvalidInput("schedule: the time is too far away", field="schedule")
        schedule = Schedule(
            id=new_id("schedule", self._world.entropy),
            agent_id=agent_id,
            messages=messages,
            options=options,
            cron=cron,
            zone=agent.value.timezone,
            due_ms=max(due_ms, 0),
            wire=wire,
            created_at_us=self._world.wall.now_us(),
        )
        batch = Batch()
        batch.check(agent)
        batch.check_absent(SCHEDULES.at(schedule.id))
        batch.put(SCHEDULES.at(schedule.id), schedule)
        self._links.put(batch, agent_id, schedule.id, schedule.created_at_us)
        store_ms = await self._records.store.now_ms()
        arm(batch, ActorAddress(schedule.id), DUE, store_ms + max(0, due_ms - now_ms))
        await self._records.commit(batch)
        return schedule

    async def get(self, agent_id: str, schedule_id: str) -> Schedule:
        """One schedule of the agent. Raises NotFound."""
        found = await self._records.get(SCHEDULES.at(schedule_id))
        if found is None or found.value.agent_id != agent_id:
            raise NotFound(f"Scheduled message with id '{schedule_id[:80]}' not found", id=schedule_id[:80])
        return found.value

    async def wait_gone(self, schedule_id: str) -> None:
        """Wait until one that is to be sent no more is gone, and so can be sent no more. Raises Conflict."""
        for _ in range(GONE_POLLS_MAX):
            if await self._records.get(SCHEDULES.at(schedule_id)) is None:
                return
            await asyncio.sleep(GONE_POLL_MS / 1_000)
        raise Conflict(f"'{schedule_id}' is being sent for the last time; whether it was is not known yet")

    async def of_agent(self, agent_id: str) -> list[Schedule]:
        """The agent's schedules that are still to come, the oldest first."""
        ids = await self._links.rights_of(agent_id)
        found = await self._records.get_all([SCHEDULES.at(one) for one in ids])
        return [each.value for each in found if each is not None]


class ScheduleErrand(Errand[Schedule]):
    """One schedule, awake."""

    def __init__(self, tenure: Tenure, records: Records, world: World, door: AgentDoor) -> None:
        super().__init__(tenure, records, world, SCHEDULES, "Scheduled message")
        self._door = door
        self._links = Links(records, AGENT_SCHEDULES)

    def has_work(self, state: Schedule) -> bool:
        """What is due is being sent."""
        return state.sending_ms is not None

    async def perform(self, state: Schedule) -> Struct:
        """Send it; sent before, it is the same run."""
        key = f"schedule:{state.id}:{state.sending_ms}"
        return _Sent(run_id=await self._door.send(ThreadId(state.agent_id), state.messages, state.options, key=key))

    async def note(self, state: Schedule, report: Struct, batch: Batch) -> Schedule | None:
        """It was sent, or refused; one that is to be sent once is over, and so is one whose agent is gone."""
        gone = isinstance(report, Failed) and report.code == "not_found"
        if state.cron is None or gone:
            self._links.remove(batch, state.agent_id, state.id)
            return None
        error = report.sentence if isinstance(report, Failed) else None
        run_id = report.run_id if isinstance(report, _Sent) else state.last_run_id
        now_ms = self._world.wall.now_ms()
        due_ms = next_due_ms(state.cron, state.zone, now_ms)
        store_ms = await self._records.store.now_ms()
        arm(batch, self._tenure.address, DUE, store_ms + max(0, due_ms - now_ms))
        assert due_ms > now_ms
        assert state.sending_ms is not None
        return msgspec.structs.replace(state, sending_ms=None, due_ms=due_ms, last_run_id=run_id, last_error=error)

    async def answer(self, state: Schedule, body: Struct, batch: Batch) -> tuple[Schedule | None, Struct]:
        """It is due; or it is to be forgotten."""
        assert state.id == self._tenure.address
        assert (state.due_ms is None) != (state.sending_ms is None)
        match body:
            case Unschedule() if state.sending_ms is not None:
                return msgspec.structs.replace(state, cron=None), Done()  # what is on its way ends it
            case Unschedule():
                self._links.remove(batch, state.agent_id, state.id)
                return None, Done()
            case Remind():
                if not await take_reminder(self._records, batch, self._tenure.address, body):
                    return state, Done()
                if body.name == GONE:
                    self._links.remove(batch, state.agent_id, state.id)
                    return None, Done()
                if state.due_ms is None or state.sending_ms is not None:
                    return msgspec.structs.replace(state), Done()
                now_ms = self._world.wall.now_ms()
                if now_ms < state.due_ms:  # the calendar went back, or the store's clock is ahead of it
                    store_ms = await self._records.store.now_ms()
                    arm(batch, self._tenure.address, DUE, max(store_ms + state.due_ms - now_ms, body.due_ms + 1))
                    return msgspec.structs.replace(state), Done()
                begin_work(batch, self._tenure.address)
                return msgspec.structs.replace(state, sending_ms=state.due_ms, due_ms=None), Done()
            case _:
                raise AssertionError(f"a schedule is not asked {type(body).__name__}")


def next_due_ms(cron: str, zone: str, now_ms: int) -> int:
    """The next time that the expression names, after now, in that time zone. Raises InvalidInput. Pure."""
    start = datetime.fromtimestamp(now_ms / 1_000, ZoneInfo(zone))
    try:
        return int(next(CronSim(cron, start)).timestamp() * 1_000)
    except CronSimError as error:
        raise InvalidInput(f"schedule: {cron[:80]!r} is not a cron expression: {error}", field="schedule") from error
    except StopIteration:
        raise InvalidInput(f"schedule: {cron[:80]!r} names no time to come", field="schedule") from None
