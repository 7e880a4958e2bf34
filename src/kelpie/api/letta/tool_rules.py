"""Tool rules on the wire: each of them in the words of clients, both ways."""

from typing import Any, assert_never

import msgspec
from msgspec import Raw, Struct

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
    ParentRule,
    ToolRule,
)
from kelpie.llm.messages import NO_JSON


class RuleIn(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What all rules have."""

    tool_name: str
    prompt_template: str | None = None


class InitRuleIn(RuleIn, frozen=True, kw_only=True, tag="run_first"):
    """The tool is called first."""

    args: dict[str, Any] | None = None


class ChildNodeIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Arguments for a child."""

    name: str
    args: dict[str, Any] | None = None


class ChildRuleIn(RuleIn, frozen=True, kw_only=True, tag="constrain_child_tools"):
    """One of the children is called next."""

    children: list[str]
    child_arg_nodes: list[ChildNodeIn] | None = None


class ConditionalRuleIn(RuleIn, frozen=True, kw_only=True, tag="conditional"):
    """What is called next depends on what the tool returned."""

    child_output_mapping: dict[str, str]
    default_child: str | None = None
    require_output_mapping: bool = False


class TerminalRuleIn(RuleIn, frozen=True, kw_only=True, tag="exit_loop"):
    """The tool ends the turn."""


class ContinueRuleIn(RuleIn, frozen=True, kw_only=True, tag="continue_loop"):
    """The turn goes on after the tool."""


class RequiredRuleIn(RuleIn, frozen=True, kw_only=True, tag="required_before_exit"):
    """The turn does not end without the tool."""


class MaxCountRuleIn(RuleIn, frozen=True, kw_only=True, tag="max_count_per_step"):
    """The tool is called so many times in a turn at most."""

    max_count_limit: int


class ParentRuleIn(RuleIn, frozen=True, kw_only=True, tag="parent_last_tool"):
    """The children are called right after the tool, or not at all."""

    children: list[str]


class ApprovalRuleIn(RuleIn, frozen=True, kw_only=True, tag="requires_approval"):
    """A person must allow each call of the tool."""


ToolRuleIn = (
    InitRuleIn
    | ChildRuleIn
    | ConditionalRuleIn
    | TerminalRuleIn
    | ContinueRuleIn
    | RequiredRuleIn
    | MaxCountRuleIn
    | ParentRuleIn
    | ApprovalRuleIn
)


def read_rule(wire: ToolRuleIn) -> ToolRule:
    """A rule in our words."""
    tool, prompt = wire.tool_name, wire.prompt_template
    match wire:
        case InitRuleIn():
            return FirstRule(tool=tool, prompt=prompt, arguments=_raw(wire.args))
        case ChildRuleIn():
            given = tuple(Child(tool=node.name, arguments=_raw(node.args)) for node in wire.child_arg_nodes or ())
            children, null = tuple(wire.children), wire.child_arg_nodes is None
            return ChildRule(tool=tool, prompt=prompt, children=children, given=given, given_null=null)
        case ConditionalRuleIn():
            branches = tuple(Branch(output=output, tool=child) for output, child in wire.child_output_mapping.items())
            strict = wire.require_output_mapping
            return BranchRule(tool=tool, prompt=prompt, branches=branches, default=wire.default_child, strict=strict)
        case TerminalRuleIn():
            return EndRule(tool=tool, prompt=prompt)
        case ContinueRuleIn():
            return GoOnRule(tool=tool, prompt=prompt)
        case RequiredRuleIn():
            return NeededRule(tool=tool, prompt=prompt)
        case MaxCountRuleIn():
            return CountRule(tool=tool, prompt=prompt, most=wire.max_count_limit)
        case ParentRuleIn():
            return ParentRule(tool=tool, prompt=prompt, children=tuple(wire.children))
        case ApprovalRuleIn():
            return ApprovalRule(tool=tool, prompt=prompt)
        case _:
            assert_never(wire)


def show_rule(rule: ToolRule) -> dict[str, Any]:
    """A rule as clients know it."""
    match rule:
        case FirstRule():
            return _shown(rule, "run_first", args=_value(rule.arguments))
        case ChildRule():
            nodes = [{"name": child.tool, "args": _value(child.arguments)} for child in rule.given]
            nodes_shown = None if rule.given_null else nodes
            return _shown(rule, "constrain_child_tools", children=rule.children, child_arg_nodes=nodes_shown)
        case BranchRule():
            return _shown(
                rule,
                "conditional",
                default_child=rule.default,
                child_output_mapping={branch.output: branch.tool for branch in rule.branches},
                require_output_mapping=rule.strict,
            )
        case EndRule():
            return _shown(rule, "exit_loop")
        case GoOnRule():
            return _shown(rule, "continue_loop")
        case NeededRule():
            return _shown(rule, "required_before_exit")
        case CountRule():
            return _shown(rule, "max_count_per_step", max_count_limit=rule.most)
        case ParentRule():
            return _shown(rule, "parent_last_tool", children=rule.children)
        case ApprovalRule():
            return _shown(rule, "requires_approval")
        case _:
            assert_never(rule)


def _shown(rule: ToolRule, kind: str, **fields: Any) -> dict[str, Any]:
    return {"tool_name": rule.tool, "type": kind, "prompt_template": rule.prompt, **fields}


def _raw(value: dict[str, Any] | None) -> Raw:
    return NO_JSON if value is None else Raw(msgspec.json.encode(value))


def _value(raw: Raw) -> Any:
    return msgspec.json.decode(raw)
