"""Goal: a turn asks a client before it acts, and keeps to the rules of its agent. Method: single steps by value."""

import msgspec

from kelpie.agent.effects import AskModel, Decision, Finish, NewMessage, Replied, RunTools
from kelpie.agent.rules import Policy, Progress, ToolCount
from kelpie.agent.state import Awaiting, PendingCall, RunOptions
from kelpie.agent.turn import DENIED, WITHDRAWN, answer, step, withdraw
from kelpie.ids import MessageId, RunId, StepId
from kelpie.llm.messages import TextPart, ToolCallPart, ToolReturnPart, VerdictPart
from tests.unit.agent.test_turn import RUN, SAID, A, B, hear, replied, returned, started


def ruled(step_id: StepId, policy: Policy, *parts: TextPart | ToolCallPart) -> Replied:
    return msgspec.structs.replace(replied(step_id, *parts), policy=policy)


def asking(*parts: TextPart | ToolCallPart) -> Decision:
    """A turn that ended because calls of `act` need a person's leave, and those of `ours` are the client's."""
    policy = Policy(offered=("look", "act"), approval=("act",), client=("ours",))
    return hear(started().turn, ruled(StepId("s1"), policy, *parts))


OURS = ToolCallPart(call_id="o", name="ours", arguments="{}")


def test_a_call_that_asks_ends_the_turn_and_keeps_the_whole_step() -> None:
    """Nothing is run, and the message says which calls wait, and for what."""
    decision = asking(SAID, A, B, OURS)
    asks = (msgspec.structs.replace(B, asks="approval"), msgspec.structs.replace(OURS, asks="client"))
    assert decision.messages[0].parts == (SAID, A, *asks)
    assert (decision.effect, decision.finish) == (None, Finish(stop_reason="requires_approval"))
    assert decision.awaiting == Awaiting(
        run_id=RUN,
        message_id=MessageId("of s1"),
        step_id=StepId("s1"),
        calls=tuple(PendingCall(call=call) for call in (A, *asks)),
        progress=Progress(counts=(ToolCount("look", 1), ToolCount("act", 1)), last=("look", "act")),
    )


def answered(decision: Decision, *answers: VerdictPart | ToolReturnPart) -> Decision:
    assert decision.awaiting is not None
    return answer(RunId("run-2"), RunOptions(steps_max=3), decision.awaiting, answers, StepId("s2"))


YES, NO = VerdictPart(call_id="b", approve=True), VerdictPart(call_id="b", approve=False, reason="too dear")


def test_an_allowed_call_is_run_with_those_that_waited_beside_it() -> None:
    decision = answered(asking(A, B), YES)
    assert (decision.turn.run_id, decision.turn.step, decision.turn.step_id) == (RunId("run-2"), 0, StepId("s1"))
    assert isinstance(decision.effect, RunTools)
    assert [call.call_id for call in decision.effect.calls] == ["a", "b"]
    one = step(decision.turn, returned(StepId("s1"), B), StepId("s2"))
    assert one is not None
    two = step(one.turn, returned(StepId("s1"), A), StepId("s2"))
    assert two is not None
    assert [part.text for part in two.messages[0].parts if isinstance(part, ToolReturnPart)] == [
        "result of a",
        "result of b",
    ]
    assert (two.turn.step, two.effect, two.input_follows) == (1, AskModel(step_id=StepId("s2")), True)


def test_a_call_that_was_not_allowed_is_told_to_the_model_with_the_reason() -> None:
    """Nothing has to be run, so the model is asked at once."""
    decision = answered(asking(B), NO)
    result = ToolReturnPart(call_id="b", name="act", text=f"{DENIED} Their reason: too dear", ok=False)
    assert decision.messages == (NewMessage(id=None, kind="tool", parts=(result,), step_id=StepId("s1")),)
    assert (decision.effect, decision.input_follows) == (AskModel(step_id=StepId("s2")), True)


def test_what_the_client_ran_is_told_under_the_tool_s_name() -> None:
    given = ToolReturnPart(call_id="o", name="", text="sunny", ok=True, stdout=("x",))
    decision = answered(asking(OURS), given)
    assert decision.messages[0].parts == (msgspec.structs.replace(given, name="ours"),)


def test_calls_that_nobody_answers_get_a_result_all_the_same() -> None:
    awaiting = asking(A, B).awaiting
    assert awaiting is not None
    told = withdraw(awaiting)
    assert [(part.call_id, part.text) for part in told.parts if isinstance(part, ToolReturnPart)] == [
        ("a", WITHDRAWN),
        ("b", WITHDRAWN),
    ]


def test_a_tool_that_ends_the_turn_ends_it_unless_it_failed() -> None:
    policy = Policy(offered=("look", "act"), ends=("act",))
    turn = hear(started().turn, ruled(StepId("s1"), policy, A, B)).turn
    with_a = hear(turn, returned(StepId("s1"), A)).turn
    assert hear(with_a, returned(StepId("s1"), B)).finish == Finish(stop_reason="tool_rule")
    assert hear(with_a, returned(StepId("s1"), B, ok=False)).effect == AskModel(step_id=StepId("s2"))


def test_without_a_heartbeat_the_turn_ends_and_one_among_several_is_enough_to_go_on() -> None:
    policy = Policy(offered=("look", "act"), heartbeats=True)
    more = msgspec.structs.replace(B, arguments='{"request_heartbeat": true}')
    quiet = hear(started().turn, ruled(StepId("s1"), policy, A)).turn
    assert hear(quiet, returned(StepId("s1"), A)).finish == Finish(stop_reason="end_turn")
    both = hear(started().turn, ruled(StepId("s1"), policy, A, more)).turn
    both = hear(both, returned(StepId("s1"), A)).turn
    assert hear(both, returned(StepId("s1"), B)).effect == AskModel(step_id=StepId("s2"))


def test_a_turn_does_not_end_before_what_it_needs_was_called() -> None:
    """Neither with words nor with a tool that ends it; the last step ends it all the same."""
    policy = Policy(offered=("look", "act"), needed=("look",), ends=("act",))
    said = hear(started().turn, ruled(StepId("s1"), policy, SAID))
    assert (said.effect, said.turn.owing, said.turn.step) == (AskModel(step_id=StepId("s2")), True, 2)
    assert len(said.messages) == 1
    acted = hear(started().turn, ruled(StepId("s1"), policy, B)).turn
    assert hear(acted, returned(StepId("s1"), B)).turn.owing
    both = hear(hear(started().turn, ruled(StepId("s1"), policy, A, B)).turn, returned(StepId("s1"), A)).turn
    assert hear(both, returned(StepId("s1"), B)).finish == Finish(stop_reason="tool_rule")
    last = hear(started(steps_max=1).turn, ruled(StepId("s1"), policy, SAID))
    assert last.finish == Finish(stop_reason="max_steps")


def test_calls_that_the_rules_bar_are_told_so_and_not_run() -> None:
    """If nothing is left to run, the model is asked again at once."""
    policy = Policy(barred=("act",), offered=("look",), approval=("act",))
    decision = hear(started().turn, ruled(StepId("s1"), policy, B))
    assert [message.kind for message in decision.messages] == ["assistant", "tool"]
    assert decision.effect == AskModel(step_id=StepId("s2"))
    assert decision.turn.progress == Progress()


def test_who_speaks_with_a_tool_says_the_rest_to_itself() -> None:
    policy = Policy(offered=("act",), speaks="act")
    decision = hear(started().turn, ruled(StepId("s1"), policy, SAID, B))
    assert decision.messages[0].parts == (msgspec.structs.replace(SAID, aside=True), B)
    assert hear(started().turn, ruled(StepId("s1"), policy, SAID)).messages[0].parts == (SAID,)
