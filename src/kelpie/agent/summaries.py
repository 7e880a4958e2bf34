"""How the older part of a window becomes a summary: what to summarise, and who is asked in which words.

Within a turn the newest messages stay, so that the model still has something to answer. Asked for from outside, and
for the whole window, nothing stays but the system message.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from kelpie.agent.prompt import Prompt, make_request
from kelpie.agent.state import Compaction
from kelpie.errors import ModelUnavailable, NotFound, Refused
from kelpie.ids import StepId
from kelpie.limits import CONTEXT_WINDOW_TOKENS_MAX, WINDOW_MESSAGES_MAX
from kelpie.llm.messages import ModelReply, ModelRequest, Sampling, TextPart, Usage
from kelpie.llm.model import ModelInfo, Models
from kelpie.memory.compaction import CompactionPlan, plan_compaction, self_summary, summary_part, summary_prompt
from kelpie.memory.history import CompactionStats, StoredMessage
from kelpie.memory.window import message_tokens, prompt_budget_tokens, text_tokens, window_tokens

IN_TURN = "context_window_exceeded"
ON_REQUEST = "requested"


class Summary(Struct, frozen=True, kw_only=True):
    """A summary, the plan that says what it replaces, and what came of it."""

    step_id: StepId
    part: TextPart
    plan: CompactionPlan
    usage: Usage
    stats: CompactionStats


def plan_in_turn(prompt: Prompt, window: Sequence[StoredMessage], budget_tokens: int) -> CompactionPlan | None:
    """What to summarise, if that makes the window smaller: in tokens or, when it has too many, in messages."""
    compaction = prompt.settings.compaction
    keep_percent = 0 if compaction.is_whole else compaction.keep_percent
    estimated = window_tokens(window, fixed=prompt.fixed, counted=None)
    budgets = [min(budget_tokens, estimated), budget_tokens]  # who says that it is too long may know better than we do
    if len(window) >= WINDOW_MESSAGES_MAX:
        budgets.append(prompt.fixed + CONTEXT_WINDOW_TOKENS_MAX)  # its length alone is reason enough
    for budget in budgets:
        plan = plan_compaction(window, fixed=prompt.fixed, budget_tokens=budget, keep_percent=keep_percent)
        if isinstance(plan, CompactionPlan):
            return plan
    return None


def plan_on_request(prompt: Prompt, window: Sequence[StoredMessage], compaction: Compaction) -> CompactionPlan | None:
    """What to summarise although nothing is full, if that leaves fewer messages."""
    assert window and window[0].kind == "system"
    plan = CompactionPlan(summarise=tuple(window[1:]), keep=tuple(window[:1]))
    if not compaction.is_whole:
        said = sum(message_tokens(message) for message in window[1:])
        budget = prompt.fixed + said + text_tokens("x" * compaction.chars_max)  # room for all of it and a summary
        found = plan_compaction(
            window, fixed=prompt.fixed, budget_tokens=budget, keep_percent=compaction.keep_percent, within=said
        )
        if not isinstance(found, CompactionPlan):
            return None
        plan = found
    assert len(plan.summarise) + len(plan.keep) == len(window)
    return plan if len(plan.summarise) > 1 else None


class Summariser:
    """Asks models for summaries."""

    def __init__(self, models: Models) -> None:
        self._models = models

    async def summarise(
        self,
        prompt: Prompt,
        compaction: Compaction,
        plan: CompactionPlan,
        *,
        budget: int,
        step_id: StepId,
        trigger: str,
    ) -> Summary | None:
        """The summary; None when it came back empty. Raises as Models.ask does."""
        assert plan.summarise
        assert plan.keep[:1] or not plan.headed
        reply = await self._ask_itself(prompt, compaction, plan, step_id) if compaction.is_own else None
        if reply is None:
            reply = await self._ask_about(prompt, compaction, plan, budget, step_id)
        text = _text_of(reply)
        if not text:
            return None
        part = summary_part(text, budget, compaction.chars_max)
        kept = sum(message_tokens(message) for message in plan.keep[1:])
        stats = CompactionStats(
            trigger=trigger,
            tokens_before=prompt.fixed + kept + sum(message_tokens(message) for message in plan.summarise),
            tokens_after=text_tokens(prompt.shown) + kept + text_tokens(part.text),
            context_tokens=prompt.context_tokens,
            messages_before=len(plan.keep) + len(plan.summarise),
            messages_after=len(plan.keep) + 1,
        )
        return Summary(step_id=step_id, part=part, plan=plan, usage=reply.usage, stats=stats)

    async def _ask_itself(
        self, prompt: Prompt, compaction: Compaction, plan: CompactionPlan, step_id: StepId
    ) -> ModelReply | None:
        """The agent's own model, shown what it was shown before, which its provider may have cached.

        None when that fails or is no text: then it is asked like any other model.
        """
        window = [*plan.keep[:1], *plan.summarise]
        request = make_request(prompt, window, step_id, logprobs=None)
        asked = self_summary(compaction.prompt, compaction.chars_max)
        request = msgspec.structs.replace(request, messages=(*request.messages, asked), must_call=False)
        try:
            reply = await self._models.ask(prompt.info, request, None)
        except (Refused, ModelUnavailable):
            return None
        return reply if _text_of(reply) else None

    async def _ask_about(
        self, prompt: Prompt, compaction: Compaction, plan: CompactionPlan, budget: int, step_id: StepId
    ) -> ModelReply:
        """A model, shown a transcript."""
        info = await self._find(prompt, compaction)
        asked = summary_prompt(
            plan.summarise,
            budget_tokens=min(budget, prompt_budget_tokens(info.context_tokens, None)),
            instructions=compaction.prompt,
            acknowledged=compaction.acknowledged,
        )
        sampling = Sampling() if compaction.sampling is None else compaction.sampling
        request = ModelRequest(
            model=info.model, system=asked.system, messages=asked.messages, sampling=sampling, step_id=step_id
        )
        return await self._models.ask(info, request, None)

    async def _find(self, prompt: Prompt, compaction: Compaction) -> ModelInfo:
        """The model that is named for summaries, if it is configured; else the agent's own."""
        if compaction.model is None:
            return prompt.info
        try:
            return await self._models.find(compaction.model)
        except NotFound:
            return prompt.info


def _text_of(reply: ModelReply) -> str:
    return "\n".join(part.text for part in reply.parts if isinstance(part, TextPart)).strip()
