"""What an agent's actor can be asked, and what it replies: the bodies of calls between door and actor."""

from msgspec import Struct

from kelpie.agent.state import InputMessage, RunOptions
from kelpie.ids import MessageId, RunId
from kelpie.llm.messages import TextPart
from kelpie.memory.compaction import CompactionPlan
from kelpie.memory.history import CompactionStats


class Send(Struct, frozen=True, kw_only=True):
    """Accept messages as the run `run_id`. `key_hash` is the hash of the client's key, `digest` of its request.

    A repeat is recognised by `run_id` (our own repeats) and by `key_hash` (the client's).
    """

    run_id: RunId
    messages: tuple[InputMessage, ...]
    options: RunOptions
    key_hash: str | None
    digest: str


class Accepted(Struct, frozen=True, kw_only=True):
    """The messages are durable; `run_id` is the run that answers them, an earlier one if the key was seen."""

    run_id: RunId


class Cancel(Struct, frozen=True, kw_only=True):
    """Cancel these runs; None: whatever is unfinished."""

    run_ids: tuple[RunId, ...] | None


class CancelledRuns(Struct, frozen=True, kw_only=True):
    """The runs that this call cancelled."""

    run_ids: tuple[RunId, ...]


class Reset(Struct, frozen=True, kw_only=True):
    """Empty the window down to the system message, and begin it anew with these. Refused while a turn runs."""

    messages: tuple[InputMessage, ...] = ()


class SetWindow(Struct, frozen=True, kw_only=True):
    """Let the model see these messages of the history, in this order, from now on. Refused while a turn runs."""

    message_ids: tuple[MessageId, ...]


class PutSummary(Struct, frozen=True, kw_only=True):
    """Put a summary in the place of what it summarises, if the window is still that of `seen`. Not under a turn."""

    part: TextPart
    plan: CompactionPlan
    stats: CompactionStats
    seen: tuple[MessageId, ...]


class Recompile(Struct, frozen=True, kw_only=True):
    """Keep the system message as the model would be given it now."""


class Recompiled(Struct, frozen=True, kw_only=True):
    """The system message as it is now."""

    system: str


class Delete(Struct, frozen=True, kw_only=True):
    """Cancel what runs and remove the agent."""
