"""Goal: one door to all embedding models. Method: the scripted server on loopback, faults included."""

import numpy as np
import openai
import pytest

from kelpie.errors import ModelRefused, ModelUnavailable, NotFound
from kelpie.limits import EMBEDDING_BATCH_CHARS_MAX, EMBEDDING_BATCH_TEXTS_MAX
from kelpie.llm.embedding import BUILT_IN, EmbeddingInfo, Embeddings
from kelpie.llm.lexical import embed_lexically
from kelpie_sim.model_embeddings import embedded
from kelpie_sim.model_server import LISTED_MODELS, ModelServer

from .build import serving

SMALL = "acme/text-embedding-3-small"


class OddSource:
    """A provider that answers as it is told."""

    def __init__(self, *vectors: list[float]) -> None:
        self.vectors = list(vectors)

    async def list_embeddings(self) -> list[EmbeddingInfo]:
        return []

    async def find_embedding(self, handle: str) -> EmbeddingInfo:
        return EmbeddingInfo(
            handle=handle, provider="odd", provider_kind="openai", model="m", endpoint=None, dimensions=2
        )

    async def ask_embeddings(self, info, texts) -> list[list[float]]:
        return self.vectors


def test_the_models_of_the_providers_are_listed_after_the_built_in_one(run) -> None:
    """Those that embed, with their dimensions where they are known."""

    async def listed(kind: str) -> list[tuple[str, int]]:
        async with serving(*LISTED_MODELS, kind=kind) as (models, _):
            return [(info.handle, info.dimensions) for info in await Embeddings(models).list_models()]

    built_in = (BUILT_IN.handle, 512)
    large = ("acme/text-embedding-3-large", 3_072)
    assert run(listed("openai")) == [built_in, ("acme/embed-64", 0), large, (SMALL, 1_536)]
    assert run(listed("anthropic")) == [built_in]


def test_texts_become_vectors_in_their_order(run) -> None:
    """By the provider's model, one row each, however the answer is ordered."""

    async def body() -> None:
        async with serving(*LISTED_MODELS) as (models, _):
            texts = ["the sky", "is blue", "the sky"]
            vectors = await Embeddings(models).embed(SMALL, texts)
            wanted = np.array([embedded(text, "text-embedding-3-small") for text in texts], np.float32)
            assert vectors.dtype == np.float32 and np.allclose(vectors, wanted)

    run(body())


def test_many_texts_go_in_several_bounded_requests(run) -> None:
    """Bounded in texts and in characters; the order stays."""

    async def body() -> None:
        async with serving(*LISTED_MODELS) as (models, script):
            many = [f"text {number}" for number in range(EMBEDDING_BATCH_TEXTS_MAX * 2 + 1)]
            vectors = await Embeddings(models).embed("acme/embed-64", many)
            assert np.allclose(vectors, [embedded(text, "embed-64") for text in many], atol=1e-6)
            assert len(script.requests()) == 4, "the first asks for the dimensions"
            long = ["a " * 12_000] * (EMBEDDING_BATCH_CHARS_MAX // 24_000 + 1)
            await Embeddings(models).embed(SMALL, long)
            assert len(script.requests()) == 6

    run(body())


def test_the_dimensions_of_an_unknown_model_are_asked_once(run) -> None:
    """And shown from then on."""

    async def body() -> None:
        async with serving(*LISTED_MODELS) as (models, script):
            embeddings = Embeddings(models)
            assert (await embeddings.recall("acme/embed-64")).dimensions == 0
            assert [(await embeddings.find("acme/embed-64")).dimensions for _ in range(3)] == [64, 64, 64]
            assert (await embeddings.recall("acme/embed-64")).dimensions == 64
            assert len(script.requests()) == 1

    run(body())


@pytest.mark.parametrize("handle", [None, BUILT_IN.handle, "hosted/free", "openai/text-embedding-3-small", "nonsense"])
def test_a_handle_of_no_configured_provider_is_the_built_in_model(run, handle: str | None) -> None:
    """So that clients that name a hosted model by habit work without a key."""

    async def body() -> None:
        async with serving(*LISTED_MODELS) as (models, script):
            for embeddings in (Embeddings(models), Embeddings(None)):
                assert await embeddings.find(handle) == BUILT_IN
                assert await embeddings.recall(handle or BUILT_IN.handle) == BUILT_IN
                vectors = await embeddings.embed(BUILT_IN.handle, ["sky", "blue"])
                assert np.array_equal(vectors, [embed_lexically("sky"), embed_lexically("blue")])
                if handle not in (None, BUILT_IN.handle):
                    with pytest.raises(NotFound, match="no longer configured"):
                        await embeddings.embed(handle, ["sky"])
            assert script.requests() == []

    run(body())


def test_a_model_that_its_provider_does_not_list_is_not_found(run) -> None:
    """Where it is named on purpose; an agent that has it goes on with the built-in one."""

    async def body() -> None:
        async with serving("scripted") as (models, _):
            embeddings = Embeddings(models)
            with pytest.raises(NotFound, match=r"no model 'acme/text-embedding-3-small'.*lists scripted"):
                await embeddings.find(SMALL)
            assert await embeddings.find_for_agent(SMALL) == await embeddings.recall(SMALL) == BUILT_IN

    run(body())


@pytest.mark.parametrize("fault", ["fault-429-twice", "fault-500-once"])
def test_passing_faults_are_retried(run, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the policy of all model calls."""
    monkeypatch.setattr("kelpie.llm.retry.MODEL_RETRY_FIRST_MS", 20)

    async def body() -> None:
        async with serving(*LISTED_MODELS) as (models, _):
            assert (await Embeddings(models).embed(SMALL, [f"[{fault}]"])).shape == (1, 1_536)

    run(body())


def test_a_refusal_is_told_in_the_providers_words(run) -> None:
    """Without a retry."""

    async def body() -> None:
        async with serving(*LISTED_MODELS) as (models, script):
            with pytest.raises(ModelRefused, match="maximum context length"):
                await Embeddings(models).embed(SMALL, ["x" * 40_000])
            assert len(script.requests()) == 1

    run(body())


@pytest.mark.parametrize(
    "vectors", [[], [[1.0, 0.0]], [[1.0, 0.0], [1.0]], [[], []], [[0.0, 0.0], [1.0, 0.0]], [[1e300, 1e300], [1.0, 0.0]]]
)
def test_vectors_that_are_none_are_the_providers_fault(run, vectors: list[list[float]]) -> None:
    """Too few, of different sizes, without a direction."""
    with pytest.raises(ModelUnavailable):
        run(Embeddings(OddSource(*vectors)).embed("odd/m", ["a", "b"]))


def test_vectors_get_unit_length(run) -> None:
    """Whatever length the provider gives them."""
    vectors = run(Embeddings(OddSource([3.0, 4.0], [0.0, 0.5])).embed("odd/m", ["a", "b"]))
    assert np.allclose(vectors, [[0.6, 0.8], [0.0, 1.0]])


def test_the_scripted_server_is_understood_by_the_official_client(run) -> None:
    """In both encodings, so that our codec is tested against something true."""

    async def body() -> None:
        server = await ModelServer().open("127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
                for options in ({}, {"encoding_format": "float"}):
                    answer = await client.embeddings.create(model="embed-64", input=["a b", "c"], **options)
                    answered = [one.embedding for one in sorted(answer.data, key=lambda one: one.index)]
                    assert np.allclose(answered, [embedded("a b", "embed-64"), embedded("c", "embed-64")], atol=1e-6)
                with pytest.raises(openai.BadRequestError, match="does not embed"):
                    await client.embeddings.create(model="scripted", input="a")

    run(body())
