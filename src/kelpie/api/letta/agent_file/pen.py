"""Many records in commits that stay within their bounds."""

from kelpie.limits import COMMIT_BYTES_MAX, COMMIT_OPERATIONS_MAX, RECORD_BYTES_MAX
from kelpie.storage.records import Batch, Records


class Pen:
    """Writes many records in commits that stay within their bounds."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.batch = Batch()

    async def turn(self) -> None:
        """Commit, if another record of any size might not fit."""
        operations = len(self.batch.writes) + len(self.batch.checks)
        if self.batch.bytes_total > COMMIT_BYTES_MAX - 2 * RECORD_BYTES_MAX or operations > COMMIT_OPERATIONS_MAX // 2:
            await self.finish()

    async def finish(self) -> None:
        """Commit what is left."""
        if self.batch.writes:
            await self._records.commit(self.batch)
        self.batch = Batch()
