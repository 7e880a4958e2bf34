"""Goal: rules say which tools a step may and must use, and what a reply may do. Method: each rule by value."""

import msgspec
import pytest
from msgspec import Raw

from kelpie.agent.rules import (
    ApprovalRule,
    Branch,
    BranchRule,
    Child,
    ChildRule,
    CountRule,
    EndRule,
    FirstRule,
    GoOnRule,
    NeededRule,
    Offer,
    ParentRule,
    Progress,
    ToolRule,
    asked_of,
    barred_text,
    give_arguments,
    make_policy,
    offer,
    rules_of,
    wants_more,
    with_approval,
    without_heartbeat,
)
from kelpie.llm.messages import ToolCallPart

ALL = ("a", "b", "c")
NOTHING = Progress()
AFTER_A = NOTHING.after(["a"])
BRANCHES = (Branch(output="yes", tool="b"), Branch(output="2", tool="c"))


def offered(*rules: ToolRule, progress: Progress = AFTER_A, returned: str | None = None, owing: bool = False) -> Offer:
    return offer(rules, ALL, progress, returned=returned, owing=owing)


def policy_of(*rules: ToolRule, progress: Progress = NOTHING, heartbeats: bool = False, client: tuple[str, ...] = ()):
    given = offered(*rules, progress=progress)
    return make_policy(rules, ALL, given, progress=progress, client=client, heartbeats=heartbeats, speaks=None)


@pytest.mark.parametrize(
    ("rule", "progress", "returned", "expected"),
    [
        (FirstRule(tool="b"), NOTHING, None, Offer(tools=("b",), must=True)),
        (FirstRule(tool="b"), AFTER_A, None, Offer(tools=ALL)),
        (FirstRule(tool="gone"), NOTHING, None, Offer(tools=ALL)),
        (ChildRule(tool="a", children=("c", "b")), AFTER_A, None, Offer(tools=("b", "c"), must=True)),
        (ChildRule(tool="b", children=("c",)), AFTER_A, None, Offer(tools=ALL)),
        (ChildRule(tool="a", children=("gone",)), AFTER_A, None, Offer(tools=())),
        (BranchRule(tool="a", branches=BRANCHES), AFTER_A, "Yes", Offer(tools=("b",), must=True)),
        (BranchRule(tool="a", branches=BRANCHES), AFTER_A, "2.0", Offer(tools=("c",), must=True)),
        (BranchRule(tool="a", branches=BRANCHES), AFTER_A, "no", Offer(tools=ALL)),
        (BranchRule(tool="a", branches=BRANCHES, default="a"), AFTER_A, "no", Offer(tools=("a",), must=True)),
        (ParentRule(tool="a", children=("b",)), AFTER_A, None, Offer(tools=ALL)),
        (ParentRule(tool="c", children=("b",)), AFTER_A, None, Offer(tools=("a", "c"))),
        (CountRule(tool="a", most=1), AFTER_A, None, Offer(tools=("b", "c"))),
        (CountRule(tool="a", most=2), AFTER_A, None, Offer(tools=ALL)),
        (EndRule(tool="a"), AFTER_A, None, Offer(tools=ALL)),
    ],
)
def test_what_a_step_is_offered(rule: ToolRule, progress: Progress, returned: str | None, expected: Offer) -> None:
    assert offered(rule, progress=progress, returned=returned) == expected


def test_a_strict_branch_that_does_not_fit_is_a_fault() -> None:
    fault = offered(BranchRule(tool="a", branches=BRANCHES, strict=True), returned="no").fault
    assert fault is not None and "'a'" in fault


def test_a_turn_that_would_have_ended_is_offered_what_it_needs_and_nothing_else() -> None:
    rules = (NeededRule(tool="b"), NeededRule(tool="a"), FirstRule(tool="c"))
    assert offered(*rules, owing=True) == Offer(tools=("b",), must=True)
    assert policy_of(*rules, progress=AFTER_A).needed == ("b",)


def test_progress_counts_and_remembers_the_last_step() -> None:
    progress = AFTER_A.after(["b", "a", "b"]).after([])
    assert [progress.times(tool) for tool in ALL] == [2, 2, 0]
    assert progress.last == ("b", "a")


def test_a_reply_is_told_why_a_call_may_not_be_made() -> None:
    policy = policy_of(CountRule(tool="a", most=1), ParentRule(tool="a", children=("b",)))
    assert barred_text(policy, NOTHING, "a") is None
    assert "1 times" in (barred_text(policy, AFTER_A, "a") or "")
    assert "may call now: a, c" in (barred_text(policy, NOTHING, "b") or "")


def test_for_what_a_call_waits() -> None:
    policy = policy_of(ApprovalRule(tool="a"), ApprovalRule(tool="b"), client=("b",))
    assert [asked_of(policy, tool) for tool in ALL] == ["approval", "client", None]


def test_given_arguments_come_before_those_of_the_model() -> None:
    """Those of the first tool at the beginning, those of a child behind its parent; what is malformed stays."""
    call = ToolCallPart(call_id="1", name="b", arguments='{"x": 1, "y": 2}')
    first = policy_of(FirstRule(tool="b", arguments=Raw(b'{"x": 9}')))
    assert msgspec.json.decode(give_arguments(first, call).arguments) == {"x": 9, "y": 2}
    child = ChildRule(tool="a", children=("b",), given=(Child(tool="b", arguments=Raw(b'{"y": 9}')),))
    assert msgspec.json.decode(give_arguments(policy_of(child, progress=AFTER_A), call).arguments) == {"x": 1, "y": 9}
    assert give_arguments(policy_of(child), call) == call
    broken = msgspec.structs.replace(call, arguments="{")
    assert give_arguments(first, broken) == broken


@pytest.mark.parametrize(
    ("arguments", "more"),
    [('{"request_heartbeat": true}', True), ('{"request_heartbeat": "True"}', True), ("{}", False), ("{", True)],
)
def test_a_model_says_whether_it_wants_more(arguments: str, more: bool) -> None:
    call = ToolCallPart(call_id="1", name="a", arguments=arguments)
    assert wants_more(policy_of(heartbeats=True), call) is more
    assert wants_more(policy_of(GoOnRule(tool="a"), heartbeats=True), call)
    assert wants_more(policy_of(), call)


def test_what_is_said_of_a_further_step_is_no_argument() -> None:
    assert without_heartbeat('{"a": 1, "request_heartbeat": true}') == '{"a":1}'
    assert without_heartbeat('{"request_heartbeat": ') == '{"request_heartbeat": '


def test_rules_of_an_agent_and_of_its_tools() -> None:
    """Tools bring rules where the agent has none of them; leave is required once, and can be given up."""
    own = (EndRule(tool="a"),)
    rules = rules_of(own, (GoOnRule(tool="a"), GoOnRule(tool="b"), GoOnRule(tool="x")), ("a", "b"), ("b", "b"))
    assert rules == (EndRule(tool="a"), GoOnRule(tool="b"), ApprovalRule(tool="b"))
    assert with_approval(rules, "b", required=False) == rules[:2]
    assert with_approval(rules, "b", required=True) == rules
