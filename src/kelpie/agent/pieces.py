"""The pieces of a reply that a background run keeps, so that its token stream can be taken up again at any number.

A piece is shown only behind the commit that numbered it: what a reader has seen stays what it was, whatever is killed.
Pieces are collected while a commit is on its way, and joined, so that a stream is a few commits a second and not one
for each token. An interrupted reply is asked for anew, under another message id; its pieces stay in the stream.
"""

from collections.abc import Callable

import msgspec

from kelpie.ids import MessageId, StepId
from kelpie.limits import MESSAGE_BYTES_MAX
from kelpie.llm.messages import Delta, ReasoningDelta, TextDelta, ToolCallDelta

_ENCODER = msgspec.json.Encoder()


class PieceBuffer:
    """The pieces of one reply that are not committed yet. `wake` is called when the first of them has come."""

    def __init__(self, step_id: StepId, message_id: MessageId, created_at_us: int, wake: Callable[[], None]) -> None:
        self.step_id = step_id
        self.message_id = message_id
        self.created_at_us = created_at_us
        self._wake = wake
        self._deltas: list[Delta] = []
        self._bytes = 0  # of all pieces of the reply so far

    def __len__(self) -> int:
        return len(self._deltas)

    def add(self, delta: Delta) -> None:
        """A further piece. What comes after MESSAGE_BYTES_MAX is left to the message, which will be refused."""
        self._bytes += len(_ENCODER.encode(delta))
        if self._bytes > MESSAGE_BYTES_MAX:
            return
        if self._deltas and (joined := join(self._deltas[-1], delta)) is not None:
            self._deltas[-1] = joined
            return
        self._deltas.append(delta)
        if len(self._deltas) == 1:
            self._wake()

    def take(self) -> tuple[Delta, ...]:
        """All that has come, in order; the buffer is empty then."""
        taken, self._deltas = tuple(self._deltas), []
        return taken


def join(first: Delta, second: Delta) -> Delta | None:
    """Two pieces as one, if they are of one part."""
    match first, second:
        case (TextDelta(), TextDelta()) | (ReasoningDelta(), ReasoningDelta()) if first.part == second.part:
            return msgspec.structs.replace(first, text=first.text + second.text)
        case ToolCallDelta(), ToolCallDelta() if first.part == second.part:
            return msgspec.structs.replace(first, arguments=first.arguments + second.arguments)
        case _:
            return None
