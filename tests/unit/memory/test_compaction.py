"""Compaction: what leaves a window, for every window; what the summarising model is asked, never cut in silence."""

from hypothesis import given
from hypothesis import strategies as st

from kelpie.limits import CHARS_PER_TOKEN, SUMMARY_CHARS_MAX
from kelpie.llm.messages import TextPart, ToolCallPart, ToolReturnPart
from kelpie.memory.compaction import (
    SUMMARY_SYSTEM,
    CompactionPlan,
    NothingToCompact,
    WindowTooSmall,
    clip,
    group_messages,
    plan_compaction,
    summary_chars_max,
    summary_part,
    summary_prompt,
    tell_message,
)
from kelpie.memory.window import message_tokens, text_tokens
from tests.unit.memory.build import a_message, calls, message_id, returns


def _window(kinds):
    """A window from pairs (kind, words), with each step's calls answered by one or two messages."""
    window = []
    for kind, size in kinds:
        seq = len(window)
        if kind == "step":
            window.append(calls(seq, f"a{seq}", f"b{seq}", text="x" * size))
            window.append(returns(seq + 1, f"a{seq}", text="y" * size))
            window.append(returns(seq + 2, f"b{seq}", text="z" * size))
        else:
            window.append(a_message(seq, kind, "w" * max(1, size)))
    return window


STEPS = st.lists(
    st.tuples(st.sampled_from(["user", "assistant", "step", "system", "summary", "tool"]), st.integers(0, 400)),
    max_size=25,
)
ANY_PLAN = {
    "kinds": STEPS,
    "fixed": st.integers(0, 200),
    "budget_tokens": st.integers(0, 2_000),
    "keep_percent": st.integers(0, 100),
}


@given(**ANY_PLAN)
def test_plan_splits_the_window_as_promised(kinds, fixed, budget_tokens, keep_percent):
    """Nothing lost or reordered, no pair split, the newest words of the user and the last group kept, all fitting."""
    window = _window(kinds)
    head = 1 if window and window[0].kind == "system" else 0
    groups = group_messages(window[head:])
    plan = plan_compaction(window, fixed=fixed, budget_tokens=budget_tokens, keep_percent=keep_percent)
    room = budget_tokens - fixed - text_tokens("x" * summary_chars_max(budget_tokens))
    newest_user = [message for message in window[head:] if message.kind == "user"][-1:]
    if isinstance(plan, CompactionPlan):
        assert sorted([*plan.summarise, *plan.keep], key=lambda one: one.seq) == window
        assert list(plan.summarise) == sorted(plan.summarise, key=lambda one: one.seq)
        assert list(plan.keep) == sorted(plan.keep, key=lambda one: one.seq)
        assert list(plan.keep[:head]) == window[:head]
        assert all(len({message in plan.keep for message in group}) == 1 for group in groups)
        assert not newest_user or newest_user[0] in plan.keep
        assert groups[-1][-1] in plan.keep
        assert any(message.kind != "summary" for message in plan.summarise)
        assert sum(message_tokens(message) for message in plan.keep[head:]) <= room
        summary = a_message(10_000, "summary", "short")
        assert plan.window_after(summary) == (*plan.keep[:head], summary, *plan.keep[head:])
    elif isinstance(plan, WindowTooSmall):
        stays = {message.seq: message for group in groups[-1:] for message in group}
        stays.update({message.seq: message for message in newest_user})
        stuck = [group for group in groups if any(message.seq in stays for message in group)]
        assert sum(message_tokens(message) for group in stuck for message in group) > room
        assert plan.sentence
    else:
        assert plan == NothingToCompact()


@given(**ANY_PLAN)
def test_calls_stay_with_their_returns(kinds, fixed, budget_tokens, keep_percent):
    """In what is kept, and in what goes, each return's call stands before it; its place does not matter."""
    window = _window([pair for pair in kinds if pair[0] != "tool"])
    plan = plan_compaction(window, fixed=fixed, budget_tokens=budget_tokens, keep_percent=keep_percent)
    if not isinstance(plan, CompactionPlan):
        return
    for half in (plan.summarise, plan.keep):
        called = [p.call_id for message in half for p in message.parts if isinstance(p, ToolCallPart)]
        answered = [p.call_id for message in half for p in message.parts if isinstance(p, ToolReturnPart)]
        assert called == answered


@given(kinds=STEPS, budget_tokens=st.integers(1, 2_000), keep_percent=st.integers(0, 100))
def test_smaller_budget_keeps_no_more(kinds, budget_tokens, keep_percent):
    """What a caller relies on who was told that the estimate is too low."""
    window = _window(kinds)
    large = plan_compaction(window, fixed=0, budget_tokens=budget_tokens, keep_percent=keep_percent)
    small = plan_compaction(window, fixed=0, budget_tokens=budget_tokens // 2, keep_percent=keep_percent)
    if isinstance(large, CompactionPlan) and isinstance(small, CompactionPlan):
        assert {message.seq for message in small.keep} <= {message.seq for message in large.keep}


def test_newest_that_fit_are_kept():
    """Ten messages of 104 tokens each and room for 30 percent of 1,000: the newest two stay."""
    window = [a_message(0, "system", "s"), *(a_message(seq, text="x" * 400) for seq in range(1, 11))]
    plan = plan_compaction(window, fixed=0, budget_tokens=1_000, keep_percent=30)
    assert plan == CompactionPlan(summarise=tuple(window[1:9]), keep=(window[0], *window[9:]))


def test_newest_user_message_stays_though_its_turn_is_long():
    """The steps between the user's question and the newest ones are summarised, the question is not."""
    window = [a_message(0, text="old"), a_message(1, text="question"), *_turn(2, 6)]
    plan = plan_compaction(window, fixed=0, budget_tokens=600, keep_percent=15)
    assert isinstance(plan, CompactionPlan)
    assert plan.keep == (window[1], *window[-2:])
    assert plan.summarise == (window[0], *window[2:-2])


def _turn(seq, steps):
    return [
        make
        for step in range(steps)
        for make in (calls(seq + 2 * step, "a"), returns(seq + 2 * step + 1, "a", text="r" * 200))
    ]


def test_what_cannot_fit_is_said_with_its_name():
    """A message larger than the window, and a system prompt larger than it; both with their sizes."""
    window = [a_message(0), a_message(1, text="x" * 8_000)]
    large = plan_compaction(window, fixed=100, budget_tokens=1_000, keep_percent=30)
    assert large == WindowTooSmall(what="message", message_id=message_id(1), tokens=2_004, budget_tokens=900)
    assert large.sentence == "the newest message needs about 2004 tokens and the context window has room for 900"
    system = plan_compaction([a_message(0), a_message(1)], fixed=1_200, budget_tokens=1_000, keep_percent=30)
    assert system == WindowTooSmall(what="system", message_id=None, tokens=1_200, budget_tokens=1_000)


def test_nothing_to_do_for_small_windows():
    """No messages, one message, or only an earlier summary beside what stays."""
    for window in ([], [a_message(0, "system")], [a_message(0)], [a_message(0, "summary"), a_message(1)]):
        assert plan_compaction(window, fixed=0, budget_tokens=100, keep_percent=0) == NothingToCompact()


def test_request_tells_the_transcript():
    """Who said what, calls and results, an earlier summary as one; no thinking, no tools."""
    messages = [
        a_message(0, "summary", "they met"),
        a_message(1, text="weather?"),
        calls(2, "a", text="I look"),
        returns(3, "a", text="sunny"),
    ]
    prompt = summary_prompt(messages, budget_tokens=10_000)
    assert prompt.system == f"{SUMMARY_SYSTEM}\nWrite at most 4000 characters."
    (message,) = prompt.messages
    assert message.parts == (
        TextPart(
            text="Summary of what came before:\nthey met\nuser: weather?\nassistant: I look\n"
            "assistant called look with {}\nlook answered: sunny"
        ),
    )
    assert summary_prompt(messages, budget_tokens=10_000, instructions="Short!").system.startswith("Short!\n")


@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=30), st.integers(800, 6_000), st.sampled_from("x犬"))
def test_request_fits_and_names_what_it_leaves_out(sizes, budget_tokens, letter):
    """However long the messages are: within the budget, and short ones whole; a long one says how much is shown."""
    messages = [a_message(seq, text=letter * size) for seq, size in enumerate(sizes)]
    prompt = summary_prompt(messages, budget_tokens=budget_tokens)
    text = prompt.messages[0].parts[0].text
    assert text_tokens(prompt.system) + text_tokens(text) <= budget_tokens
    if text != "\n".join(tell_message(message) for message in messages):
        assert "[... clipped: " in text or "are left out here ...]" in text


def test_oldest_are_left_out_when_clips_are_too_many():
    """A thousand messages in a small window: the newest are shown, and the rest is counted."""
    messages = [a_message(seq, text=f"{seq:04} " + "x" * 995) for seq in range(1_000)]
    text = summary_prompt(messages, budget_tokens=3_000).messages[0].parts[0].text
    first = text.splitlines()[0]
    left_out = int(first.split()[1])
    chars = sum(len(tell_message(message)) for message in messages[:left_out])
    assert first == f"[... {left_out} older messages, {chars} characters in all, are left out here ...]"
    shown = [line[6:10] for line in text.splitlines() if line.startswith("user: ")]
    assert shown == [f"{seq:04}" for seq in range(left_out, 1_000)]


def test_clip_keeps_begin_and_end_and_says_so():
    """A short text is untouched."""
    assert clip("abc", 3).text == "abc"
    clipped = clip("a" * 60 + "b" * 40, 30)
    assert clipped.text == "a" * 20 + "\n[... clipped: 30 of 100 characters are shown ...]\n" + "b" * 10
    assert (clipped.chars_kept, clipped.chars_total) == (30, 100)


def test_summary_is_bounded_visibly():
    """A model that writes too much is clipped to a share of the window, and never over the bound."""
    assert summary_part("  short\n", 1_000) == TextPart(text="short")
    limit = 1_000 * CHARS_PER_TOKEN // 10
    part = summary_part("x" * 5_000, 1_000)
    assert part.text == clip("x" * 5_000, limit).text
    assert summary_chars_max(10**9) == SUMMARY_CHARS_MAX
