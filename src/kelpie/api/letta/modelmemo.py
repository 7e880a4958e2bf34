"""What was last known of each model, so that showing an agent neither waits for a provider nor fails without it."""

from kelpie.errors import KelpieError
from kelpie.limits import CONTEXT_WINDOW_TOKENS_DEFAULT, MODEL_OUTPUT_TOKENS_DEFAULT
from kelpie.llm.model import ModelInfo, Models

MODELS_REMEMBERED_MAX = 1_024


class ModelMemo:
    """Facts by handle, kept until a client changes the provider: what was found stays true enough to be shown."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: dict[str, ModelInfo] = {}

    async def recall(self, handle: str) -> ModelInfo:
        """The model of that handle; if it is not configured any more, what its handle alone says."""
        known = self._known.get(handle)
        if known is not None:
            return known
        try:
            info = await self._models.find(handle)
        except KelpieError:
            return _guess(handle)
        if len(self._known) >= MODELS_REMEMBERED_MAX:
            self._known.clear()
        self._known[handle] = info
        return info

    def forget(self, provider: str) -> None:
        """A provider was changed: look at its models anew."""
        self._known = {handle: info for handle, info in self._known.items() if info.provider != provider}


def _guess(handle: str) -> ModelInfo:
    provider, _, model = handle.partition("/")
    return ModelInfo(
        handle=handle,
        provider=provider,
        provider_kind="anthropic" if provider == "anthropic" else "openai",
        model=model or provider,
        endpoint="",
        context_tokens=CONTEXT_WINDOW_TOKENS_DEFAULT,
        output_tokens_max=MODEL_OUTPUT_TOKENS_DEFAULT,
    )
