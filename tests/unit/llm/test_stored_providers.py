"""Goal: a stored provider is asked as its record is now. Method: records in memory, the scripted server on loopback."""

import msgspec
import pytest

from kelpie.access.vault import Vault
from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, NotFound, SecretUnreadable
from kelpie.llm.providers import ConfiguredModels
from kelpie.llm.stored_providers import ProviderFields, ProviderRecord, StoredProviders
from kelpie.llm.transport import open_transport
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.records import Records
from kelpie.system import system_world
from kelpie_sim.model_server import ModelServer

from .build import QUICK, request

WORLD = system_world()


def some_providers(key: bytes = b"k" * 32) -> tuple[Records, StoredProviders]:
    records = Records(CheckedStore(MemoryStore(WORLD)))
    return records, StoredProviders(records, Vault(key, WORLD.entropy), WORLD)


def fields(base_url: str = "http://127.0.0.1:9/v1", key: str = "sk-1") -> ProviderFields:
    return ProviderFields(brand="groq", wire="openai", base_url=base_url, api_key=key)


def test_a_key_is_sealed_and_opened_for_its_own_record_only(run) -> None:
    async def play() -> None:
        records, providers = some_providers()
        record = await providers.create("mine", fields(), reserved=())
        assert b"sk-1" not in msgspec.json.encode(record)
        assert providers.settings_of(record).api_key == "sk-1"
        other = StoredProviders(records, Vault(b"o" * 32, WORLD.entropy), WORLD)
        for opened_by, stolen in ((other, record), (providers, msgspec.structs.replace(record, id="provider-2"))):
            with pytest.raises(SecretUnreadable, match="provider 'mine'"):
                opened_by.settings_of(stolen)

    run(play())


def test_names_are_checked_taken_once_and_bounded(run, monkeypatch) -> None:
    async def play() -> None:
        _, providers = some_providers()
        for name in ("", "a/b", "x" * 200, "line\nbreak"):
            with pytest.raises(InvalidInput):
                await providers.create(name, fields(), reserved=())
        with pytest.raises(AlreadyExists, match="own settings"):
            await providers.create("openai", fields(), reserved=("openai",))
        await providers.create("mine", fields(), reserved=())
        with pytest.raises(AlreadyExists):
            await providers.create("mine", fields(), reserved=())
        monkeypatch.setattr("kelpie.llm.stored_providers.PROVIDERS_MAX", 1)
        with pytest.raises(LimitExceeded):
            await providers.create("more", fields(), reserved=())

    run(play())


def test_a_change_is_in_force_at_the_next_call_and_a_deleted_provider_is_not_known(run) -> None:
    """The address is wrong, then right; then the record is gone."""

    async def play() -> None:
        _, providers = some_providers()
        script = ModelServer(("scripted",))
        async with await script.open("127.0.0.1", 0) as server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            models = ConfiguredModels(WORLD, open_transport(None), [], stored=providers, bounds=QUICK)
            record = await providers.create("mine", fields(), reserved=())
            assert [info.handle for info in await models.list_models()] == ["kelpie/rehearsed"]

            def moved(now: ProviderRecord) -> ProviderFields:
                return fields(address, "sk-2")

            await providers.modify(record.id, moved)
            found = await models.find("mine/scripted")
            assert (found.brand, found.stored, found.provider_kind) == ("groq", True, "openai")
            await models.ask(found, request("hi"), None)
            assert script.requests()[-1].headers["authorization"] == "Bearer sk-2"
            await providers.delete(record.id)
            with pytest.raises(NotFound, match="no model 'mine/scripted' is configured"):
                await models.find("mine/scripted")
            with pytest.raises(NotFound, match="no longer configured"):
                await models.ask(found, request("hi"), None)
            await models.close()

    run(play())


def test_a_list_of_models_does_not_fail_over_a_key_that_cannot_be_opened(run) -> None:
    async def play() -> None:
        records, providers = some_providers()
        await providers.create("mine", fields(), reserved=())
        other = StoredProviders(records, Vault(b"o" * 32, WORLD.entropy), WORLD)
        models = ConfiguredModels(WORLD, open_transport(None), [], stored=other, bounds=QUICK)
        assert [info.handle for info in await models.list_models()] == ["kelpie/rehearsed"]
        with pytest.raises(SecretUnreadable):
            await models.find("mine/x")
        await models.close()

    run(play())
