"""The whole error tree, and what a caller may conclude from each family.

    KelpieError
      Refused            the caller's fault; nothing happened; the same request will be refused again
        InvalidInput  NotFound  AlreadyExists  AnswerAwaited  Forbidden  LimitExceeded  CallCycle  ModelRefused
        WindowOverflow  SecretUnreadable  NotAuthenticated  SourceRefused
      Unavailable        nothing happened; the same request may succeed later
        Busy  NotOwner  Conflict  Draining  StoreDown  StorageFull  ModelUnavailable
        ServerUnreachable  ToolServerUnavailable  LoginNeeded
      OutcomeUnknown     it may have happened; repeat only under the same key
        CommitUnknown  ActivationLost  RunStalled  CallTimedOut
      Broken             this process must stop
        DataCorrupt  StoreFailed  StoreOwned  StoreTooNew  PortTaken

Outside input is answered with one of these; a broken promise of our own is an AssertionError, which ends
the activation it happened in and nothing else. `api/errors.py` is the only place that knows HTTP statuses.
"""


class KelpieError(Exception):
    """Every error a caller may see: a stable `code`, one sentence, and typed fields."""

    code = "error"

    def __init__(self, sentence: str, /, **fields: str | int | None) -> None:
        assert sentence, "an error says what is wrong"
        super().__init__(sentence)
        self.sentence = sentence
        self.fields = fields


class Refused(KelpieError):
    """The caller's fault. Nothing happened."""

    code = "refused"


class InvalidInput(Refused):
    """A field has a wrong type, form or value; `field` names it."""

    code = "invalid_input"


class NotFound(Refused):
    """Nothing is known under that id."""

    code = "not_found"


class AlreadyExists(Refused):
    """The name or label is taken, or the state already holds what was asked to begin."""

    code = "already_exists"


class SecretUnreadable(Refused):
    """A stored secret was sealed under another key than this server has."""

    code = "secret_unreadable"


class SourceRefused(InvalidInput):
    """The source of a tool does not say what its schema needs."""

    code = "source_refused"


class AnswerAwaited(Refused):
    """Tool calls wait for a client's answer, and nothing else is taken before it.

    `run_id` is the run that asks, `message_id` the reply with the calls.
    """

    code = "answer_awaited"


class NotAuthenticated(Refused):
    """A token was presented that is not known, or not any more."""

    code = "not_authenticated"


class Forbidden(Refused):
    """Known, but not allowed."""

    code = "forbidden"


class LimitExceeded(Refused):
    """A bound of `limits.py` was passed; `limit` names it, `maximum` is its value."""

    code = "limit_exceeded"


class CallCycle(Refused):
    """An actor called, through others, itself; waiting would never end."""

    code = "call_cycle"


class ModelRefused(Refused):
    """The model's provider refused the request (bad key, unknown model, bad request), in its words."""

    code = "model_refused"


class WindowOverflow(ModelRefused):
    """The provider says that the prompt is longer than the model's context window."""

    code = "window_overflow"


class Unavailable(KelpieError):
    """Nothing happened; try again later. `retry_after_ms` says when, if known."""

    code = "unavailable"


class Busy(Unavailable):
    """A bounded queue is full; `limit` names it."""

    code = "busy"


class NotOwner(Unavailable):
    """Another node owns the actor; `node` names it, when known."""

    code = "not_owner"


class Conflict(Unavailable):
    """A commit lost against a concurrent one; nothing of it was applied."""

    code = "conflict"


class Draining(Unavailable):
    """The node is shutting down and takes no new work."""

    code = "draining"


class StoreDown(Unavailable):
    """The store could not be reached; the request was not applied."""

    code = "store_down"


class StorageFull(Unavailable):
    """The disk (or quota) under the store is full; the request was not applied."""

    code = "storage_full"


class ModelUnavailable(Unavailable):
    """The provider is overloaded, unreachable, too slow, or answered with garbage, in its words."""

    code = "model_unavailable"


class ToolServerUnavailable(Unavailable):
    """A tool server cannot be reached, does not answer, or answers with garbage."""

    code = "tool_server_unavailable"


class LoginNeeded(ToolServerUnavailable):
    """A tool server wants a person to log in first."""

    code = "login_needed"


class ServerUnreachable(Unavailable):
    """The server that a command of the command line talks to does not answer."""

    code = "server_unreachable"


class OutcomeUnknown(KelpieError):
    """It may have happened. Repeat only under the same key."""

    code = "outcome_unknown"


class CommitUnknown(OutcomeUnknown):
    """The store did not say whether the commit was applied."""

    code = "commit_unknown"


class ActivationLost(OutcomeUnknown):
    """The actor's activation ended before it answered. Calls are recognised, so the same one may be repeated."""

    code = "activation_lost"


class RunStalled(OutcomeUnknown):
    """The run was accepted and cannot go on just now, e.g. because the disk is full; it goes on by itself."""

    code = "run_stalled"


class CallTimedOut(OutcomeUnknown):
    """The deadline passed before the answer came; the work may go on."""

    code = "call_timed_out"


class Broken(KelpieError):
    """This process must stop; `exit_status` is what it stops with."""

    code = "broken"
    exit_status = 70


class DataCorrupt(Broken):
    """Stored bytes do not decode, or contradict each other."""

    code = "data_corrupt"
    exit_status = 71


class StoreOwned(Broken):
    """Another process owns the data directory."""

    code = "store_owned"
    exit_status = 73


class StoreFailed(Broken):
    """A write to disk failed in a way that leaves unknown what is there; only opening the store anew tells."""

    code = "store_failed"
    exit_status = 75


class StoreTooNew(Broken):
    """The data was written by a newer Kelpie, in a storage format that this one does not know."""

    code = "store_too_new"
    exit_status = 72


class PortTaken(Broken):
    """Another process listens on the address."""

    code = "port_taken"
    exit_status = 74
