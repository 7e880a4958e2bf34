"""A call to an actor: who is asked what, by when, and on whose behalf."""

from typing import Literal, NewType

from msgspec import Struct

from kelpie.errors import CallCycle, CallTimedOut, LimitExceeded
from kelpie.limits import CALL_CHAIN_MAX

ActorAddress = NewType("ActorAddress", str)
"""An actor's name in the whole cluster; for an agent, its id."""

Lane = Literal["control", "turns"]


class Call(Struct, frozen=True, kw_only=True):
    """One call. `body` and the reply are structs of the actor's own; `chain` names the actors that wait for it.

    `deadline_ms` is on the event loop's clock. Calls are repeated after an activation is lost, so an actor must
    recognise a body that it has seen.
    """

    target: ActorAddress
    lane: Lane
    body: Struct
    deadline_ms: int
    chain: tuple[ActorAddress, ...] = ()

    def onward(self, target: ActorAddress, lane: Lane, body: Struct, *, now_ms: int, wait_ms_max: int) -> "Call":
        """The call that the target of this one makes in turn: its deadline is never later than ours."""
        return Call(
            target=target,
            lane=lane,
            body=body,
            deadline_ms=min(self.deadline_ms, now_ms + wait_ms_max),
            chain=(*self.chain, self.target),
        )


def check_call(call: Call, now_ms: int) -> None:
    """Refuse a call that can never be answered: a cycle, too long a chain, a deadline that has passed."""
    if call.target in call.chain:
        raise CallCycle(f"'{call.target}' waits for this call and cannot answer it", target=call.target)
    if len(call.chain) >= CALL_CHAIN_MAX:
        raise LimitExceeded(
            f"a chain of {CALL_CHAIN_MAX} calls may not grow", limit="CALL_CHAIN_MAX", maximum=CALL_CHAIN_MAX
        )
    if now_ms >= call.deadline_ms:
        raise CallTimedOut("the deadline passed before the call began")
