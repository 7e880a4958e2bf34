"""An activation's right to act: the fence on its commits, and the node's belief in its lease."""

import asyncio
from collections.abc import Callable

from kelpie.actor.call import ActorAddress
from kelpie.actor.directory import Claim
from kelpie.errors import CommitUnknown, NotOwner
from kelpie.storage.records import Batch, Records


class Tenure:
    """Given to an actor for the life of one activation; the only way in which it commits."""

    def __init__(self, claim: Claim, records: Records, believes: Callable[[], bool]) -> None:
        self._claim = claim
        self._records = records
        self._believes = believes
        self._committing = False
        self._ended = False

    @property
    def address(self) -> ActorAddress:
        """Whose tenure it is."""
        return self._claim.address

    @property
    def epoch(self) -> int:
        """The actor's epoch under this claim."""
        return self._claim.epoch

    async def commit(self, batch: Batch) -> int:
        """Commit under the fence; the version. Raises as Store.commit does.

        After CommitUnknown, or when cancelled meanwhile, the tenure is over: only a new claim, which reads the
        state again, knows more.
        """
        assert not self._ended, "a tenure that ended commits nothing"
        assert not self._committing, "an actor commits one change at a time"
        if self._claim.fence not in batch.checks:
            batch.checks.append(self._claim.fence)
        self._committing = True
        try:
            return await self._records.commit(batch)
        except (CommitUnknown, asyncio.CancelledError):
            self._ended = True
            raise
        finally:
            self._committing = False

    def check_may_act(self) -> None:
        """Asked before each side effect. Raises NotOwner when the node no longer believes in its lease."""
        if not self._believes():
            raise NotOwner(f"the node's lease ran out; '{self.address}' starts nothing")
