"""One event of a run is not announced, and its number is given to the next one: readers at hand never hear of it.

Since the door asserts that events come in order, it is mostly the door that sees it.
"""

from msgspec import Struct

from kelpie.actor.outbox import Outbox
from kelpie_sim.canaries.plant import Canary, replaced

publish = Outbox.publish


def publish_with_hole(self: Outbox, stream: str, number: int, event: Struct) -> None:
    """As Outbox.publish, but the second event is passed over."""
    if number != 2:
        publish(self, stream, number - 1 if number == 3 else number, event)


CANARY = Canary(
    name="deaf_reader",
    breaks="every reader gets all events",
    workload="streams",
    checkers=("events", "assertions"),
    plants=(replaced(Outbox, "publish", publish_with_hole),),
)
