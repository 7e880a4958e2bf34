"""The second event of a run is numbered 3."""

import msgspec

from kelpie.agent.journal import Draft
from kelpie.memory.history import StoredMessage
from kelpie_sim.canaries.plant import Canary, replaced

tell = Draft._tell


def tell_with_gap(self: Draft, message: StoredMessage) -> None:
    """As Draft._tell, but one number is left out."""
    turn = self.state.turn
    assert turn is not None
    if turn.events == 1:
        self.change(turn=msgspec.structs.replace(turn, events=2))
    tell(self, message)


CANARY = Canary(
    name="gap",
    breaks="event numbers of a run have no gaps",
    workload="streams",
    checkers=("events",),
    plants=(replaced(Draft, "_tell", tell_with_gap),),
)
