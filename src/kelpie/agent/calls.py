"""What an agent's actor can be asked, and what it replies: the bodies of calls between door and actor."""

from msgspec import Struct

from kelpie.agent.state import InputMessage, RunOptions
from kelpie.ids import RunId


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
    """Empty the window down to the system message. Refused while a turn runs."""


class Delete(Struct, frozen=True, kw_only=True):
    """Cancel what runs and remove the agent."""
