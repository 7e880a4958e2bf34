"""The kinds of providers that clients may name: which wire each speaks here, at which address, or why it does not.

Most of the market speaks OpenAI's wire or Anthropic's. A kind that speaks neither is refused when it is stored, in a
sentence that says what to store instead, and not later, when an agent asks it.
"""

from typing import Literal

from msgspec import Struct

from kelpie.errors import InvalidInput
from kelpie.llm.provider import WireKind

ProviderType = Literal[
    "anthropic", "azure", "baseten", "bedrock", "cerebras", "chatgpt_oauth", "deepseek", "fireworks", "google_ai",
    "google_vertex", "groq", "hugging-face", "letta", "lmstudio_openai", "minimax", "mistral", "ollama", "openai",
    "together", "vllm", "sglang", "openrouter", "xai", "zai", "zai_coding",
]  # fmt: skip
PROVIDER_TYPES: tuple[str, ...] = ProviderType.__args__  # pyright: ignore[reportAttributeAccessIssue]


class Spoken(Struct, frozen=True, kw_only=True):
    """A kind that is spoken. `needs_url`: it is wherever its owner runs it. `ending`: what its base URL ends in."""

    wire: WireKind = "openai"
    base_url: str = ""
    ending: str = ""
    needs_url: bool = False


SPOKEN: dict[str, Spoken] = {
    "anthropic": Spoken(wire="anthropic", base_url="https://api.anthropic.com"),
    "azure": Spoken(needs_url=True, ending="/openai/v1"),
    "baseten": Spoken(base_url="https://inference.baseten.co/v1"),
    "bedrock": Spoken(needs_url=True, ending="/openai/v1"),
    "cerebras": Spoken(base_url="https://api.cerebras.ai/v1"),
    "deepseek": Spoken(base_url="https://api.deepseek.com/v1"),
    "fireworks": Spoken(base_url="https://api.fireworks.ai/inference/v1"),
    "google_ai": Spoken(base_url="https://generativelanguage.googleapis.com/v1beta/openai"),
    "groq": Spoken(base_url="https://api.groq.com/openai/v1"),
    "hugging-face": Spoken(base_url="https://router.huggingface.co/v1"),
    "lmstudio_openai": Spoken(base_url="http://127.0.0.1:1234/v1", ending="/v1"),
    "minimax": Spoken(wire="anthropic", base_url="https://api.minimax.io/anthropic"),
    "mistral": Spoken(base_url="https://api.mistral.ai/v1"),
    "ollama": Spoken(base_url="http://127.0.0.1:11434/v1", ending="/v1"),
    "openai": Spoken(base_url="https://api.openai.com/v1"),
    "openrouter": Spoken(base_url="https://openrouter.ai/api/v1"),
    "sglang": Spoken(needs_url=True, ending="/v1"),
    "together": Spoken(base_url="https://api.together.xyz/v1"),
    "vllm": Spoken(needs_url=True, ending="/v1"),
    "xai": Spoken(base_url="https://api.x.ai/v1"),
    "zai": Spoken(base_url="https://api.z.ai/api/paas/v4"),
    "zai_coding": Spoken(base_url="https://api.z.ai/api/coding/paas/v4"),
}
REFUSED: dict[str, str] = {
    "chatgpt_oauth": "a ChatGPT subscription is no API key; store a provider of type openai with a key",
    "google_vertex": "Vertex AI wants tokens that expire; store a provider of type google_ai with a key",
    "letta": "the hosted inference of that name was retired; store the provider whose models you want",
}
SIGNED = (
    "requests signed with an AWS access key are not spoken here; store an Amazon Bedrock API key as api_key, without"
    " access_key, and https://bedrock-runtime.<region>.amazonaws.com as base_url"
)
assert {*SPOKEN, *REFUSED} == set(PROVIDER_TYPES)


def read_address(kind: str, base_url: str | None, access_key: str | None) -> tuple[WireKind, str]:
    """The wire and the whole base URL of such a provider. Raises InvalidInput: it cannot be asked."""
    if kind in REFUSED:
        raise InvalidInput(f"providers of type {kind} are not supported: {REFUSED[kind]}", field="provider_type")
    if kind == "bedrock" and access_key:
        raise InvalidInput(SIGNED, field="access_key")
    spoken = SPOKEN[kind]
    given = (base_url or "").strip().rstrip("/")
    if not given and spoken.needs_url:
        raise InvalidInput(f"a provider of type {kind} needs a base_url", field="base_url")
    url = given or spoken.base_url
    if spoken.ending and not url.endswith(spoken.ending):
        url = f"{url.removesuffix('/v1').removesuffix('/openai')}{spoken.ending}"
    return spoken.wire, url.removesuffix("/v1") if spoken.wire == "anthropic" else url
