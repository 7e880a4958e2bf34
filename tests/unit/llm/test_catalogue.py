"""Goal: models found, listed, kept and guessed. Method: the scripted server's lists, both wires."""

import pytest

from kelpie.errors import NotFound
from kelpie.limits import MODEL_LIST_RETRY_MS
from kelpie.llm.rehearsed import REHEARSED_INFO

from .build import serving

NAMES = ("gpt-4o", "claude-haiku-4-5-20251001", "llama3:8b", "text-embedding-3-small")


@pytest.mark.parametrize(("kind", "context"), [("openai", (128_000, 200_000, 32_000)), ("anthropic", (200_000,) * 3)])
def test_models_for_conversation_are_listed_with_their_size(run, kind, context) -> None:
    """What the provider tells comes first, then what is known, then a careful guess."""

    async def scenario() -> None:
        async with serving(*NAMES, kind=kind) as (models, _):
            listed = await models.list_models()
            by_handle = {one.handle: one.context_tokens for one in listed}
            assert by_handle == {
                REHEARSED_INFO.handle: REHEARSED_INFO.context_tokens,
                "acme/claude-haiku-4-5-20251001": context[1],
                "acme/gpt-4o": context[0],
                "acme/llama3:8b": context[2],
            }
            assert await models.find("acme/gpt-4o") in listed

    run(scenario())


def test_a_name_may_be_short_for_a_listed_one_and_others_are_not_found(run) -> None:
    """Dated releases, `-latest`, tags; a miss says what there is."""

    async def scenario() -> None:
        async with serving(*NAMES) as (models, _):
            for name in ("claude-haiku-4-5", "gpt-4o-latest", "gpt-4o:free", "llama3", "text-embedding-3-small"):
                assert (await models.find(f"acme/{name}")).model == name
            with pytest.raises(NotFound, match="no model 'acme/gpt-9': .* lists gpt-4o, claude"):
                await models.find("acme/gpt-9")

    run(scenario())


def test_the_list_is_kept_and_asked_again_for_what_it_lacks(run, monkeypatch) -> None:
    """A second find costs nothing; a model that was just installed is found once the list may be asked for again."""

    async def scenario() -> None:
        async with serving("one") as (models, script):
            await models.find("acme/one")
            script.models.append("two")
            with pytest.raises(NotFound):
                await models.find("acme/two")
            monkeypatch.setattr("kelpie.llm.catalogue.MODEL_LIST_RETRY_MS", 0)
            assert (await models.find("acme/two")).model == "two"
            assert script.connections_made == 1

    assert MODEL_LIST_RETRY_MS > 0
    run(scenario())


def test_all_pages_are_read(run, monkeypatch) -> None:
    """Anthropic's list comes in pages."""
    monkeypatch.setattr(
        "kelpie.llm.anthropic.AnthropicWire.list_path",
        lambda self, after: "/v1/models?limit=2" + (f"&after_id={after}" if after else ""),
    )

    async def scenario() -> None:
        async with serving(*(f"m{number}" for number in range(5)), kind="anthropic") as (models, _):
            handles = [one.handle for one in await models.list_models()]
            assert handles == ["kelpie/rehearsed", "acme/m0", "acme/m1", "acme/m2", "acme/m3", "acme/m4"]

    run(scenario())
