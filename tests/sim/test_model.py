"""Goal: the simulated models commit what they announce, and the same for the same seed. Method: many asks by seed."""

import asyncio
import random

import msgspec

from kelpie.errors import ModelRefused, ModelUnavailable
from kelpie.llm.messages import Delta, ModelReply
from kelpie_sim.model import ModelFaults, SimModels

from ..unit.llm.build import request, tool


class SeededEntropy:
    """Entropy from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def take_bytes(self, count: int) -> bytes:
        """`count` bytes."""
        return self._random.randbytes(count)

    def fraction(self) -> float:
        """In [0, 1)."""
        return self._random.random()


class CountedMarks:
    """Marks that count."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def sometimes(self, name: str) -> bool:
        """Never."""
        return False

    def reached(self, name: str) -> None:
        """Count it."""
        self.counts[name] = self.counts.get(name, 0) + 1


async def history(seed: int, asks: int) -> tuple[list[ModelReply | str], SimModels, dict[str, int]]:
    """What came of many asks, with faults at every third, by seed."""
    marks, dice = CountedMarks(), random.Random(seed)
    faults = ModelFaults(delay_s=lambda: 0.0, fails=lambda: dice.random() < 0.3, garbage=lambda: dice.random() < 0.3)
    models = SimModels(SeededEntropy(seed), marks, faults)
    info = await models.find("kelpie/any")
    came: list[ModelReply | str] = []
    for number in range(asks):
        deltas: list[Delta] = []
        question = request(f"question {number}", tools=(tool("roll"), tool("toss")))
        try:
            came.append(await models.ask(info, question, deltas.append if number % 2 else None))
        except (ModelRefused, ModelUnavailable) as error:
            came.append(error.code)
    return came, models, marks.counts


def test_every_kind_of_fault_is_committed_and_a_seed_gives_one_history(run) -> None:
    """All marks are reached; two runs are equal; each ask is recorded with its outcome."""
    came, models, counts = run(history(7, 600))
    assert (came, counts) == run(history(7, 600))[::2]
    assert came != run(history(8, 600))[0]
    assert sorted(counts) == [
        "sim: model broke off a stream",
        "sim: model called an unknown tool",
        "sim: model refused",
        "sim: model said nothing",
        "sim: model unavailable",
        "sim: model used a call id twice",
        "sim: model window overflow",
        "sim: model wrote arguments that are no object",
        "sim: model wrote malformed arguments",
    ]
    outcomes = [one if isinstance(one, str) else "reply" for one in came]
    assert [one.outcome for one in models.asks] == outcomes


def test_a_cancelled_ask_is_recorded_as_such(run) -> None:
    """With the time that it took."""

    async def scenario() -> None:
        calm = ModelFaults(delay_s=lambda: 60.0, fails=lambda: False, garbage=lambda: False)
        models = SimModels(SeededEntropy(1), CountedMarks(), calm)
        task = asyncio.ensure_future(models.ask(await models.find("kelpie/x"), request("hi"), None))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [msgspec.structs.replace(one, begun_s=0.0, ended_s=0.0).outcome for one in models.asks] == ["cancelled"]

    run(scenario())
