"""Schedules: what was due, what was sent and what was forgotten, told from the store's history (durable reminders).

A firing begins when the owner commits that its time has come, which the calendar of its node must show by then. What
began is sent as one run, however often its owner is lost; nothing is sent of what did not begin, and nothing at all
after somebody was told that the schedule is gone.
"""

from msgspec import Struct

from kelpie.actor.recovery import REMINDERS
from kelpie.agent.schedules import SCHEDULES, Schedule
from kelpie.agent.state import RUNS, InputMessage
from kelpie.llm.messages import TextPart
from kelpie.storage.store import Delete
from kelpie_sim.checkers.rows import parts_of, put_records, space_of
from kelpie_sim.limits import LOOP_START_S
from kelpie_sim.simulation import Simulation
from kelpie_sim.store import Applied
from kelpie_sim.watch import Watch

NAME = "schedules"
READ_BEFORE_S = 60.0  # how long before its commit the owner may have looked at its calendar
CLOCK_S = 0.001  # the history's times are rounded to milliseconds


class Told(Struct):
    """What a client knows of a schedule that it tried to make. `marker` is the first word of its message."""

    marker: str
    client: str
    agent_id: str
    recurs: bool
    schedule_id: str | None = None  # it was told that it is made
    undone: str = ""  # it was told that nothing had happened
    cancel_begun_s: float | None = None
    cancelled_s: float | None = None  # it was told that it is gone


class Seen(Struct):
    """What the store saw of a schedule."""

    schedule: Schedule
    begun: dict[int, float] = {}  # due time -> when its firing began
    runs: dict[str, float] = {}  # -> when it was accepted
    gone_s: float | None = None


class Firings:
    """Shown every applied commit."""

    def __init__(self, sim: Simulation, watch: Watch) -> None:
        self._sim = sim
        self._watch = watch
        self.seen: dict[str, Seen] = {}  # by id
        self._by_marker: dict[str, Seen] = {}
        sim.server.observers.append(self._observe)

    def check(self, told: list[Told], gone_agents: dict[str, float], late_s_max: float | None) -> None:
        """When all is over. `late_s_max`: how late a firing may be, if nothing was in its way."""
        for each in told:
            seen = self._by_marker.get(each.marker)
            if each.undone:
                self._expect(seen is None, f"{each.marker} was answered {each.undone} and was made all the same")
            if each.schedule_id is not None:
                found = None if seen is None else seen.schedule.id
                self._expect(found == each.schedule_id, f"{each.marker} was made as {each.schedule_id}, it is {found}")
            if each.cancelled_s is not None and seen is not None:
                late = {run: at_s for run, at_s in seen.runs.items() if at_s > each.cancelled_s + CLOCK_S}
                self._expect(not late, f"{seen.schedule.id} was cancelled at {each.cancelled_s:.3f} and sent {late}")
                self._expect(seen.gone_s is not None, f"{seen.schedule.id} was cancelled and is there")
            if seen is not None:
                self._check_seen(each, seen, late_s_max, each.agent_id in gone_agents)
        strangers = set(self._by_marker) - {each.marker for each in told}
        self._expect(not strangers, f"nobody asked for {sorted(strangers)}")

    def _check_seen(self, told: Told, seen: Seen, late_s_max: float | None, doomed: bool) -> None:
        id = seen.schedule.id
        stopped = told.cancel_begun_s is not None or doomed
        self._expect(seen.gone_s is not None or told.recurs, f"{id} is still there: {seen}")
        sent, begun = len(seen.runs), len(seen.begun)
        self._expect(begun - stopped <= sent <= begun, f"{id} was due {begun} times and sent {sent} times: {seen}")
        if not told.recurs and not stopped:
            self._expect(sent == 1, f"{id} was sent {sent} times")
        for run, began_s in zip(seen.runs.values(), seen.begun.values(), strict=False):
            self._expect(began_s - CLOCK_S <= run, f"{id} was sent at {run:.3f}, and was due at {began_s:.3f}")
            if late_s_max is not None:
                self._expect(run <= began_s + late_s_max, f"{id} was sent {run - began_s:.3f} s after it was due")

    def _observe(self, applied: Applied) -> None:
        at_s = LOOP_START_S + applied.at_ms / 1_000
        for (id,), schedule in put_records(applied.writes, SCHEDULES).items():
            seen = self.seen.get(id)
            if seen is None:
                seen = self.seen[id] = self._by_marker[marker_of(schedule.messages)] = Seen(schedule=schedule)
            self._expect(seen.gone_s is None, f"{id} was forgotten and is back")
            due_ms = schedule.sending_ms
            if due_ms is not None and due_ms != seen.schedule.sending_ms:
                self._expect(seen.schedule.due_ms == due_ms, f"{id} began at {due_ms}, due was {seen.schedule.due_ms}")
                shown_ms = self._shown_ms(applied.host)
                self._expect(shown_ms >= due_ms, f"{id} began {due_ms - shown_ms} ms before it was due")
                seen.begun.setdefault(due_ms, at_s)
            if schedule.due_ms is not None:
                armed = any(each.address == id for each in put_records(applied.writes, REMINDERS).values())
                self._expect(armed, f"{id} is due at {schedule.due_ms}, and nothing will wake it")
            seen.schedule = schedule
        for write in applied.writes:
            if isinstance(write, Delete) and space_of(write.key) == SCHEDULES.name:
                self.seen[parts_of(write.key)[0]].gone_s = at_s
        for (run_id,), run in put_records(applied.writes, RUNS).items():
            of = self._by_marker.get(marker_of(run.input))
            if of is not None:
                of.runs.setdefault(run_id, at_s)

    def _shown_ms(self, host: str) -> int:
        """The latest that the calendar of the host has shown in the last while, whichever way it jumped since."""
        clock = self._sim.clocks[host]
        since_s = self._sim.loop.time() - READ_BEFORE_S
        return max([clock.now_ms(), *[shown_ms for at_s, shown_ms in clock.jumped if at_s >= since_s]])

    def _expect(self, holds: bool, sentence: str) -> None:
        self._watch.expect(holds, NAME, sentence)


def marker_of(messages: tuple[InputMessage, ...]) -> str:
    """The first word."""
    part = messages[0].parts[0] if messages and messages[0].parts else None
    return part.text.split(" ", 1)[0] if isinstance(part, TextPart) else ""
