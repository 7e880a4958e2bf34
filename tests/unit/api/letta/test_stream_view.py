"""What a reader of a stream is shown: pieces first, of the committed message only the rest, numbers that last."""

from typing import Any

import pytest

from kelpie.agent.events import DeltaEvent, MessageEvent, PiecesEvent
from kelpie.api.letta.stream_view import RunView, StreamOptions
from kelpie.ids import AgentId, MessageId, RunId, StepId
from kelpie.llm.messages import (
    Delta,
    Part,
    ReasoningDelta,
    ReasoningPart,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
)
from kelpie.memory.history import MessageKind, StoredMessage

RUN = RunId("run-00000000-0000-4000-8000-000000000001")
STEP = StepId("step-00000000-0000-4000-8000-000000000001")
MESSAGE = MessageId("message-00000000-0000-4000-8000-0000000000ff")


def stored(*parts: Part, kind: MessageKind = "assistant") -> MessageEvent:
    message = StoredMessage(
        id=MESSAGE, agent_id=AgentId("agent-x"), seq=1, kind=kind, parts=parts, created_at_us=0, run_id=RUN
    )
    return MessageEvent(number=1, message=message)


def piece(number: int, delta: Delta, message_id: MessageId = MESSAGE) -> DeltaEvent:
    return DeltaEvent(message_id=message_id, step_id=STEP, piece=number, created_at_us=0, delta=delta)


def shown(view: RunView, *events: MessageEvent | DeltaEvent) -> list[Any]:
    """Each wire message as its kind and what it says."""
    said: list[Any] = []
    for event in events:
        for one in view.show(event):
            for name in ("content", "reasoning", "hidden_reasoning", "tool_call", "summary"):
                if hasattr(one, name):
                    said.append((one.message_type.removesuffix("_message"), one.otid[-2:], getattr(one, name)))
    return said


def text(number: int, words: str, part: int = 0) -> DeltaEvent:
    return piece(number, TextDelta(part=part, text=words))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([text(0, "al"), text(1, "pha")], ["al", "pha", " beta"], id="the rest"),
        pytest.param([text(0, "alpha"), text(1, " beta")], ["alpha", " beta"], id="nothing is left"),
        pytest.param([text(1, "pha")], ["alpha beta"], id="the first piece was dropped"),
        pytest.param([text(0, "al"), text(2, "beta")], ["al", "pha beta"], id="one in the middle was dropped"),
        pytest.param([text(0, "other")], ["other", "alpha beta"], id="the model was asked again"),
        pytest.param([], ["alpha beta"], id="no preview"),
    ],
)
def test_preview_and_rest_add_up_to_the_committed_text(events: list[DeltaEvent], expected: list[str]) -> None:
    view = RunView(RUN, StreamOptions(tokens=True))
    assert [words for _, _, words in shown(view, *events, stored(TextPart(text="alpha beta")))] == expected


def test_a_reply_of_all_kinds_keeps_its_otids_from_preview_to_commit() -> None:
    """Two tool calls share one number, and what follows them is numbered on."""
    view = RunView(RUN, StreamOptions(tokens=True))
    events = [
        piece(0, ReasoningDelta(part=0, text="Hm")),
        piece(1, ToolCallDelta(part=1, call_id="c1", name="one", arguments="")),
        piece(2, ToolCallDelta(part=1, call_id="c1", name=None, arguments="{}")),
        piece(3, ToolCallDelta(part=2, call_id="c2", name="two", arguments="{")),
        piece(4, TextDelta(part=3, text="so")),
    ]
    said = shown(view, *events)
    assert [(kind, otid) for kind, otid, _ in said] == [
        ("reasoning", "80"),
        ("tool_call", "81"),
        ("tool_call", "81"),
        ("tool_call", "81"),
        ("tool_call", "81"),
        ("assistant", "82"),
    ]
    committed = stored(
        ReasoningPart(text="Hm", signature="s"),
        ToolCallPart(call_id="c1", name="one", arguments="{}"),
        ToolCallPart(call_id="c2", name="two", arguments="{}"),
        TextPart(text="so it is"),
    )
    rest = view.show(committed)
    assert [(one.message_type, one.otid and one.otid[-2:]) for one in rest] == [
        ("reasoning_message", "80"),
        ("tool_call_message", "81"),
        ("assistant_message", "82"),
    ]
    assert (rest[0].reasoning, rest[0].signature) == ("", "s")  # pyright: ignore
    assert rest[1].tool_call.arguments == "}" and rest[2].content == " it is"  # pyright: ignore


def test_pieces_that_come_after_their_message_are_not_shown() -> None:
    view = RunView(RUN, StreamOptions(tokens=True))
    events = [stored(TextPart(text="alpha")), text(0, "al"), text(1, "pha")]
    assert shown(view, *events) == [("assistant", "80", "alpha")]


def test_encrypted_thinking_is_shown_when_it_is_committed() -> None:
    view = RunView(RUN, StreamOptions(tokens=True))
    events = [text(0, "hi", part=1), stored(ReasoningPart(redacted="xyz"), TextPart(text="hi"))]
    assert shown(view, *events)[1:] == [("hidden_reasoning", "80", "xyz")]


def test_numbers_count_wire_messages_and_do_not_depend_on_what_is_asked_for() -> None:
    events = [
        stored(ReasoningPart(text="Hm"), TextPart(text="one")),
        stored(TextPart(text="two")),
        stored(TextPart(text="sum"), kind="summary"),
        stored(TextPart(text="three")),
    ]

    def numbers(**options: Any) -> list[int | None]:
        view = RunView(RUN, StreamOptions(**{"numbered": True, **options}))
        return [one.seq_id for event in events for one in view.show(event)]

    assert numbers(summaries=True) == [2, 3, 4, 5, 6, 7]
    assert numbers() == [2, 3, 4, 7]
    assert numbers(types=frozenset({"assistant_message"})) == [3, 4, 7]
    assert numbers(seen=3) == [4, 7]
    assert numbers(seen=7) == []
    assert numbers(numbered=False) == [None] * 4


def test_committed_pieces_are_numbered_and_of_their_message_only_the_rest_is_shown() -> None:
    """The first reply is interrupted; the second one is committed. Whoever comes back goes on behind what it has."""
    other = MessageId("message-00000000-0000-4000-8000-0000000000aa")

    def pieces(message_id: MessageId, *deltas: Delta) -> PiecesEvent:
        return PiecesEvent(number=1, message_id=message_id, step_id=STEP, created_at_us=0, deltas=deltas)

    call = ToolCallDelta(part=1, call_id="c", name="n", arguments="{")
    events = [
        pieces(other, TextDelta(part=0, text="lost")),
        pieces(MESSAGE, TextDelta(part=0, text="al")),
        pieces(MESSAGE, TextDelta(part=0, text="pha"), call),
        stored(TextPart(text="alpha beta"), ToolCallPart(call_id="c", name="n", arguments="{}")),
    ]

    def told(seen: int) -> list[tuple[int | None, str, Any]]:
        view = RunView(RUN, StreamOptions(numbered=True, seen=seen))
        shown = [one for event in events for one in view.show(event)]
        return [(one.seq_id, one.id[-2:], getattr(one, "content", None) or one.tool_call.arguments) for one in shown]

    whole = [
        (2, "aa", "lost"),
        (3, "ff", "al"),
        (4, "ff", "pha"),
        (5, "ff", None),
        (6, "ff", "{"),
        (7, "ff", " beta"),
        (8, "ff", "}"),
    ]
    for seen in range(9):
        assert told(seen) == [one for one in whole if one[0] > seen]


def test_calls_that_ask_are_shown_as_requests_from_the_first_piece_on() -> None:
    """Beside a call that does not ask; the request's otid is the message's id."""
    view = RunView(RUN, StreamOptions(tokens=True))
    events = [
        piece(0, ToolCallDelta(part=0, call_id="c1", name="one", arguments="")),
        piece(1, ToolCallDelta(part=1, call_id="c2", name="two", arguments="", asks=True)),
        piece(2, ToolCallDelta(part=1, call_id="c2", name=None, arguments="{", asks=True)),
    ]
    said = [one for event in events for one in view.show(event)]
    assert [(one.message_type, one.otid) for one in said] == [
        ("tool_call_message", f"{MESSAGE[8:-2]}80"),
        ("approval_request_message", MESSAGE),
        ("approval_request_message", MESSAGE),
    ]
    committed = stored(
        ToolCallPart(call_id="c1", name="one", arguments=""),
        ToolCallPart(call_id="c2", name="two", arguments="{}", asks="approval"),
    )
    (rest,) = view.show(committed)
    assert rest.message_type == "approval_request_message" and rest.tool_call.arguments == "}"  # pyright: ignore


def test_what_is_said_with_a_tool_is_shown_as_said() -> None:
    """As it grows, escapes included; the words beside it are thoughts."""
    view = RunView(RUN, StreamOptions(tokens=True))
    written = ['{"message": "Hel', "lo\\", 'n\\"you"', ', "request_heartbeat": false}']
    first = ToolCallDelta(part=1, call_id="c", name="send_message", arguments="")
    deltas: list[Delta] = [TextDelta(part=0, text="Hm", aside=True), first]
    deltas += [ToolCallDelta(part=1, call_id="c", name=None, arguments=words) for words in written]
    events = [piece(at, delta) for at, delta in enumerate(deltas)]
    call = ToolCallPart(call_id="c", name="send_message", arguments="".join(written))
    said = shown(view, *events, stored(TextPart(text="Hmm", aside=True), call))
    assert said == [
        ("reasoning", "80", "Hm"),
        ("assistant", "81", "Hel"),
        ("assistant", "81", "lo"),
        ("assistant", "81", '\n"you'),
        ("reasoning", "80", "m"),
    ]


def test_words_that_turn_out_to_be_said_are_shown_again_as_said() -> None:
    """An agent that speaks with a tool, and this time did not call it."""
    view = RunView(RUN, StreamOptions(tokens=True))
    event = piece(0, TextDelta(part=0, text="Hi", aside=True))
    assert shown(view, event, stored(TextPart(text="Hi"))) == [("reasoning", "80", "Hi"), ("assistant", "80", "Hi")]
