"""Goal: the model is told what a tool returned, how it went and when; a return that must be shorter says so."""

from datetime import UTC
from zoneinfo import ZoneInfo

import msgspec

from kelpie.agent.wording import fit_return, tell_returns
from kelpie.ids import AgentId, MessageId
from kelpie.llm.messages import TextPart, ToolReturnPart
from kelpie.memory.history import MessageKind, StoredMessage


def a_return(text: str, *, ok: bool = True, stdout: tuple[str, ...] | None = None) -> ToolReturnPart:
    return ToolReturnPart(call_id="c", name="t", text=text, ok=ok, stdout=stdout)


def a_message(kind: MessageKind, *parts: ToolReturnPart | TextPart) -> StoredMessage:
    return StoredMessage(
        id=MessageId("m"), agent_id=AgentId("a"), seq=1, kind=kind, parts=parts, created_at_us=1_700_000_000_000_000
    )


def test_returns_are_wrapped_and_nothing_else_is() -> None:
    told = tell_returns(a_message("tool", a_return("fine"), a_return('bad "thing"', ok=False)), UTC)
    shown = [msgspec.json.decode(part.text) for part in told.parts]  # type: ignore[union-attr]
    assert shown == [
        {"status": "OK", "message": "fine", "time": "2023-11-14 10:13:20 PM UTC+0000"},
        {"status": "Failed", "message": 'bad "thing"', "time": "2023-11-14 10:13:20 PM UTC+0000"},
    ]
    plain = a_message("user", TextPart(text="hi"))
    assert tell_returns(plain, UTC) is plain
    (told,) = tell_returns(a_message("tool", a_return("fine")), ZoneInfo("Europe/Berlin")).parts
    assert "2023-11-14 11:13:20 PM CET+0100" in told.text  # type: ignore[union-attr]


def test_a_return_that_fits_is_left_alone_and_any_other_is_made_to_fit() -> None:
    small = a_return("x" * 100)
    assert fit_return(small, 1_000) is small
    for text in ("x" * 10_000, "\x01" * 10_000, "é" * 10_000, "\x01" * 300 + "x" * 9_700, "x" * 9_700 + "\x01" * 300):
        for stdout in (None, ("y" * 5_000,)):
            for bytes_max in (500, 1_000, 5_000):
                fitted = fit_return(a_return(text, stdout=stdout), bytes_max)
                assert len(msgspec.json.encode(fitted)) <= bytes_max
                assert (fitted.chars_total, fitted.stdout, fitted.ok) == (10_000, None, True)
                kept, _, note = fitted.text.partition("\n[... clipped: ")
                assert text.startswith(kept) and note.startswith(f"{len(kept)} of 10000 characters")


def test_what_was_clipped_before_keeps_its_total() -> None:
    before = msgspec.structs.replace(a_return("x" * 5_000), chars_total=90_000)
    assert fit_return(before, 1_000).chars_total == 90_000
