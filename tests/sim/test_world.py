"""Clocks err as told, streams of entropy do not shift each other, marks are forced by seed and counted."""

import asyncio

from kelpie_sim.draw import stream
from kelpie_sim.limits import CALENDAR_START_MS
from kelpie_sim.simulation import Simulation
from kelpie_sim.world import SimClock, SimEntropy, SimMarks
from tests.sim.test_loop import outcome_of


def test_a_clock_drifts_jumps_and_keeps_what_it_showed() -> None:
    async def main(sim: Simulation) -> object:
        clock = SimClock(sim.loop, drift_ppm=100_000, offset_ms=500)
        shown = [clock.now_ms()]
        await asyncio.sleep(10)
        shown.append(clock.now_ms())
        clock.jump(-3_600_000)
        shown.append(clock.now_ms())
        clock.drift(-500_000)
        await asyncio.sleep(10)
        shown.append(clock.now_ms())
        assert clock.now_us() // 1_000 == shown[-1]
        return [at_ms - CALENDAR_START_MS for at_ms in shown]

    assert outcome_of(main).result == [500, 11_500, 11_500 - 3_600_000, 16_500 - 3_600_000]


def test_entropy_is_split_so_that_draws_do_not_shift_others() -> None:
    one, other = SimEntropy(7, "node-1", 1), SimEntropy(7, "node-1", 1)
    for _ in range(5):
        one.take_bytes(16)
        one.fraction()
    assert one.split("jitter").take_bytes(16) == other.split("jitter").take_bytes(16)
    drawn = {
        SimEntropy(seed, host, life).take_bytes(16)
        for seed in (1, 2)
        for host in ("node-1", "node-2")
        for life in (1, 2)
    }
    assert len(drawn) == 8
    assert all(0 <= one.fraction() < 1 for _ in range(100))


def test_streams_are_told_apart_by_their_whole_path() -> None:
    paths = (("a", "b"), ("a/b",), ("a", 1), ("a", "1"), ("a", "b", 1))
    assert len({stream(1, *path).random() for path in paths}) == len(paths)


def test_marks_are_forced_in_some_runs_only_and_never_after_calm() -> None:
    forced = 0
    for seed in range(40):
        marks = SimMarks(seed)
        forced += any([marks.sometimes("rare") for _ in range(200)])
        marks.calm()
        assert not any([marks.sometimes("rare") for _ in range(200)])
    assert 10 <= forced <= 30


def test_a_new_mark_does_not_shift_another() -> None:
    alone, together = SimMarks(11), SimMarks(11)
    drawn = [alone.sometimes("one") for _ in range(50)]
    mixed = []
    for _ in range(50):
        together.sometimes("two")
        mixed.append(together.sometimes("one"))
    assert mixed == drawn


def test_marks_count_what_was_reached() -> None:
    marks = SimMarks(1, forced=False)
    for name in ("b", "a", "b"):
        marks.reached(name)
    assert (marks.counts, marks.sometimes("a"), marks.forced_counts) == ({"b": 2, "a": 1}, False, {})
