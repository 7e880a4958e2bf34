"""What the turn may ask for, and what it may be told. Two closed unions, matched in `turn.py` and `actor.py`."""

from typing import Literal

from msgspec import Struct

from kelpie.agent.rules import Policy
from kelpie.agent.state import Awaiting, RunError, StopReason, Turn
from kelpie.ids import MessageId, StepId
from kelpie.llm.messages import ModelReply, Part, ToolCallPart, ToolReturnPart, Usage

# -- told ---------------------------------------------------------------------------------------------------


class Replied(Struct, frozen=True, kw_only=True):
    """The model answered. `message_id` is what the reply will be called; `policy` what it may do."""

    step_id: StepId
    message_id: MessageId
    reply: ModelReply
    policy: Policy = Policy()


class ReplyFailed(Struct, frozen=True, kw_only=True):
    """The model did not answer. `overflow`: because the prompt is longer than its window."""

    step_id: StepId
    error: RunError
    overflow: bool
    stop_reason: StopReason = "llm_api_error"


class ToolReturned(Struct, frozen=True, kw_only=True):
    """One tool call of the step came to its end."""

    step_id: StepId
    result: ToolReturnPart
    ran_ns: int | None = None


class WindowFull(Struct, frozen=True, kw_only=True):
    """Before the model was asked: what it would be shown does not fit."""

    step_id: StepId


class Compacted(Struct, frozen=True, kw_only=True):
    """The older messages were summarised; the actor puts the summary in their place in the same commit."""

    step_id: StepId
    usage: Usage


class CompactionFailed(Struct, frozen=True, kw_only=True):
    """The window could not be made smaller, because of `error`, or because nothing is left to summarise (None)."""

    step_id: StepId
    error: RunError | None


class Cancelled(Struct, frozen=True, kw_only=True):
    """Somebody asked to stop."""


class Resumed(Struct, frozen=True, kw_only=True):
    """A new activation found the turn unfinished. `repeatable` are the calls that may be made again."""

    repeatable: tuple[str, ...]
    blamed: bool  # a bug ended the last activation


Told = Replied | ReplyFailed | ToolReturned | WindowFull | Compacted | CompactionFailed | Cancelled | Resumed

# -- asked --------------------------------------------------------------------------------------------------


class AskModel(Struct, frozen=True, kw_only=True):
    """Ask the model for the reply of the running step."""

    step_id: StepId


class RunTools(Struct, frozen=True, kw_only=True):
    """Run these calls of the running step; each reports by itself."""

    step_id: StepId
    calls: tuple[ToolCallPart, ...]


class CompactWindow(Struct, frozen=True, kw_only=True):
    """Summarise what is oldest in the window."""

    step_id: StepId


Effect = AskModel | RunTools | CompactWindow


class NewMessage(Struct, frozen=True, kw_only=True):
    """A message that the turn adds to the history. `id` None: the actor gives it one."""

    id: MessageId | None
    kind: Literal["assistant", "tool"]
    parts: tuple[Part, ...]
    step_id: StepId


class Finish(Struct, frozen=True, kw_only=True):
    """The turn is over."""

    stop_reason: StopReason
    error: RunError | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """What follows: the turn as it stands now, what is added, and then either an effect or the end.

    `turn` and `messages` are committed before `effect` is performed. Neither effect nor finish: wait for more.
    `input_follows`: what the run brought beside its answers joins the history now. With a finish may go what waits.
    """

    turn: Turn
    messages: tuple[NewMessage, ...] = ()
    input_follows: bool = False
    awaiting: Awaiting | None = None
    effect: Effect | None = None
    finish: Finish | None = None
