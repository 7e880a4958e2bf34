"""An agent is removed because nobody owned it a moment ago: whoever woke it meanwhile goes on without its rows."""

from kelpie.actor.outbox import Outbox
from kelpie.agent import removal
from kelpie.errors import Conflict
from kelpie.ids import ThreadId
from kelpie.storage.records import Records
from kelpie_sim.canaries.plant import Canary, replaced


async def remove_unwatched(records: Records, thread_id: ThreadId, outbox: Outbox) -> bool:
    """As removal.without_waking, without a check of the owner's absence in the commit."""
    found, owner = await records.get_two(removal.STATES.at(thread_id), removal.OWNERS.at(thread_id))
    batch = None if found is None or owner is not None else await removal.at_once(records, found, outbox)
    if batch is None:
        return False
    try:
        await records.commit(batch)
    except Conflict:
        return False
    return True


CANARY = Canary(
    name="unseen_owner",
    breaks="an agent that is removed without being woken has no owner",
    workload="lifecycle",
    checkers=("single_owner",),
    plants=(replaced(removal, "without_waking", remove_unwatched),),
)
