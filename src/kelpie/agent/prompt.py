"""Everything that a request to the model is made of."""

from collections.abc import Sequence

from msgspec import Struct

from kelpie.agent.moments import zone_of
from kelpie.agent.offers import StepTools
from kelpie.agent.state import AgentSettings
from kelpie.agent.wording import tell_returns
from kelpie.ids import StepId
from kelpie.llm.messages import ModelRequest, ToolDefinition
from kelpie.llm.model import ModelInfo
from kelpie.memory.history import StoredMessage
from kelpie.memory.window import prompt_messages


class Prompt(Struct, frozen=True, kw_only=True):
    """What one step shows its model, the window left out."""

    settings: AgentSettings
    info: ModelInfo
    system: str
    shown: str  # what the model is told in its place, or with what the client added
    step_tools: StepTools
    tools: tuple[ToolDefinition, ...]
    fixed: int
    context_tokens: int
    budget: int


def make_request(
    prompt: Prompt, window: Sequence[StoredMessage], step_id: StepId, *, logprobs: int | None
) -> ModelRequest:
    """What the model is asked with this window."""
    assert prompt.tools == prompt.step_tools.definitions
    zone = zone_of(prompt.settings.timezone)
    return ModelRequest(
        model=prompt.info.model,
        system=prompt.shown,
        messages=prompt_messages([tell_returns(message, zone) for message in window]),
        tools=prompt.tools,
        must_call=prompt.step_tools.must_call,
        sampling=prompt.settings.sampling,
        logprobs=logprobs,
        step_id=step_id,
    )
