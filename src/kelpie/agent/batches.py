"""Batches: many requests to agents, sent at once and answered later. Each is a run in the background like any other.

A batch is a record that names its runs, written when all of them are accepted. What it has come to is read from them.
"""

import msgspec

from kelpie.agent.door import AgentDoor
from kelpie.agent.past import ACTIVE, Past
from kelpie.agent.state import Run
from kelpie.errors import NotFound
from kelpie.ids import AgentId, RunId, new_id
from kelpie.storage.collection import Collection, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Records, Space
from kelpie.world import World


class BatchRecord(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """Which runs belong together."""

    run_ids: tuple[RunId, ...]
    cancelled: bool = False


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """A batch and those of its runs that are still there, in the order of its requests."""

    record: BatchRecord
    runs: tuple[Run, ...]

    @property
    def status(self) -> str:
        """What it has come to; one that was cancelled is so when its last run has ended."""
        if any(run.status in ACTIVE for run in self.runs):
            return "running"
        if self.record.cancelled:
            return "cancelled"
        return "failed" if self.runs and all(run.status == "failed" for run in self.runs) else "completed"

    @property
    def completed_at_us(self) -> int | None:
        """When its last run ended."""
        ends = [run.completed_at_us for run in self.runs]
        return None if None in ends or not ends else max(end for end in ends if end is not None)


BATCHES = Space("batch", BatchRecord)  # at(batch_id)


class Batches:
    """The records, and the runs that they name."""

    def __init__(self, records: Records, world: World, past: Past, door: AgentDoor) -> None:
        self._world = world
        self._past = past
        self._door = door
        self._all = Collection(records, world.entropy, BATCHES, "Batch")

    async def create(self, run_ids: tuple[RunId, ...]) -> BatchView:
        """A batch of runs that were accepted."""
        assert run_ids
        record = BatchRecord(
            id=new_id("job", self._world.entropy), created_at_us=self._world.wall.now_us(), run_ids=run_ids
        )
        return await self._view(await self._all.create(record))

    async def get(self, batch_id: str) -> BatchView:
        """One. Raises NotFound."""
        return await self._view((await self._all.get(batch_id)).value)

    async def page(self, page: Page) -> list[BatchView]:
        """A page by time of creation."""
        return [await self._view(record) for record in await self._all.page(page)]

    async def cancel(self, batch_id: str) -> None:
        """Cancel what has not ended. Raises NotFound."""
        record = await self._all.edit(batch_id, lambda now: msgspec.structs.replace(now, cancelled=True))
        await self.cancel_runs((await self._view(record)).runs)

    async def cancel_runs(self, runs: tuple[Run, ...]) -> None:
        """Cancel those of the runs that have not ended; of agents that are gone there are none."""
        whose: dict[AgentId, list[RunId]] = {}
        for run in runs:
            if run.status in ACTIVE:
                whose.setdefault(run.agent_id, []).append(run.id)
        for agent_id, run_ids in whose.items():
            try:
                await self._door.cancel(agent_id, run_ids)
            except NotFound:
                continue

    async def _view(self, record: BatchRecord) -> BatchView:
        return BatchView(record=record, runs=tuple(await self._past.some_runs(record.run_ids)))
