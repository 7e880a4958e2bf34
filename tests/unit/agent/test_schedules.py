"""Schedules: the next time is that of the calendar; what is due is sent once and goes on; all end with their agent."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from kelpie.actor.recovery import REMINDERS
from kelpie.agent.schedules import SCHEDULES, next_due_ms
from kelpie.errors import InvalidInput
from tests.unit.agent.rehearsing import heard, rehearsing
from tests.unit.api.knocking import Visitor


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("cron", "zone", "now", "due"),
    [
        ("0 9 * * *", "UTC", "2026-11-26T08:59:59", "2026-11-26T09:00:00"),
        ("0 9 * * *", "UTC", "2026-11-26T09:00:00", "2026-11-27T09:00:00"),
        ("0 9 * * *", "Europe/Berlin", "2026-11-26T07:00:00", "2026-11-26T08:00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T23:00:00", "2026-03-29T01:00:00"),  # a day without half past two
        ("*/15 * * * *", "Asia/Kathmandu", "2026-11-26T00:01:00", "2026-11-26T00:15:00"),
    ],
)
def test_the_next_time_is_that_of_the_calendar(cron: str, zone: str, now: str, due: str) -> None:
    """In the agent's zone, always after now, also where the clocks are changed."""
    assert next_due_ms(cron, zone, ms(now)) == ms(due)


@pytest.mark.parametrize("cron", ["", "every day", "99 * * * *", "0 0 30 2 *"])
def test_an_expression_that_names_no_time_is_refused(cron: str) -> None:
    with pytest.raises(InvalidInput):
        next_due_ms(cron, "UTC", ms("2026-11-26T00:00:00"))


async def rows(visitor: Visitor, space: object) -> int:
    name = space.name.encode()  # type: ignore[attr-defined]
    found = await visitor.node.house.records.store.scan(name + b" ", name + b"!", limit=100)
    return len([row for row in found if b"sweep" not in row.key])


async def until(look: object, wanted: object) -> None:
    for _ in range(200):
        seen = await look()  # type: ignore[operator]
        if seen == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {seen}")


def said(word: str, **when: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": word}], "schedule": when}


def test_what_is_due_is_sent_once_and_forgotten(run) -> None:
    """A time that has passed is due at once; nothing of it stays."""

    async def play() -> None:
        async with rehearsing() as visitor:
            agent = (await visitor.agent())["id"]
            path = f"/v1/agents/{agent}/schedule"
            await visitor.ok("POST", path, said("now", type="one-time", scheduled_at=time.time() * 1_000 - 5))
            await visitor.ok("POST", path, said("soon", type="one-time", scheduled_at=time.time() * 1_000 + 300))
            await until(lambda: heard(visitor, agent), ["now", "soon"])
            await until(lambda: rows(visitor, SCHEDULES), 0)
            await until(lambda: rows(visitor, REMINDERS), 0)
            assert await visitor.ok("GET", path) == {"has_next_page": False, "scheduled_messages": []}

    run(play())


def test_one_that_recurs_goes_on(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time is sent once; the next one follows from the expression."""
    times = iter([100, 400, 700, 10**9])
    monkeypatch.setattr("kelpie.agent.schedules.next_due_ms", lambda cron, zone, now_ms: now_ms + next(times))

    async def play() -> None:
        async with rehearsing() as visitor:
            agent = (await visitor.agent())["id"]
            path = f"/v1/agents/{agent}/schedule"
            made = await visitor.ok("POST", path, said("again", type="recurring", cron_expression="* * * * *"))
            await until(lambda: heard(visitor, agent), ["again"] * 3)
            await asyncio.sleep(1.5)
            assert len(await heard(visitor, agent)) == 3
            kept = await visitor.ok("GET", f"{path}/{made['id']}")
            assert kept["schedule"] == {"type": "recurring", "cron_expression": "* * * * *"}
            await visitor.ok("DELETE", f"/v1/agents/{agent}")
            await until(lambda: rows(visitor, SCHEDULES), 0)

    run(play())


def test_one_that_is_forgotten_is_not_sent(run) -> None:
    """Its reminder finds nobody, and goes."""

    async def play() -> None:
        async with rehearsing() as visitor:
            agent = (await visitor.agent())["id"]
            path = f"/v1/agents/{agent}/schedule"
            when = {"type": "one-time", "scheduled_at": time.time() * 1_000 + 1_200}
            made = await visitor.ok("POST", path, said("never", **when))
            assert await visitor.ok("DELETE", f"{path}/{made['id']}") == {"success": True}
            assert (await visitor.call("GET", f"{path}/{made['id']}")).status == 404
            await until(lambda: rows(visitor, REMINDERS), 0)
            assert await heard(visitor, agent) == []

    run(play())
