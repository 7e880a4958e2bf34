"""Event numbers of a run have no gaps, and every reader is told the same (invariant 9), however late it comes."""

import msgspec

from kelpie.actor.outbox import EVENTS
from kelpie.agent.journal import EventBody, Finished
from kelpie.agent.state import RUNS
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.ledger import Ledger, Reading
from kelpie_sim.watch import Watch

NAME = "events"
_BODIES = msgspec.json.Decoder(EventBody)


def check_events(rows: Rows, watch: Watch) -> None:
    """The stored events of every run that ended."""
    numbers: dict[str, list[int]] = {}
    ends: dict[str, list[int]] = {}
    for (run_id, _), event in rows.space(EVENTS).items():
        numbers.setdefault(run_id, []).append(event.number)
        if isinstance(_BODIES.decode(event.body), Finished):
            ends.setdefault(run_id, []).append(event.number)
    for (run_id,), run in rows.space(RUNS).items():
        found = numbers.get(run_id, [])
        watch.expect(found == list(range(1, len(found) + 1)), NAME, f"{run_id} has the events {found}")
        if run.completed_at_us is not None:
            at = ends.get(run_id)
            watch.expect(at == [run.events], NAME, f"{run_id} of {run.events} events ends at {at}")
            watch.expect(len(found) == run.events, NAME, f"{run_id} counts {run.events} events and has {len(found)}")


def check_readings(ledger: Ledger, watch: Watch) -> None:
    """Of each run, the reading that began at 0 and saw the end is the truth; all others are parts of it."""
    truth: dict[str, Reading] = {}
    for reading in ledger.readings:
        if reading.after == 0 and reading.ended:
            truth.setdefault(reading.run_id, reading)
    for reading in ledger.readings:
        whole = truth.get(reading.run_id)
        if whole is not None:
            _check_reading(reading, whole, watch)


def _check_reading(reading: Reading, whole: Reading, watch: Watch) -> None:
    numbers = [number for number, _ in reading.items]
    expected = [item for item in whole.items if item[0] > reading.after]
    if not reading.ended:
        expected = expected[: len(reading.items)]
    if reading.items == expected:
        return
    if numbers != [number for number, _ in expected]:
        wanted = [number for number, _ in expected]
        watch.blame(NAME, f"{reading.reader} read {numbers} of {reading.run_id}, not {wanted}, from {reading.after}")
        return
    at = next(at for at, item in enumerate(expected) if item != reading.items[at])
    watch.blame(NAME, f"{reading.reader} read {reading.items[at]} of {reading.run_id}, not {expected[at]}")
