"""Goal: whatever a turn is told, and in whatever order, it keeps its promises. Method: all sequences of events.

From a small alphabet all sequences up to DEPTH are played, those that lead to a turn seen before cut short: the
turn decides from nothing else. After each decision the invariants of the top of `turn.py` are checked.
"""

from collections.abc import Iterator

import msgspec
import pytest

from kelpie.agent.effects import (
    AskModel,
    Cancelled,
    Compacted,
    CompactionFailed,
    CompactWindow,
    Decision,
    Finish,
    NewMessage,
    Replied,
    ReplyFailed,
    Resumed,
    RunTools,
    Told,
    ToolReturned,
    WindowFull,
)
from kelpie.agent.state import PendingCall, RunError, RunOptions, Turn
from kelpie.agent.turn import (
    CANCELLED,
    COMPACTIONS_PER_STEP_MAX,
    INTERRUPTED,
    POISONED,
    TOO_MANY,
    begin,
    may_compact,
    step,
)
from kelpie.ids import MessageId, RunId, StepId
from kelpie.limits import ACTIVATION_RESTARTS_MAX, TOOL_CALLS_PER_STEP_MAX
from kelpie.llm.messages import (
    FinishReason,
    ModelReply,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    Usage,
)

RUN = RunId("run-1")
FAILED = RunError(code="model_unavailable", sentence="away")
SAID = TextPart(text="hello")
A = ToolCallPart(call_id="a", name="look", arguments="{}")
B = ToolCallPart(call_id="b", name="act", arguments="{}")
USED = Usage(input_tokens=10, output_tokens=2)


def a_reply(*parts: TextPart | ReasoningPart | ToolCallPart, finish: FinishReason = "stop") -> ModelReply:
    return ModelReply(parts=parts, finish=finish, usage=USED)


def replied(step_id: StepId, *parts: TextPart | ReasoningPart | ToolCallPart) -> Replied:
    return Replied(step_id=step_id, message_id=MessageId(f"of {step_id}"), reply=a_reply(*parts))


def returned(step_id: StepId, call: ToolCallPart, *, ok: bool = True) -> ToolReturned:
    result = ToolReturnPart(call_id=call.call_id, name=call.name, text=f"result of {call.call_id}", ok=ok)
    return ToolReturned(step_id=step_id, result=result)


def started(*, steps_max: int = 3) -> Decision:
    return begin(RUN, RunOptions(steps_max=steps_max), StepId("s1"))


def next_id(turn: Turn) -> StepId:
    return StepId(f"s{turn.step + 1}")


def hear(turn: Turn, told: Told) -> Decision:
    decision = step(turn, told, next_id(turn))
    assert decision is not None
    return decision


def in_tools(*calls: ToolCallPart, steps_max: int = 3) -> Turn:
    return hear(started(steps_max=steps_max).turn, replied(StepId("s1"), SAID, *calls)).turn


# -- all sequences ------------------------------------------------------------------------------------------


def alphabet(turn: Turn) -> Iterator[Told]:
    """What the world may say to this turn, truly or too late."""
    for step_id in (turn.step_id, StepId("s0")):
        yield replied(step_id, SAID)
        yield replied(step_id, A)
        yield replied(step_id, SAID, A, B)
        yield ReplyFailed(step_id=step_id, error=FAILED, overflow=False)
        yield ReplyFailed(step_id=step_id, error=FAILED, overflow=True)
        yield returned(step_id, A)
        yield returned(step_id, B)
        yield Compacted(step_id=step_id, usage=USED)
        yield CompactionFailed(step_id=step_id, error=None)
        yield CompactionFailed(step_id=step_id, error=FAILED)
    if may_compact(turn):
        yield WindowFull(step_id=turn.step_id)
    yield Cancelled()
    for blamed in (False, True):
        for repeatable in ((), ("a",), ("a", "b")):
            yield Resumed(repeatable=repeatable, blamed=blamed)


def check_decision(turn: Turn, told: Told, decision: Decision) -> None:
    """What holds of every decision."""
    after = decision.turn
    assert (after.run_id, after.steps_max, after.model) == (turn.run_id, turn.steps_max, turn.model)
    assert 0 <= after.step - turn.step <= 1 and after.step <= after.steps_max
    assert (after.step_id == turn.step_id) == (after.step == turn.step)
    assert after.compactions <= COMPACTIONS_PER_STEP_MAX
    assert after.usage.input_tokens >= turn.usage.input_tokens
    assert after.events == turn.events, "the journal counts events"
    check_messages(turn, told, decision)
    if decision.finish is not None:
        assert decision.effect is None and after.calls == ()
        assert (decision.finish.error is not None) == (
            decision.finish.stop_reason not in ("end_turn", "max_steps", "cancelled")
        )
        return
    open_calls = [pending.call for pending in after.calls if pending.result is None]
    match decision.effect:
        case AskModel(step_id=step_id):
            assert (after.phase, step_id, after.calls) == ("model", after.step_id, ())
        case CompactWindow(step_id=step_id):
            assert (after.phase, step_id, after.calls) == ("compact", after.step_id, ())
        case RunTools(step_id=step_id, calls=calls):
            assert (after.phase, step_id, list(calls)) == ("tools", after.step_id, open_calls)
            assert calls
        case None:
            assert isinstance(told, ToolReturned), "to wait for more is only for tools"
            assert after.phase == "tools" and open_calls


def check_messages(turn: Turn, told: Told, decision: Decision) -> None:
    """A reply is said once; the calls of a step are answered once, all together, in their order."""
    kinds = [message.kind for message in decision.messages]
    if isinstance(told, Replied):
        assert kinds == ["assistant"] and decision.messages[0].id == told.message_id
    left_tools = turn.phase == "tools" and (decision.turn.phase != "tools" or decision.finish is not None)
    if left_tools:
        assert kinds == ["tool"]
        results = decision.messages[0].parts
        assert [part.call_id for part in results if isinstance(part, ToolReturnPart)] == [
            pending.call.call_id for pending in turn.calls
        ]
        for pending, result in zip(turn.calls, results, strict=True):
            assert pending.result is None or result == pending.result, "what is known stays known"
    elif not isinstance(told, Replied):
        assert kinds == []
    for message in decision.messages:
        assert message.step_id == turn.step_id


def check_resumed(turn: Turn, told: Resumed, decision: Decision) -> None:
    """Only what may be repeated is called again; nothing is called that has a result."""
    again = decision.effect.calls if isinstance(decision.effect, RunTools) else ()
    unknown = {pending.call.call_id for pending in turn.calls if pending.result is None}
    assert {call.call_id for call in again} <= unknown & set(told.repeatable)
    if turn.phase == "model" and decision.finish is None:
        assert decision.effect == AskModel(step_id=turn.step_id), "the same step is asked again"
    if turn.restarts + told.blamed > ACTIVATION_RESTARTS_MAX:
        assert decision.finish == Finish(stop_reason="error", error=POISONED)
    elif decision.finish is not None:
        assert turn.phase == "tools" and turn.step == turn.steps_max
        assert decision.finish == Finish(stop_reason="max_steps")


@pytest.mark.parametrize("steps_max", [1, 2])
def test_all_sequences_of_events_keep_the_promises(steps_max: int) -> None:
    depth = 9
    finished = decided = ignored = 0
    layer = {started(steps_max=steps_max).turn}
    seen = set(layer)
    for _ in range(depth):
        following: set[Turn] = set()
        for turn in layer:
            for told in alphabet(turn):
                decision = step(turn, told, next_id(turn))
                stale = not isinstance(told, Cancelled | Resumed) and told.step_id != turn.step_id
                if decision is None:
                    ignored += 1
                    continue
                assert not stale, "a step that is over changes nothing"
                decided += 1
                check_decision(turn, told, decision)
                if isinstance(told, Resumed):
                    check_resumed(turn, told, decision)
                if decision.finish is not None:
                    finished += 1
                elif decision.turn not in seen:
                    following.add(decision.turn)
        seen |= following
        layer = following
    assert finished > 100 and decided > 500 and ignored > 500
    assert {turn.phase for turn in seen} == {"model", "tools", "compact"}
    assert {turn.step for turn in seen} == set(range(1, steps_max + 1))


def test_every_turn_can_be_cancelled_and_always_ends_by_itself() -> None:
    turns = {started(steps_max=2).turn, in_tools(A, B, steps_max=2)}
    turns |= {hear(turn, WindowFull(step_id=turn.step_id)).turn for turn in turns if turn.phase == "model"}
    for turn in turns:
        ended = hear(turn, Cancelled())
        assert ended.finish == Finish(stop_reason="cancelled")
        assert ended.effect is None


def test_a_model_that_calls_tools_for_ever_is_stopped_after_its_last_step() -> None:
    turn = started(steps_max=3).turn
    for at in range(1, 4):
        assert turn.step == at
        turn = hear(turn, replied(turn.step_id, A)).turn
        decision = hear(turn, returned(turn.step_id, A))
        turn = decision.turn
    assert decision.finish == Finish(stop_reason="max_steps")
    assert decision.turn.usage == Usage(input_tokens=30, output_tokens=6)


# -- whole values -------------------------------------------------------------------------------------------


def test_a_turn_begins_by_asking_the_model() -> None:
    options = RunOptions(steps_max=7, model="openai/x", stream_tokens=True)
    assert begin(RUN, options, StepId("s1")) == Decision(
        turn=Turn(
            run_id=RUN,
            phase="model",
            step=1,
            step_id=StepId("s1"),
            steps_max=7,
            model="openai/x",
            stream_tokens=True,
        ),
        effect=AskModel(step_id=StepId("s1")),
    )


def test_a_reply_without_calls_ends_the_turn() -> None:
    first = started().turn
    assert hear(first, replied(StepId("s1"), SAID)) == Decision(
        turn=msgspec.structs.replace(first, usage=USED, context_tokens=12),
        messages=(NewMessage(id=MessageId("of s1"), kind="assistant", parts=(SAID,), step_id=StepId("s1")),),
        finish=Finish(stop_reason="end_turn"),
    )


def test_an_empty_reply_ends_the_turn_and_adds_no_message() -> None:
    decision = hear(started().turn, replied(StepId("s1")))
    assert (decision.messages, decision.finish) == ((), Finish(stop_reason="end_turn"))


def test_all_calls_of_a_reply_are_run_and_all_results_told_in_the_order_of_the_calls() -> None:
    turn = in_tools(A, B)
    assert turn.calls == (PendingCall(call=A), PendingCall(call=B))
    one = hear(turn, returned(StepId("s1"), B))
    assert (one.effect, one.messages, one.finish) == (None, (), None)
    two = hear(one.turn, returned(StepId("s1"), A, ok=False))
    results = (returned(StepId("s1"), A, ok=False).result, returned(StepId("s1"), B).result)
    assert two.messages == (NewMessage(id=None, kind="tool", parts=results, step_id=StepId("s1")),)
    assert two.effect == AskModel(step_id=StepId("s2"))
    assert (two.turn.phase, two.turn.step, two.turn.step_id, two.turn.calls) == ("model", 2, StepId("s2"), ())


def test_a_result_that_comes_twice_or_of_an_unknown_call_changes_nothing() -> None:
    turn = hear(in_tools(A, B), returned(StepId("s1"), A)).turn
    stranger = ToolCallPart(call_id="c", name="c", arguments="")
    assert step(turn, returned(StepId("s1"), A, ok=False), StepId("s2")) is None
    assert step(turn, returned(StepId("s1"), stranger), StepId("s2")) is None


def test_calls_beyond_the_bound_are_not_dropped_but_refused_visibly() -> None:
    calls = tuple(ToolCallPart(call_id=str(at), name="t", arguments="{}") for at in range(TOOL_CALLS_PER_STEP_MAX + 2))
    decision = hear(started().turn, replied(StepId("s1"), *calls))
    assert isinstance(decision.effect, RunTools) and decision.effect.calls == calls[:TOOL_CALLS_PER_STEP_MAX]
    surplus = [pending.result for pending in decision.turn.calls[TOOL_CALLS_PER_STEP_MAX:]]
    assert surplus == [
        ToolReturnPart(call_id=call.call_id, name="t", text=TOO_MANY, ok=False)
        for call in calls[TOOL_CALLS_PER_STEP_MAX:]
    ]


@pytest.mark.parametrize(
    "ids", [["x", "x"], ["", ""], ["x-2", "x", "x"], ["x-1", "x-2", "x", "x", "x"], ["", "call-0", ""], ["a", "b"]]
)
def test_call_ids_that_repeat_or_lack_are_made_unique(ids: list[str]) -> None:
    calls = [ToolCallPart(call_id=call_id, name=str(at), arguments="") for at, call_id in enumerate(ids)]
    decision = hear(started().turn, replied(StepId("s1"), *calls))
    made = [pending.call for pending in decision.turn.calls]
    assert len({call.call_id for call in made}) == len(ids) and all(call.call_id for call in made)
    assert [call.name for call in made] == [call.name for call in calls]
    assert decision.messages[0].parts == tuple(made), "the history has the same ids"
    for given, call in zip(ids, made, strict=True):
        assert given == call.call_id or not given or ids.count(given) > 1 or call.call_id.startswith(given)


def test_an_overflow_is_compacted_twice_and_then_told() -> None:
    turn = started().turn
    for at in range(COMPACTIONS_PER_STEP_MAX):
        full = hear(turn, ReplyFailed(step_id=turn.step_id, error=FAILED, overflow=True))
        assert full.effect == CompactWindow(step_id=StepId("s1"))
        smaller = hear(full.turn, Compacted(step_id=turn.step_id, usage=USED))
        assert smaller.effect == AskModel(step_id=StepId("s1"))
        turn = smaller.turn
        assert (turn.compactions, turn.usage.input_tokens) == (at + 1, 10 * (at + 1))
    ended = hear(turn, ReplyFailed(step_id=turn.step_id, error=FAILED, overflow=True))
    assert ended.finish == Finish(stop_reason="context_window_overflow_in_system_prompt", error=FAILED)


def test_a_reply_makes_room_for_new_compactions_and_clears_restarts() -> None:
    tired = msgspec.structs.replace(started().turn, compactions=2, restarts=3)
    running = hear(tired, replied(StepId("s1"), A)).turn
    assert (running.compactions, running.restarts) == (0, 0)


@pytest.mark.parametrize(
    ("finish", "parts", "expected"),
    [
        ("length", (SAID,), Finish(stop_reason="max_tokens_exceeded")),
        ("refusal", (SAID,), Finish(stop_reason="end_turn")),
        (
            "refusal",
            (),
            Finish(
                stop_reason="invalid_llm_response",
                error=RunError(code="model_refused", sentence="the model refused to answer and gave no text"),
            ),
        ),
        ("other", (SAID,), Finish(stop_reason="end_turn")),
    ],
)
def test_how_a_reply_ended_is_told(finish: FinishReason, parts: tuple[TextPart, ...], expected: Finish) -> None:
    told = Replied(step_id=StepId("s1"), message_id=MessageId("m"), reply=a_reply(*parts, finish=finish))
    assert hear(started().turn, told).finish == expected


def test_cancelled_tools_get_a_result_and_known_results_are_kept() -> None:
    turn = hear(in_tools(A, B), returned(StepId("s1"), B)).turn
    decision = hear(turn, Cancelled())
    assert decision.messages[0].parts == (
        ToolReturnPart(call_id="a", name="look", text=CANCELLED, ok=False),
        returned(StepId("s1"), B).result,
    )
    assert decision.finish == Finish(stop_reason="cancelled")


def test_a_resumed_turn_repeats_only_what_may_be_repeated_and_tells_the_model_of_the_rest() -> None:
    decision = hear(in_tools(A, B), Resumed(repeatable=("a",), blamed=False))
    assert decision.effect == RunTools(step_id=StepId("s1"), calls=(A,))
    interrupted = ToolReturnPart(call_id="b", name="act", text=INTERRUPTED, ok=False)
    assert decision.turn.calls == (PendingCall(call=A), PendingCall(call=B, result=interrupted))
    nothing_left = hear(in_tools(B), Resumed(repeatable=(), blamed=True))
    assert nothing_left.messages[0].parts == (interrupted,)
    assert nothing_left.effect == AskModel(step_id=StepId("s2"))
    assert nothing_left.turn.restarts == 0, "the next step has not crashed anything"


def test_a_step_that_crashes_the_agent_again_and_again_is_given_up() -> None:
    for turn in (started().turn, in_tools(A)):
        for _ in range(ACTIVATION_RESTARTS_MAX):
            again = hear(turn, Resumed(repeatable=("a",), blamed=True))
            assert again.finish is None
            turn = again.turn
        innocent = hear(turn, Resumed(repeatable=("a",), blamed=False))
        assert innocent.finish is None, "what the world ended is not the step's fault"
        assert hear(turn, Resumed(repeatable=("a",), blamed=True)).finish == Finish(stop_reason="error", error=POISONED)


def test_the_window_is_not_called_full_when_it_may_not_be_made_smaller() -> None:
    tired = msgspec.structs.replace(started().turn, compactions=COMPACTIONS_PER_STEP_MAX)
    assert not may_compact(tired)
    with pytest.raises(AssertionError):
        step(tired, WindowFull(step_id=tired.step_id), StepId("s2"))
