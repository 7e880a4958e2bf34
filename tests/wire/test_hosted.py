"""What the command line tool asks of the hosted service is answered, or says why it is not there."""

from letta_client import Letta

from tests.system.talk import REHEARSED
from tests.wire.wire import Wire


def test_the_catalog_has_every_model_and_one_default(client: Letta, wire: Wire) -> None:
    shown = wire.get("/v1/models/catalog")["models"]
    assert [one["handle"] for one in shown] == [one.handle for one in client.models.list()]
    assert len([one for one in shown if one["isDefault"]]) == 1
    first = next(one for one in shown if one["handle"] == REHEARSED)
    assert first["maxContextWindow"] >= first["contextWindow"] > first["maxOutputTokens"] > 0
    assert (first["id"], first["brand"], first["label"]) == (REHEARSED, "kelpie", "rehearsed")


def test_who_asks_is_the_one_user(wire: Wire) -> None:
    assert wire.get("/v1/metadata/user") == {
        "id": "user-00000000-0000-4000-8000-000000000000",
        "name": "default_user",
    }


def test_the_document_has_two_readable_forms(wire: Wire) -> None:
    pages = [wire.raw("GET", path, query={}) for path in ("/docs", "/redoc")]
    assert [one.status_code for one in pages] == [200, 200]
    assert pages[0].text == pages[1].text and "/v1/agents/" in pages[0].text
    assert wire.get("/openapi.json")["openapi"].startswith("3.")
    assert "Letta" in wire.raw("GET", "/", query={}).text
