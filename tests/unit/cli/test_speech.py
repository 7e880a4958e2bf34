"""How a stream of events reads: exact text, in order, whatever the pieces are."""

import msgspec

from kelpie.cli.speech import RETURN_CHARS_SHOWN, Piece, Speech, plain
from kelpie.cli.wire import Event


def read(*events: dict) -> list[Piece]:
    """All pieces of these events and of the end of the stream; pieces of one voice joined."""
    speech = Speech()
    pieces = [piece for event in events for piece in speech.hear(msgspec.convert(event, Event))]
    joined: list[Piece] = []
    for piece in [*pieces, *speech.end()]:
        if joined and joined[-1].voice == piece.voice:
            piece = Piece(piece.voice, joined.pop().text + piece.text)
        joined.append(piece)
    return joined


def words(text: str, message: str = "m1") -> dict:
    return {"message_type": "assistant_message", "id": message, "content": text}


def thought(text: str, message: str = "m1") -> dict:
    return {"message_type": "reasoning_message", "id": message, "reasoning": text}


def call(message: str = "m1", **fields) -> dict:
    return {"message_type": "tool_call_message", "id": message, "tool_call": fields}


def test_tokens_of_one_message_are_one_line() -> None:
    """Deltas with the same id are written without a break between them; pings and usage are silent."""
    events = [{"message_type": "ping"}, words("Hel"), words("lo."), {"message_type": "usage_statistics"}]
    assert read(*events, {"message_type": "stop_reason", "stop_reason": "end_turn"}) == [Piece("words", "Hello.\n")]


def test_thinking_calls_returns_and_words_each_begin_a_line() -> None:
    """A whole turn, with tokens; the call's name comes first and its arguments after it."""
    assert read(
        thought("I should "),
        thought("look."),
        call(name="search", tool_call_id="c1", arguments=""),
        call(name=None, tool_call_id="c1", arguments='{"q":'),
        call(name=None, tool_call_id="c1", arguments="1}"),
        {"message_type": "tool_return_message", "id": "m2", "status": "success", "tool_return": "found"},
        words("Done.", "m3"),
    ) == [
        Piece("aside", "I should look.\n"),
        Piece("tool", '-> search {"q":1}\n<- found\n'),
        Piece("words", "Done.\n"),
    ]


def test_parallel_calls_are_two_lines() -> None:
    """Two calls of one message have the same id; the second name begins a new line."""
    assert read(call(name="a", arguments="{}"), call(name="b", arguments="{}")) == [Piece("tool", "-> a {}\n-> b {}\n")]


def test_what_went_wrong_is_said() -> None:
    """A failed tool, an error event, and an end that is not the ordinary one."""
    assert read(
        words("Half"),
        {"message_type": "tool_return_message", "status": "error", "tool_return": "no"},
        {"message_type": "error_message", "message": "overloaded"},
        {"message_type": "stop_reason", "stop_reason": "llm_api_error"},
    ) == [
        Piece("words", "Half\n"),
        Piece("fault", "<- error: no\noverloaded\n[the turn ended: llm_api_error]\n"),
    ]


def test_failed_is_for_turns_that_failed() -> None:
    """An error is a failure; being cancelled, and the ordinary end, are not."""
    ends = {reason: Speech() for reason in ("end_turn", "cancelled", "error", "max_steps")}
    for reason, speech in ends.items():
        speech.hear(Event(message_type="stop_reason", stop_reason=reason))
    assert {reason: speech.failed for reason, speech in ends.items()} == {
        "end_turn": False,
        "cancelled": False,
        "error": True,
        "max_steps": True,
    }


def test_a_long_return_is_clipped_and_says_so() -> None:
    """Nothing is cut in silence."""
    text = "x" * (RETURN_CHARS_SHOWN + 1)
    (piece,) = read({"message_type": "tool_return_message", "status": "success", "tool_return": text})
    assert piece.text == f"<- {text[:-1]} ... ({len(text)} characters)\n"


def test_words_that_end_their_line_get_no_second_end() -> None:
    """A text with its own line break at the end, and a content that is a list of parts."""
    event = {"message_type": "assistant_message", "id": "m", "content": [{"type": "text", "text": "a\n"}]}
    assert read(event) == [Piece("words", "a\n")]


def test_a_model_cannot_steer_the_terminal() -> None:
    """Escape sequences, bells and C1 controls become a visible sign; tabs and line breaks stay."""
    assert plain("a\x1b[2Jb\x07\x9b\tc\r\nd\u00e9") == "a\ufffd[2Jb\ufffd\ufffd\tc\nd\u00e9"
    assert read(words("\x1b]0;pwned\x07")) == [Piece("words", "\ufffd]0;pwned\ufffd\n")]
