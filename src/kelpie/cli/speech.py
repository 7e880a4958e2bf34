"""A stream of events as words for a reader: pure, one event in, pieces of styled text out."""

from typing import Literal

from msgspec import Struct

from kelpie.cli.wire import Event

RETURN_CHARS_SHOWN = 600
ORDINARY_ENDS = ("end_turn", "tool_rule")

Voice = Literal["words", "aside", "tool", "fault"]


class Piece(Struct, frozen=True):
    """Text to be written as it is. `words` are the agent's answer, the rest is what happened on the way."""

    voice: Voice
    text: str


class Speech:
    """Remembers what was being said, so that the next piece of it continues the line."""

    def __init__(self) -> None:
        self._saying: tuple[str, str] | None = None  # what kind of message, and which one
        self._voice: Voice = "words"
        self._line_open = False
        self.failed = False

    def hear(self, event: Event) -> list[Piece]:
        """What to write for this event."""
        match event.message_type:
            case "assistant_message":
                return self._go_on("words", event, "", event.text)
            case "reasoning_message":
                return self._go_on("aside", event, "", event.reasoning or "")
            case "tool_call_message" | "approval_request_message":
                return self._call(event)
            case "tool_return_message":
                return self._tool_return(event)
            case "error_message":
                self.failed = True
                return self._line("fault", event.detail or event.message or "the turn failed")
            case "stop_reason":
                return self._stop(event.stop_reason or "")
            case _:
                return []

    def end(self) -> list[Piece]:
        """Ends the line that is open, if one is."""
        self._saying = None
        if not self._line_open:
            return []
        self._line_open = False
        return [Piece(self._voice, "\n")]

    def _go_on(self, voice: Voice, event: Event, opening: str, text: str) -> list[Piece]:
        saying = (event.message_type, event.id or "")
        begun = [] if saying == self._saying else [*self.end(), *([Piece(voice, opening)] if opening else [])]
        self._saying, self._voice = saying, voice
        clean = plain(text)
        if not clean and not opening:
            return begun
        self._line_open = not clean.endswith("\n") if clean else True
        return [*begun, *([Piece(voice, clean)] if clean else [])]

    def _call(self, event: Event) -> list[Piece]:
        call = event.tool_call
        if call is None:
            return []
        named = f"-> {plain(call.name)} " if call.name else ""
        if named:
            self._saying = None  # another call of the same message begins a line of its own
            ended = self.end()
            return [*ended, *self._go_on("tool", event, named, call.arguments or "")]
        return self._go_on("tool", event, "", call.arguments or "")

    def _tool_return(self, event: Event) -> list[Piece]:
        text = event.tool_return or ""
        shown = text[:RETURN_CHARS_SHOWN]
        more = "" if len(text) <= RETURN_CHARS_SHOWN else f" ... ({len(text)} characters)"
        if event.status in (None, "success"):
            return self._line("tool", f"<- {shown}{more}")
        return self._line("fault", f"<- {event.status}: {shown}{more}")

    def _stop(self, reason: str) -> list[Piece]:
        if reason in ORDINARY_ENDS:
            return self.end()
        self.failed = self.failed or reason != "cancelled"
        return self._line("fault", f"[the turn ended: {reason}]")

    def _line(self, voice: Voice, text: str) -> list[Piece]:
        return [*self.end(), Piece(voice, plain(text) + "\n")]


def plain(text: str) -> str:
    """Without control characters: a model must not be able to steer the terminal."""
    return "".join(
        char if char in "\n\t" or (char >= " " and not "\x7f" <= char <= "\x9f") else "\N{REPLACEMENT CHARACTER}"
        for char in text.replace("\r\n", "\n")
    )
