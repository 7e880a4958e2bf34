"""Goal: mended conversations obey every provider's rules. Method: cases by value, then hypothesis with an oracle."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kelpie.llm.anthropic import AnthropicWire
from kelpie.llm.conversation import NO_RETURN_TEXT, arguments_object, mend, wire_call_id, wire_name
from kelpie.llm.messages import ModelMessage, ReasoningPart
from kelpie.llm.openai import OpenAIWire
from kelpie_sim.model_rules import first_fault
from kelpie_sim.model_wires import AskedBody

from .build import call, info, request, returned, said


def test_blank_words_go_and_neighbours_join() -> None:
    """Empty text is never sent, one message a turn."""
    messages = [said("user", "a", " "), said("user", ""), said("user", "b"), said("assistant", "", "c")]
    assert mend(messages, plain=True) == [said("user", "a", "b"), said("assistant", "c")]


def test_an_unanswered_call_is_answered_and_a_return_without_call_is_told() -> None:
    """Both happen when a turn is cancelled or older messages are compacted away."""
    lost = said("tool", returned("gone", "7"))
    messages = [lost, said("user", "go"), said("assistant", call("a"), call("b")), said("tool", returned("b"))]
    assert mend([*messages, said("user", "on")], plain=True) == [
        said("user", "Result of an earlier call of roll: 7", "go"),
        said("assistant", call("a"), call("b")),
        said("tool", returned("b"), returned("a", NO_RETURN_TEXT, ok=False)),
        said("user", "on"),
    ]


def test_a_repeated_call_id_is_renamed_with_its_return() -> None:
    """Within a reply and across the conversation."""
    turn = [said("assistant", call("x"), call("x")), said("tool", returned("x", "1"), returned("x", "2"))]
    assert mend([*turn, said("user", "again"), *turn[:1], said("tool", returned("x", "3"))], plain=True) == [
        said("assistant", call("x"), call("x_2")),
        said("tool", returned("x", "1"), returned("x_2", "2")),
        said("user", "again"),
        said("assistant", call("x_3"), call("x_4")),
        said("tool", returned("x_3", "3"), returned("x_4", NO_RETURN_TEXT, ok=False)),
    ]


def test_plain_marks_what_the_system_says_and_drops_names() -> None:
    """For wires without a system role in the middle."""
    messages = [said("user", "hi", name="ada"), said("system", "note")]
    assert mend(messages, plain=True) == [said("user", "hi", "<system>\nnote\n</system>")]
    assert mend(messages, plain=False) == messages


def test_names_ids_and_arguments_in_wire_form() -> None:
    """What a model made up is told in a form that providers take."""
    assert (wire_name("a.b c"), wire_name(""), wire_name("x" * 99)) == ("a_b_c", "unknown", "x" * 64)
    assert wire_call_id("call_1-A") == "call_1-A"
    assert wire_call_id("call:1") == wire_call_id("call:1") != wire_call_id("call:2")
    assert arguments_object('{"a": 1}') == b'{"a": 1}'
    assert arguments_object(" ") == b"{}"
    for broken in ('{"a": ', "[1]", "nonsense", "[" * 200_000):
        assert msgspec.json.decode(arguments_object(broken)) == {"malformed_arguments": broken}


_ID = st.sampled_from(["a", "b", "odd:id", "x" * 60])
_PART = st.one_of(
    st.sampled_from(["", " ", "word"]).map(lambda text: said("user", text).parts[0]),
    _ID.map(lambda call_id: call(call_id, "t.x", "{")),
    st.just(ReasoningPart(text="hm", signature="s", provider="acme")),
)
_RETURN = _ID.map(lambda call_id: returned(call_id, "r"))
_MESSAGE = st.one_of(
    st.lists(_PART, max_size=3).map(lambda parts: said("assistant", *parts)),
    st.lists(_RETURN, max_size=3).map(lambda parts: said("tool", *parts)),
    st.tuples(st.sampled_from(["user", "system"]), st.sampled_from(["", "hello"])).map(
        lambda one: said(one[0], one[1])
    ),
)


@settings(deadline=None)
@given(messages=st.lists(_MESSAGE, max_size=12))
def test_no_history_makes_a_request_that_a_provider_refuses(messages: list[ModelMessage]) -> None:
    """Whatever a history holds, the rules of both wires hold for what is sent."""
    asked = request(*messages)
    for wire_name_, wire in (("anthropic", AnthropicWire()), ("openai", OpenAIWire("http://x/v1"))):
        body = msgspec.json.decode(wire.encode(asked, info(), stream=False), type=AskedBody)
        assert first_fault(wire_name_, body) is None
