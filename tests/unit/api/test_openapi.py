"""The OpenAPI document is valid, complete, and says what the server does; the pages are made from it."""

import re
from collections.abc import Callable
from typing import Any

import jsonschema
import msgspec

from kelpie.api.letta.table import ROUTES
from kelpie.api.openapi import describe
from tests.unit.api.knocking import visit

Run = Callable[[Any], Any]
METHODS = {"get", "post", "put", "patch", "delete"}


def _schemas(value: Any) -> list[dict[str, Any]]:
    """Every object in the document that stands where a schema does."""
    if isinstance(value, list):
        return [found for one in value for found in _schemas(one)]
    if not isinstance(value, dict):
        return []
    own = [value["schema"]] if isinstance(value.get("schema"), dict) else []
    return own + [found for one in value.values() for found in _schemas(one)]


def test_every_route_is_described_once_and_every_parameter_of_its_path() -> None:
    document = describe(ROUTES)
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert sorted((path, method.upper()) for path, method, _ in operations) == sorted(
        (route.path, route.method) for route in ROUTES
    )
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations)
    for path, method, operation in operations:
        assert method in METHODS
        in_path = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
        assert in_path == re.findall(r"{(\w+)}", path)
        assert "422" in operation["responses"] and ("requestBody" in operation) == ("413" in operation["responses"])


def test_every_schema_is_one_and_every_reference_leads_somewhere() -> None:
    document = describe(ROUTES)
    components = document["components"]["schemas"]
    for schema in (*components.values(), *_schemas(document["paths"])):
        jsonschema.Draft202012Validator.check_schema(schema)
    references = set(re.findall(r"'\$ref': '([^']+)'", str(document)))
    assert references and references <= {f"#/components/schemas/{name}" for name in components}


def test_an_answer_fits_its_own_schema(run: Run) -> None:
    async def scenario() -> None:
        document = describe(ROUTES)
        async with visit() as visitor:
            agent = await visitor.agent()
            reply = await visitor.ok("POST", f"/v1/agents/{agent['id']}/messages", {"input": "hi"})
            for path, method, answer in (
                ("/v1/agents/", "post", agent),
                ("/v1/agents/{agent_id}/messages", "post", reply),
                ("/v1/agents/{agent_id}/messages", "get", reply["messages"]),
                ("/v1/tools/", "get", agent["tools"]),
            ):
                content = document["paths"][path][method]["responses"]["200"]["content"]
                schema = {**content["application/json"]["schema"], "components": document["components"]}
                jsonschema.Draft202012Validator(schema).validate(answer)

    run(scenario())


def test_the_pages_show_every_operation_and_load_nothing_from_elsewhere(run: Run) -> None:
    async def scenario() -> None:
        async with visit() as visitor:
            home = await visitor.call("GET", "/", headers={"host": "box:1<b>"})
            docs = await visitor.call("GET", "/docs")
            assert home.headers[b"content-type"] == docs.headers[b"content-type"] == b"text/html; charset=utf-8"
            text = docs.body.decode()
            assert all(f"<code>{route.path}</code>" in text for route in ROUTES)
            assert "box:1&lt;b&gt;" in home.body.decode()
            for page in (home, docs):
                assert not re.search(rb"(src|href)=\"?(https?:)?//", page.body) and b"<script" not in page.body
            document = await visitor.ok("GET", "/openapi.json")
            assert document == msgspec.json.decode(msgspec.json.encode(describe(ROUTES)))
            assert document["openapi"].startswith("3.1")

    run(scenario())
