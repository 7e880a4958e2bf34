"""The window as a prompt: pairs of calls and returns in every small case, and how full it is."""

import itertools

import pytest
from msgspec import Raw

from kelpie.limits import MESSAGE_OVERHEAD_TOKENS, WINDOW_MESSAGES_MAX
from kelpie.llm.messages import ModelMessage, ReasoningPart, TextPart, ToolCallPart, ToolDefinition, ToolReturnPart
from kelpie.memory.window import (
    NO_RETURN_TEXT,
    SUMMARY_INTRODUCTION,
    Counted,
    fixed_tokens,
    is_full,
    message_tokens,
    prompt_budget_tokens,
    prompt_messages,
    repair,
    text_tokens,
    window_tokens,
)
from tests.unit.memory.build import a_message, calls, returns


def _paired(messages) -> bool:
    """Whether every call is answered right behind it, in order, and nothing is answered that was not called."""
    for at, message in enumerate(messages):
        called = [part.call_id for part in message.parts if isinstance(part, ToolCallPart)]
        follows = messages[at + 1] if at + 1 < len(messages) else None
        answered = [p.call_id for p in follows.parts] if follows is not None and follows.role == "tool" else []
        if called != answered:
            return False
    return not messages or messages[0].role != "tool"


def test_whole_window_becomes_a_prompt():
    """The leading system message goes, a later one stays; a summary speaks as the user and says what it is."""
    window = [
        a_message(0, "system", "instructions"),
        a_message(9, "summary", "they met"),
        a_message(5, "user", "hi", name="ada"),
        calls(6, "a", "b", text="wait"),
        returns(7, "b", "a"),
        a_message(8, "system", "be short"),
    ]
    done = ToolReturnPart(call_id="a", name="look", text="done", ok=True)
    assert prompt_messages(window) == (
        ModelMessage(role="user", parts=(TextPart(text=f"{SUMMARY_INTRODUCTION}they met"),)),
        ModelMessage(role="user", parts=(TextPart(text="hi"),), name="ada"),
        ModelMessage(role="assistant", parts=window[3].parts),
        ModelMessage(role="tool", parts=(done, ToolReturnPart(call_id="b", name="look", text="done", ok=True))),
        ModelMessage(role="system", parts=(TextPart(text="be short"),)),
    )
    assert prompt_messages([]) == ()


def test_missing_return_is_told_and_stray_return_is_retold():
    """Nothing is dropped: the model learns that a call has no result, and what a lost call had answered."""
    prompt = prompt_messages([returns(1, "z", text="old"), calls(2, "a", "b"), returns(3, "b"), a_message(4)])
    assert prompt == (
        ModelMessage(role="user", parts=(TextPart(text="(Result of an earlier call of look: old)"),)),
        ModelMessage(role="assistant", parts=calls(2, "a", "b").parts),
        ModelMessage(
            role="tool",
            parts=(
                ToolReturnPart(call_id="a", name="look", text=NO_RETURN_TEXT, ok=False),
                ToolReturnPart(call_id="b", name="look", text="done", ok=True),
            ),
        ),
        ModelMessage(role="user", parts=(TextPart(text="hello"),)),
    )


def test_repair_pairs_every_small_window():
    """All windows of up to five messages of seven kinds: paired, said words in order, nothing lost, and stable."""
    choices = [
        lambda seq: a_message(seq, text=f"u{seq}"),
        lambda seq: a_message(seq, "assistant", f"a{seq}"),
        lambda seq: calls(seq, "x"),
        lambda seq: calls(seq, "x", "y", text=f"c{seq}"),
        lambda seq: returns(seq, "x", text=f"x{seq}"),
        lambda seq: returns(seq, "y", "x", text=f"y{seq}"),
        lambda seq: a_message(seq, "assistant", parts=()),
    ]
    for length in range(5):
        for picked in itertools.product(choices, repeat=length):
            window = [make(seq) for seq, make in enumerate(picked)]
            prompt = prompt_messages(window)
            assert _paired(prompt), window
            assert repair(prompt) == prompt
            said = [part.text for message in window for part in message.parts if isinstance(part, TextPart)]
            kept = [part.text for message in prompt for part in message.parts if isinstance(part, TextPart)]
            assert [text for text in kept if not text.startswith("(")] == said
            told = str(prompt)
            answers = [part.text for message in window for part in message.parts if isinstance(part, ToolReturnPart)]
            assert all(answer in told for answer in answers)


def test_sizes_are_estimated_by_bytes():
    """Four bytes are a token, rounded up; each message, call and tool costs a little more."""
    assert [text_tokens(text) for text in ("", "a", "abcd", "abcde", "犬犬犬犬")] == [0, 1, 1, 2, 3]
    parts = (
        TextPart(text="x" * 8),
        ReasoningPart(text="x" * 4, signature="s" * 100, redacted="r" * 4),
        ToolCallPart(call_id="c" * 100, name="look", arguments="{}  "),
        ToolReturnPart(call_id="c" * 100, name="look", text="x" * 4, ok=True),
    )
    expected = 2 + 2 + 2 + 1 + 3 * MESSAGE_OVERHEAD_TOKENS
    assert message_tokens(a_message(parts=parts)) == expected
    tool = ToolDefinition(name="look", description="x" * 8, parameters=Raw(b"{}"))
    assert fixed_tokens("x" * 40, [tool]) == 10 + 1 + 2 + 1 + 2 * MESSAGE_OVERHEAD_TOKENS


def test_providers_count_replaces_the_estimate_of_what_it_covered():
    """Later messages and a grown system prompt are added to it; without a count all is estimated."""
    window = [a_message(0, "system", "x" * 4_000), a_message(1, text="x" * 36), a_message(2, text="x" * 76)]
    assert window_tokens(window, fixed=100, counted=None) == 100 + 13 + 23
    assert window_tokens(window, fixed=100, counted=Counted(tokens=500, next_seq=2)) == 523
    assert window_tokens(window, fixed=100, counted=Counted(tokens=500, next_seq=3)) == 500
    grown = Counted(tokens=500, next_seq=3, fixed_tokens=80)
    assert window_tokens(window, fixed=100, counted=grown) == 520
    shrunk = Counted(tokens=500, next_seq=3, fixed_tokens=1_000)
    assert window_tokens(window, fixed=100, counted=shrunk) == 100


@pytest.mark.parametrize(
    ("window", "output", "budget"),
    [(1_000, None, 900), (1_000, 50, 900), (1_000, 200, 800), (1_000, 900, 500), (32_000, 4_096, 27_904)],
)
def test_budget_leaves_room_for_the_reply(window, output, budget):
    """At most the fill share, less for a long reply, never under half."""
    assert prompt_budget_tokens(window, output) == budget


def test_window_is_full_by_tokens_or_messages():
    """Either bound is enough."""
    assert not is_full(100, 10, 100)
    assert is_full(101, 10, 100)
    assert is_full(0, WINDOW_MESSAGES_MAX, 100)
    assert not is_full(0, WINDOW_MESSAGES_MAX - 1, 100)
