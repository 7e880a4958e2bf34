"""The life of one actor in memory: claimed, loaded, served, ended. The state table is data.

This is the one room where any exception is caught: a bug in an actor ends its activation and nothing else.
The next call, or the recovery sweep, claims a new epoch and starts from what was committed.
"""

import enum
import logging
from collections.abc import Callable
from typing import Protocol

from kelpie.actor.call import ActorAddress
from kelpie.actor.directory import Directory
from kelpie.actor.mailbox import Letter, Mailbox
from kelpie.actor.tenure import Tenure
from kelpie.errors import ActivationLost, Broken, KelpieError, NotOwner, Refused, Unavailable
from kelpie.storage.records import Records

log = logging.getLogger("kelpie.activation")


class Phase(enum.Enum):
    """Where an activation stands."""

    CLAIMING = "claiming"
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"
    ENDED = "ended"


class Happening(enum.Enum):
    """What may happen to an activation."""

    CLAIMED = "claimed"
    LOADED = "loaded"
    ASKED_TO_STOP = "asked to stop"
    OVER = "over"


NEXT = {
    (Phase.CLAIMING, Happening.CLAIMED): Phase.LOADING,
    (Phase.CLAIMING, Happening.OVER): Phase.ENDED,
    (Phase.LOADING, Happening.LOADED): Phase.READY,
    (Phase.LOADING, Happening.OVER): Phase.ENDED,
    (Phase.READY, Happening.ASKED_TO_STOP): Phase.STOPPING,
    (Phase.READY, Happening.OVER): Phase.ENDED,
    (Phase.STOPPING, Happening.OVER): Phase.ENDED,
}


class Actor(Protocol):
    """What floor 5 puts into an activation."""

    @property
    def busy(self) -> bool:
        """Whether something is under way that a clean stop would interrupt."""
        ...

    async def load(self) -> None:
        """Read the committed state. A failure fails the activation; there is no default state."""
        ...

    async def run(self, mailbox: Mailbox) -> None:
        """Serve the mailbox until `stop`; returns only when not busy."""
        ...

    def wake(self) -> None:
        """The mailbox has something, or `stop` was called."""
        ...

    def stop(self) -> None:
        """Return from `run` as soon as nothing is under way."""
        ...


class ActorKind(Protocol):
    """Makes actors of one kind."""

    async def check(self, address: ActorAddress) -> None:
        """Raises NotFound if there is no such actor, so that nothing is claimed for a name that is nobody's."""
        ...

    def make(self, tenure: Tenure, *, blamed: bool) -> Actor:
        """An actor under this tenure; `blamed`: its last activation here was ended by a bug, not by the world."""
        ...


class Activation:
    """One actor in the memory of one node."""

    def __init__(self, address: ActorAddress, kind: ActorKind, *, now_ms: int) -> None:
        self.address = address
        self.mailbox = Mailbox()
        self.phase = Phase.CLAIMING
        self.crashed = False
        self.clean = False  # it ended by itself, with no commit on its way
        self.elsewhere = False  # it ended because what it needs is held by another node
        self.broken: Broken | None = None
        self.used_at_ms = now_ms
        self._kind = kind
        self._actor: Actor | None = None

    @property
    def accepts(self) -> bool:
        """Whether letters may be put into the mailbox."""
        return not self.mailbox.closed

    @property
    def idle(self) -> bool:
        """Whether it could be put to sleep now without anybody noticing."""
        return self.phase is Phase.READY and len(self.mailbox) == 0 and self._actor is not None and not self._actor.busy

    @property
    def busy(self) -> bool:
        """Whether it has something under way."""
        return self.phase is not Phase.ENDED and not self.idle

    def post(self, letter: Letter, now_ms: int) -> None:
        """Put a letter into the mailbox. Raises Busy."""
        assert self.accepts
        self.mailbox.put(letter)
        self.used_at_ms = now_ms
        if self._actor is not None:
            self._actor.wake()

    def sleep(self) -> None:
        """Ask an idle activation to end; its state is in the store."""
        assert self.idle
        assert self._actor is not None
        self._happen(Happening.ASKED_TO_STOP)
        self.mailbox.close(ActivationLost(f"'{self.address}' went to sleep"))
        self._actor.stop()

    async def live(
        self,
        directory: Directory,
        records: Records,
        node_epoch: int,
        believes: Callable[[], bool],
        *,
        blamed: bool,
        fresh: bool,
    ) -> None:
        """The whole life. Never raises, except for cancellation; what went wrong is told to the waiting callers.

        `blamed`: its last activation on this node was ended by a bug. `fresh`: that one may have left a commit on its
        way, so the claim is made anew.
        """
        assert self.phase is Phase.CLAIMING, "lived once"
        reason: KelpieError = ActivationLost(f"the activation of '{self.address}' ended")
        try:
            await self._kind.check(self.address)
            claim = await directory.claim(self.address, node_epoch, fresh=fresh)
            self._happen(Happening.CLAIMED)
            self._actor = self._kind.make(Tenure(claim, records, believes), blamed=blamed)
            await self._actor.load()
            self._happen(Happening.LOADED)
            await self._actor.run(self.mailbox)
            self.clean = True
        except* Unavailable as group:
            reason = first_error(group)
            self.elsewhere = self.phase is Phase.READY and isinstance(reason, NotOwner)
        except* Refused as group:
            if self.phase in (Phase.CLAIMING, Phase.LOADING):
                reason = first_error(group)
            else:  # nobody asked for it: a step that can never succeed is a bug, and counted as one
                self.crashed = True
                log.error("activation of %s was refused its own step", self.address, exc_info=group)
        except* Broken as group:
            reason = first_error(group)
            assert isinstance(reason, Broken)
            self.broken = reason
        except* KelpieError as group:
            reason = ActivationLost(f"the activation of '{self.address}' was lost: {first_error(group).sentence}")
        except* Exception as group:
            self.crashed = True
            log.error("activation of %s crashed", self.address, exc_info=group)
        finally:
            self.end(reason)

    def end(self, reason: KelpieError) -> None:
        """The activation is over; callers that still wait get `reason`. Ending twice changes nothing."""
        if self.phase is not Phase.ENDED:
            self._happen(Happening.OVER)
            self.mailbox.close(reason)

    def _happen(self, happening: Happening) -> None:
        after = NEXT.get((self.phase, happening))
        assert after is not None, f"{happening} cannot happen while {self.phase}"
        self.phase = after


def first_error(group: BaseExceptionGroup) -> KelpieError:
    """The first leaf of a group of our own errors."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, KelpieError)
    return found
