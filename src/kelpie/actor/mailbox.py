"""What waits for an actor: two bounded lanes, of which control always goes first. Pure.

`control` (cancel, reset, remind) never waits behind a model call, because the actor's loop takes from it
between any two steps. `turns` holds calls that were not yet accepted; accepted ones wait in the store, so
what stands here is lost only together with the caller that still waits for it. Reads need no lane: they are
snapshots of committed records (docs/adr/0010). Full is an answer: Busy.
"""

from asyncio import Future
from collections import deque

from msgspec import Struct

from kelpie.actor.call import Call
from kelpie.errors import Busy, KelpieError
from kelpie.limits import MAILBOX_CALLS_MAX, RETRY_AFTER_MS


class Letter:
    """A call, and where its reply goes."""

    __slots__ = ("call", "reply")

    def __init__(self, call: Call, reply: "Future[Struct]") -> None:
        self.call = call
        self.reply = reply

    def answer(self, body: Struct) -> None:
        """Reply, unless the caller has gone."""
        if not self.reply.done():
            self.reply.set_result(body)

    def fail(self, error: Exception) -> None:
        """Reply with an error, unless the caller has gone."""
        if not self.reply.done():
            self.reply.set_exception(error)


class Mailbox:
    """The two lanes of one activation."""

    def __init__(self) -> None:
        self._control: deque[Letter] = deque()
        self._turns: deque[Letter] = deque()
        self.closed = False

    def __len__(self) -> int:
        return len(self._control) + len(self._turns)

    def put(self, letter: Letter) -> None:
        """Queue a letter at the end of its lane. Raises Busy when the lane is full."""
        assert not self.closed, "a closed mailbox takes no letters"
        lane = self._control if letter.call.lane == "control" else self._turns
        if len(lane) >= MAILBOX_CALLS_MAX:
            raise Busy(
                f"{MAILBOX_CALLS_MAX} calls wait for '{letter.call.target}' already",
                limit="MAILBOX_CALLS_MAX",
                maximum=MAILBOX_CALLS_MAX,
                retry_after_ms=RETRY_AFTER_MS,
            )
        lane.append(letter)

    def take(self, now_ms: int) -> Letter | None:
        """The next letter whose caller still waits: control first, then in order of arrival."""
        for lane in (self._control, self._turns):
            while lane:
                letter = lane.popleft()
                if not letter.reply.done() and letter.call.deadline_ms > now_ms:
                    return letter
        return None

    def close(self, error: KelpieError) -> None:
        """Take no more; every waiting caller gets `error`."""
        self.closed = True
        for lane in (self._control, self._turns):
            while lane:
                lane.popleft().fail(error)
        assert not len(self)
