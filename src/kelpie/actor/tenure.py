"""An activation's right to act: the fence on its commits, and the node's belief in its lease."""

import asyncio
from collections.abc import Callable

from kelpie.actor.call import ActorAddress
from kelpie.actor.directory import Claim
from kelpie.errors import ActivationLost, CommitUnknown, Conflict, NotOwner
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
        """Commit under the fence; the version. Raises as Store.commit does, and ActivationLost for a broken fence.

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
        except Conflict:
            await self._expect_fence()
            raise
        except (CommitUnknown, asyncio.CancelledError):
            self._ended = True
            raise
        finally:
            self._committing = False

    async def _expect_fence(self) -> None:
        """Raises ActivationLost if somebody else has claimed the actor: then nothing can be committed any more."""
        row = (await self._records.store.get([self._claim.fence.key]))[0]
        if row is None or row.version != self._claim.fence.version:
            self._ended = True
            raise ActivationLost(f"'{self.address}' was claimed by another activation")

    def check_may_act(self) -> None:
        """Asked before each side effect. Raises NotOwner when the node no longer believes in its lease."""
        if not self._believes():
            raise NotOwner(f"the node's lease ran out; '{self.address}' starts nothing")
