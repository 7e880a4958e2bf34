"""The sandbox, simulated: how a job ends is injected, and takes virtual time. No program runs."""

import asyncio
from collections.abc import Callable
from typing import assert_never

import msgspec
from msgspec import Struct

from kelpie.sandbox.sandbox import Ended, Job

HANG_S = 10**9  # longer than any simulation


class Ends(Struct, frozen=True, kw_only=True):
    """The job ends so, after `after_ms`."""

    ended: Ended
    after_ms: int = 0


class Hangs(Struct, frozen=True, kw_only=True):
    """The job never ends by itself."""


Behaviour = Ends | Hangs
Behave = Callable[[Job], Behaviour]


def answer_ok(job: Job) -> Behaviour:
    """Every call returns "ok"; every source has a function `tool` without parameters."""
    result: dict[str, object] = {"ok": True, "value": "ok", "blocks": {}}
    if job.program == "derive_schema":
        parameters = {"type": "object", "properties": {}, "required": []}
        result = {"ok": True, "name": "tool", "description": "A tool.", "parameters": parameters}
    return Ends(ended=Ended(result=msgspec.json.encode(result)))


class SimSandbox:
    """A sandbox without processes; `running` counts what has begun and not ended."""

    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.jobs: list[Job] = []
        self.running = 0

    async def run(self, job: Job) -> Ended:
        """Behave as injected, until the job's deadline."""
        self.jobs.append(job)
        self.running += 1
        try:
            async with asyncio.timeout(job.deadline_ms / 1_000):
                return await self._behave(job)
        except TimeoutError:
            return Ended(result=None, died=f"it did not end within {job.deadline_ms // 1_000} s")
        finally:
            self.running -= 1

    async def forget_packages(self) -> None:
        """There are none."""

    async def _behave(self, job: Job) -> Ended:
        behaviour = self.behave(job)
        match behaviour:
            case Ends():
                await asyncio.sleep(behaviour.after_ms / 1_000)
                return behaviour.ended
            case Hangs():
                await asyncio.sleep(HANG_S)
                raise AssertionError("a hanging job ended")
        assert_never(behaviour)
