"""What happens in a run, as its readers are told.

`MessageEvent`, `PiecesEvent` and `FinishedEvent` are committed and numbered from 1 without gaps: a reader who comes
late or again gets all of them. `PiecesEvent` is of runs in the background alone. `DeltaEvent` is provisional: a preview
of a message that is not committed yet. The committed message is the truth; a reader who was shown pieces of it before
is owed only what they lacked.
"""

from msgspec import Struct

from kelpie.agent.state import RunError, StopReason
from kelpie.ids import MessageId, StepId
from kelpie.llm.messages import Delta, Usage
from kelpie.memory.history import StoredMessage


class MessageEvent(Struct, frozen=True, kw_only=True):
    """A message was added to the history. Messages that the client itself sent are not events."""

    number: int
    message: StoredMessage


class PiecesEvent(Struct, frozen=True, kw_only=True):
    """Further pieces of a reply that the model was giving. `message_id` is what the message has, if it came to be."""

    number: int
    message_id: MessageId
    step_id: StepId
    created_at_us: int
    deltas: tuple[Delta, ...]


class FinishedEvent(Struct, frozen=True, kw_only=True):
    """The run ended; always its last event."""

    number: int
    stop_reason: StopReason
    usage: Usage
    context_tokens: int | None
    steps: int
    error: RunError | None


class DeltaEvent(Struct, frozen=True, kw_only=True):
    """A further piece of the reply that the model is giving now. `message_id` is what the message will have.

    `piece` counts the pieces of the message from 0: a reader that misses one (previews are dropped for readers who
    come late or are slow) waits for the committed message.
    """

    message_id: MessageId
    step_id: StepId
    piece: int
    created_at_us: int
    delta: Delta


NumberedEvent = MessageEvent | PiecesEvent | FinishedEvent
RunEvent = NumberedEvent | DeltaEvent
