"""Schedules of an agent on the wire: messages that are sent at a time, or again and again."""

from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

from kelpie.agent.schedules import Schedule, Unschedule
from kelpie.agent.state import RunOptions
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.message_requests import MessageIn, SendIn, read_messages, read_options
from kelpie.api.letta.message_shapes import MessageType
from kelpie.api.letta.paging import PageLimit
from kelpie.api.letta.values import micros_date
from kelpie.api.route import Ask, Route
from kelpie.errors import InvalidInput
from kelpie.ids import AgentId

LIMIT_DEFAULT = 20
SECONDS_BELOW = 100_000_000_000  # a time under this is in seconds since 1970, not in milliseconds


class WhenIn(Struct, frozen=True, kw_only=True):
    """At a time, or by a cron expression in the agent's time zone."""

    type: Literal["one-time", "recurring"] = "one-time"
    scheduled_at: float | None = None
    cron_expression: str | None = None


class ScheduleIn(Struct, frozen=True, kw_only=True):
    """What is to be sent when."""

    messages: list[MessageIn]
    schedule: WhenIn
    callback_url: str | None = None
    include_return_message_types: list[MessageType] | None = None
    max_steps: float | None = None


class ListIn(Struct, frozen=True, kw_only=True):
    """Which page of the schedules."""

    after: str | None = None
    limit: PageLimit | None = None


class CreatedOut(Struct, frozen=True, kw_only=True):
    """A schedule that was made."""

    id: str
    next_scheduled_at: str | None


class ScheduleOut(Struct, frozen=True, kw_only=True):
    """A schedule as the wire shows it."""

    id: str
    agent_id: str
    message: Raw
    next_scheduled_time: str | None
    schedule: Raw


class SchedulesOut(Struct, frozen=True, kw_only=True):
    """A page of schedules."""

    has_next_page: bool
    scheduled_messages: list[ScheduleOut]


class SucceededOut(Struct, frozen=True, kw_only=True):
    """That it was done."""

    success: Literal[True] = True


class _Kept(Struct, frozen=True, kw_only=True):
    """The request, in the two parts in which it is shown."""

    message: Raw
    schedule: Raw


async def create_schedule(house: House, ask: Ask[None, dict[str, Any]]) -> CreatedOut:
    """A new schedule."""
    wire = _read(ask.body)
    cron, at_ms = _when(wire.schedule)
    if wire.callback_url:
        raise InvalidInput("callback_url is not supported by this server", field="callback_url")
    steps = None if wire.max_steps is None else int(wire.max_steps)
    send = msgspec.convert({"max_steps": steps}, SendIn)
    send = msgspec.structs.replace(send, messages=wire.messages)
    options: RunOptions = read_options(send, streamed=False, background=True)
    message = {name: value for name, value in ask.body.items() if name != "schedule"}
    kept = _Kept(message=Raw(msgspec.json.encode(message)), schedule=Raw(msgspec.json.encode(ask.body["schedule"])))
    schedule = await house.schedules.create(
        AgentId(ask.path["agent_id"]),
        read_messages(send),
        options,
        cron=cron,
        at_ms=at_ms,
        wire=Raw(msgspec.json.encode(kept)),
    )
    return CreatedOut(id=schedule.id, next_scheduled_at=_date(schedule))


async def list_schedules(house: House, ask: Ask[ListIn, None]) -> SchedulesOut:
    """A page of the agent's schedules, the oldest first."""
    agent_id, query = ask.path["agent_id"], ask.query
    await house.roster.get_settings(AgentId(agent_id))
    limit = query.limit or LIMIT_DEFAULT
    found = await house.schedules.of_agent(agent_id)
    ids = [one.id for one in found]
    rest = found[ids.index(query.after) + 1 if query.after in ids else 0 :]
    return SchedulesOut(has_next_page=len(rest) > limit, scheduled_messages=[_show(one) for one in rest[:limit]])


async def retrieve_schedule(house: House, ask: Ask[None, None]) -> ScheduleOut:
    """One schedule."""
    return _show(await house.schedules.get(ask.path["agent_id"], ask.path["scheduled_message_id"]))


async def delete_schedule(house: House, ask: Ask[None, None]) -> SucceededOut:
    """Send it no more."""
    schedule = await house.schedules.get(ask.path["agent_id"], ask.path["scheduled_message_id"])
    await house.errands.ask(schedule.id, Unschedule())
    await house.schedules.wait_gone(schedule.id)
    return SucceededOut()


def _read(body: dict[str, Any]) -> ScheduleIn:
    try:
        return msgspec.convert(body, ScheduleIn)
    except msgspec.ValidationError as error:
        raise Malformed(str(error), place=("body",)) from None


def _when(wire: WhenIn) -> tuple[str | None, int | None]:
    """The cron expression, or the time in milliseconds. Raises Malformed."""
    if wire.type == "recurring" and wire.cron_expression is not None:
        return wire.cron_expression, None
    if wire.type == "one-time" and wire.scheduled_at is not None:
        at = wire.scheduled_at
        return None, int(at * 1_000 if at < SECONDS_BELOW else at)
    raise Malformed("Field required", place=("body", "schedule"), kind="missing")


def _show(schedule: Schedule) -> ScheduleOut:
    kept = msgspec.json.decode(schedule.wire, type=_Kept)
    return ScheduleOut(
        id=schedule.id,
        agent_id=schedule.agent_id,
        message=kept.message,
        next_scheduled_time=_date(schedule),
        schedule=kept.schedule,
    )


def _date(schedule: Schedule) -> str | None:
    return None if schedule.due_ms is None else micros_date(schedule.due_ms * 1_000)


ROUTES = (
    Route(
        method="POST",
        path="/v1/agents/{agent_id}/schedule",
        name="create_schedule",
        summary="Send messages at a time, or again and again",
        tag="agents",
        handler=create_schedule,
        body=dict[str, Any],
        answer=CreatedOut,
        refusals=(400, 404),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/schedule",
        name="list_schedules",
        summary="List the messages that an agent is to be sent",
        tag="agents",
        handler=list_schedules,
        query=ListIn,
        answer=SchedulesOut,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/agents/{agent_id}/schedule/{scheduled_message_id}",
        name="retrieve_schedule",
        summary="Read a message that an agent is to be sent",
        tag="agents",
        handler=retrieve_schedule,
        answer=ScheduleOut,
        refusals=(404,),
    ),
    Route(
        method="DELETE",
        path="/v1/agents/{agent_id}/schedule/{scheduled_message_id}",
        name="delete_schedule",
        summary="Send a message no more",
        tag="agents",
        handler=delete_schedule,
        answer=SucceededOut,
        refusals=(404, 409),
    ),
)
