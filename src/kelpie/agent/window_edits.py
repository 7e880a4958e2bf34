"""What may be done to a window from outside of a turn: emptied, set, compacted, its system message made anew.

Each edit fills one commit of the thread's owner, which keeps turns out meanwhile; nothing here commits.
"""

from collections.abc import Sequence

from kelpie.actor.recovery import Done
from kelpie.agent.calls import PutSummary, Recompile, Recompiled, Reset, SetWindow
from kelpie.agent.journal import Draft
from kelpie.errors import Conflict, InvalidInput, LimitExceeded
from kelpie.ids import MessageId
from kelpie.limits import WINDOW_MESSAGES_MAX
from kelpie.memory.history import History, StoredMessage

WindowEdit = Reset | SetWindow | PutSummary | Recompile


async def edit_window(
    edit: Reset | SetWindow | PutSummary, draft: Draft, window: Sequence[StoredMessage], history: History
) -> Done:
    """Have the commit do it. Raises NotFound, InvalidInput, LimitExceeded."""
    match edit:
        case Reset():
            draft.window = list(window[:1])
            for message in edit.messages:
                draft.append_input(message)
        case SetWindow():
            draft.window = await _find(edit.message_ids, draft, history)
        case PutSummary():
            if tuple(message.id for message in window) != edit.seen:
                raise Conflict(f"the messages of '{draft.state.id}' changed while they were summarised")
            if draft.state.awaiting is not None:
                raise Conflict(f"'{draft.state.id}' is waiting for approval of a tool call; answer it first")
            draft.summarise(None, edit.part, edit.plan, edit.stats)
    return Done()


def recompile(draft: Draft, window: Sequence[StoredMessage], system: str) -> Recompiled:
    """Have the commit keep this system message."""
    draft.refresh_system(list(window), system)
    return Recompiled(system=system)


async def _find(ids: Sequence[MessageId], draft: Draft, history: History) -> list[StoredMessage]:
    """These messages of the thread; the first must be its system message, which every window begins with."""
    assert draft.messages == [], "the window is set as a whole"
    if len(ids) > WINDOW_MESSAGES_MAX:
        raise LimitExceeded(
            f"message_ids: {len(ids)} messages are over the limit of {WINDOW_MESSAGES_MAX}",
            field="message_ids",
            limit="WINDOW_MESSAGES_MAX",
            maximum=WINDOW_MESSAGES_MAX,
        )
    if len(set(ids)) < len(ids):
        raise InvalidInput("message_ids: a message is named twice", field="message_ids")
    thread_id = draft.state.id
    seqs = [await history.place(thread_id, message_id) for message_id in ids]
    messages = await history.get_many(thread_id, seqs)
    if not messages or messages[0].seq != 0:
        raise InvalidInput("message_ids: the first must be the system message", field="message_ids")
    assert [message.id for message in messages] == list(ids)
    return messages
