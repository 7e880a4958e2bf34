"""Which tools a step may use, and which it must: what people laid down for an agent, and what the turn did so far.

Pure. Rules are data of the agent; `Progress` is data of the turn. A step is offered what `offer` answers, and what
the reply may do with it says a `Policy`, which goes with the reply into `turn.py`.
"""

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw, Struct

from kelpie.llm.messages import NO_JSON, Asked, ToolCallPart

HEARTBEAT = "request_heartbeat"  # the argument with which a model says that it wants a further step


class RuleOf(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all rules have: the tool that they are about, and words of the client that are only given back."""

    tool: str
    prompt: str | None = None


class FirstRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="first"):
    """The turn begins with this tool; `arguments` (an object) come before those of the model."""

    arguments: Raw = NO_JSON


class Child(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Arguments for a tool that follows another one."""

    tool: str
    arguments: Raw = NO_JSON


class ChildRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="child"):
    """Behind this tool comes one of `children`."""

    children: tuple[str, ...]
    given: tuple[Child, ...] = ()
    given_null: bool = False  # the wire told apart whether there are none


class Branch(Struct, frozen=True, kw_only=True):
    """What a tool returned, and what follows then."""

    output: str
    tool: str


class BranchRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="branch"):
    """What comes behind this tool depends on what it returned. Else `default`, or anything; `strict`: an error."""

    branches: tuple[Branch, ...]
    default: str | None = None
    strict: bool = False


class EndRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="end"):
    """The turn ends with this tool."""


class GoOnRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="go_on"):
    """The turn goes on behind this tool, whatever the model says of it."""


class NeededRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="needed"):
    """The turn does not end without this tool."""


class CountRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="count"):
    """The tool is called so many times in a turn at most."""

    most: int


class ParentRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="parent"):
    """Each of `children` comes right behind this tool, or not at all."""

    children: tuple[str, ...]


class ApprovalRule(RuleOf, frozen=True, kw_only=True, omit_defaults=True, tag="approval"):
    """A person must allow each call of this tool."""


ToolRule = FirstRule | ChildRule | BranchRule | EndRule | GoOnRule | NeededRule | CountRule | ParentRule | ApprovalRule


class ToolCount(Struct, frozen=True, array_like=True):
    """How often a tool was called in this turn."""

    tool: str
    times: int


class Progress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a turn did so far: how often each tool was called, and which ones by the last step that called any."""

    counts: tuple[ToolCount, ...] = ()
    last: tuple[str, ...] = ()

    def times(self, tool: str) -> int:
        """How often that tool was called."""
        return next((count.times for count in self.counts if count.tool == tool), 0)

    def after(self, tools: Sequence[str]) -> "Progress":
        """The progress when a step has called these; unchanged by one that called none."""
        if not tools:
            return self
        times = {count.tool: count.times for count in self.counts}
        for tool in tools:
            times[tool] = times.get(tool, 0) + 1
        counts = tuple(ToolCount(tool, number) for tool, number in times.items())
        return Progress(counts=counts, last=tuple(dict.fromkeys(tools)))


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a reply may do, as it stood when the model was asked. Names of tools throughout.

    `barred` exist but may not be called now. `approval` need a person's leave, `client` are run by the client. `ends`
    end the turn; with `heartbeats` so does any call outside `goes_on` that does not ask for a further step. `needed`
    must have been called before the turn may end. `speaks` is the tool with which the agent speaks.
    """

    barred: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()
    client: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    goes_on: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    most: tuple[ToolCount, ...] = ()
    given: tuple[Child, ...] = ()
    heartbeats: bool = False
    speaks: str | None = None


class Offer(Struct, frozen=True, kw_only=True):
    """The tools that a step may call, in the agent's order; `must`: it must call one of them.

    `fault` says why no step is possible.
    """

    tools: tuple[str, ...]
    must: bool = False
    fault: str | None = None


def offer(
    rules: Sequence[ToolRule], tools: Sequence[str], progress: Progress, *, returned: str | None, owing: bool
) -> Offer:
    """What the next step may call. `returned` is what the last call answered.

    `owing`: the turn would have ended, but for the tools that are still needed.
    """
    known = set(tools)  # only asked whether it holds a name
    owed = [tool for tool in needed(rules, tools) if not progress.times(tool)]
    if owing and owed:
        return Offer(tools=tuple(owed), must=True)
    first = [rule.tool for rule in rules if isinstance(rule, FirstRule) and rule.tool in known]
    if first and not progress.last:
        return Offer(tools=tuple(dict.fromkeys(first)), must=True)
    barred = _spent(rules, progress) | _orphaned(rules, progress)
    following = _following(rules, progress, returned)
    if isinstance(following, str):
        return Offer(tools=(), fault=following)
    allowed = tuple(tool for tool in tools if tool not in barred and (following is None or tool in following))
    assert len(allowed) <= len(tools)
    return Offer(tools=allowed, must=following is not None and bool(allowed))


def needed(rules: Sequence[ToolRule], tools: Iterable[str]) -> list[str]:
    """The tools without which a turn may not end, if the agent has them."""
    have = set(tools)  # only asked whether it holds a name
    return [rule.tool for rule in rules if isinstance(rule, NeededRule) and rule.tool in have]


def make_policy(
    rules: Sequence[ToolRule],
    tools: Sequence[str],
    offered: Offer,
    *,
    progress: Progress,
    client: Sequence[str],
    heartbeats: bool,
    speaks: str | None,
) -> Policy:
    """What the reply to this offer may do."""
    assert set(offered.tools) <= set(tools)
    children = [rule.tool for rule in rules if isinstance(rule, ChildRule | BranchRule)]
    given = [
        child for rule in rules if isinstance(rule, ChildRule) and rule.tool in progress.last for child in rule.given
    ]
    if not progress.last:
        given += [Child(tool=rule.tool, arguments=rule.arguments) for rule in rules if isinstance(rule, FirstRule)]
    assert len(set(tools)) == len(tools)
    return Policy(
        barred=tuple(tool for tool in tools if tool not in offered.tools),
        offered=offered.tools,
        approval=tuple(rule.tool for rule in rules if isinstance(rule, ApprovalRule)),
        client=tuple(client),
        ends=tuple(rule.tool for rule in rules if isinstance(rule, EndRule)),
        goes_on=tuple(rule.tool for rule in rules if isinstance(rule, GoOnRule)) + tuple(children),
        needed=tuple(tool for tool in needed(rules, tools) if not progress.times(tool)),
        most=tuple(ToolCount(rule.tool, rule.most) for rule in rules if isinstance(rule, CountRule)),
        given=tuple(child for child in given if child.arguments != NO_JSON),
        heartbeats=heartbeats,
        speaks=speaks,
    )


def rules_of(
    own: Sequence[ToolRule], of_tools: Sequence[ToolRule], tools: Sequence[str], asking: Sequence[str]
) -> tuple[ToolRule, ...]:
    """An agent's rules: its own, and for tools without one those that tools bring. `asking` want a person's leave."""
    have = set(tools)  # only asked whether it holds a name
    ruled = {rule.tool for rule in own}
    brought = [rule for rule in of_tools if rule.tool in have and rule.tool not in ruled]
    rules = (*own, *brought)
    for tool in asking:
        rules = with_approval(rules, tool, required=True)
    return rules


def with_approval(rules: Sequence[ToolRule], tool: str, *, required: bool) -> tuple[ToolRule, ...]:
    """The rules with or without a person's leave for each call of the tool."""
    has = any(isinstance(rule, ApprovalRule) and rule.tool == tool for rule in rules)
    if has == required:
        return tuple(rules)
    if required:
        return (*rules, ApprovalRule(tool=tool))
    return tuple(rule for rule in rules if not (isinstance(rule, ApprovalRule) and rule.tool == tool))


def barred_text(policy: Policy, progress: Progress, tool: str) -> str | None:
    """Why the call may not be made, as the model is told; None when nothing speaks against it."""
    if tool in policy.barred:
        may = ", ".join(policy.offered) or "none"
        return f"Not run: the rules of this agent do not allow '{tool}' at this point. What you may call now: {may}."
    for count in policy.most:
        if count.tool == tool and progress.times(tool) >= count.times:
            return f"Not run: '{tool}' may be called {count.times} times in a turn, and was."
    return None


def asked_of(policy: Policy, tool: str) -> Asked | None:
    """For what a call of the tool waits for the client."""
    if tool in policy.client:
        return "client"
    return "approval" if tool in policy.approval else None


def give_arguments(policy: Policy, call: ToolCallPart) -> ToolCallPart:
    """The call with the arguments that the rules give it; malformed ones of the model are left as they are."""
    for child in policy.given:
        if child.tool == call.name:
            try:
                own = msgspec.json.decode(call.arguments or "{}", type=dict[str, Raw])
                given = msgspec.json.decode(child.arguments, type=dict[str, Raw])
            except msgspec.DecodeError:
                return call
            return msgspec.structs.replace(call, arguments=msgspec.json.encode({**own, **given}).decode())
    return call


def wants_more(policy: Policy, call: ToolCallPart) -> bool:
    """Whether the turn goes on behind a call that does not end it."""
    if not policy.heartbeats or call.name in policy.goes_on:
        return True
    try:
        told = msgspec.json.decode(call.arguments or "{}", type=dict[str, Raw]).get(HEARTBEAT, NO_JSON)
    except msgspec.DecodeError:
        return True  # the model is told what is wrong with its arguments
    return bytes(told).strip(b'"').lower() == b"true"


def without_heartbeat(arguments: str) -> str:
    """The arguments without what the model says of a further step, which is no argument of the tool."""
    if HEARTBEAT not in arguments:
        return arguments
    try:
        told = msgspec.json.decode(arguments, type=dict[str, Raw])
    except msgspec.DecodeError:
        return arguments
    return msgspec.json.encode({name: value for name, value in told.items() if name != HEARTBEAT}).decode()


def _spent(rules: Sequence[ToolRule], progress: Progress) -> set[str]:
    """Tools that were called as often as they may be."""
    return {rule.tool for rule in rules if isinstance(rule, CountRule) and progress.times(rule.tool) >= rule.most}


def _orphaned(rules: Sequence[ToolRule], progress: Progress) -> set[str]:
    """Tools that come behind one that was not called last."""
    barred: set[str] = set()
    for rule in rules:
        if isinstance(rule, ParentRule) and rule.tool not in progress.last:
            barred.update(rule.children)
    return barred


def _following(rules: Sequence[ToolRule], progress: Progress, returned: str | None) -> set[str] | str | None:
    """The tools of which one must follow what was called last; None: any. A text says what is wrong."""
    assert len(set(progress.last)) == len(progress.last)
    following: set[str] = set()
    bound = False
    for rule in rules:
        if rule.tool not in progress.last:
            continue
        if isinstance(rule, ChildRule):
            bound = True
            following.update(rule.children)
        elif isinstance(rule, BranchRule):
            branch = _branch(rule, returned or "")
            if branch is None and rule.strict:
                return f"what '{rule.tool}' returned fits no branch of its rule, and the rule requires that it does"
            if branch is not None:
                bound = True
                following.add(branch)
    assert bound or not following
    return following if bound else None


def _branch(rule: BranchRule, returned: str) -> str | None:
    for branch in rule.branches:
        if _is_same(branch.output, returned):
            return branch.tool
    return rule.default


def _is_same(wanted: str, returned: str) -> bool:
    """Whether two texts say the same: as words, or as numbers."""
    left, right = wanted.strip().casefold(), returned.strip().strip('"').casefold()
    if left == right:
        return True
    try:
        return float(left) == float(right)
    except ValueError:
        return False
