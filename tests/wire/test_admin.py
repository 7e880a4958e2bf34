"""Users, organisations, tags, and who asks: by HTTP, and tags by the official client."""

from letta_client import Letta

from tests.system.talk import mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

OWN_USER = "user-00000000-0000-4000-8000-000000000000"
OWN_ORG = "org-00000000-0000-4000-8000-000000000000"
UNKNOWN_USER = "user-00000000-0000-4000-8000-0000000000ff"
UNKNOWN_ORG = "org-00000000-0000-4000-8000-0000000000ff"


def test_an_organisation_lives_and_dies(wire: Wire) -> None:
    """Made, listed behind the server's own, changed, and deleted once nobody is in it."""
    made = wire.post("/v1/admin/orgs/", {"name": "Acme", "privileged_tools": True})
    assert (made["name"], made["privileged_tools"]) == ("Acme", True)
    assert wire.get("/v1/admin/orgs/", limit=1)[0]["id"] == OWN_ORG
    assert made in wire.get("/v1/admin/orgs/", after=OWN_ORG, limit=1000)
    changed = wire.patch("/v1/admin/orgs/", {"name": "Acme 2"}, org_id=made["id"])
    assert (changed["name"], changed["privileged_tools"], changed["id"]) == ("Acme 2", True, made["id"])
    user = wire.post("/v1/admin/users/", {"name": "Ada", "organization_id": made["id"]})
    assert "has users" in wire.refuse("DELETE", "/v1/admin/orgs/", 409, org_id=made["id"])
    wire.delete("/v1/admin/users/", user_id=user["id"])
    assert wire.delete("/v1/admin/orgs/", org_id=made["id"]) == changed
    wire.refuse("DELETE", "/v1/admin/orgs/", 404, org_id=made["id"])


def test_a_user_lives_and_dies(wire: Wire) -> None:
    """Made, listed, moved, renamed, deleted."""
    made = wire.post("/v1/admin/users/", {"name": "Ada", "organization_id": OWN_ORG})
    assert wire.get("/v1/admin/users/", limit=1)[0]["id"] == OWN_USER
    assert made in wire.get("/v1/admin/users/", after=OWN_USER, limit=1000)
    org = wire.post("/v1/admin/orgs/", {})
    changed = wire.put("/v1/admin/users/", {"id": made["id"], "name": "Grace", "organization_id": org["id"]})
    assert (changed["name"], changed["organization_id"]) == ("Grace", org["id"])
    assert wire.delete("/v1/admin/users/", user_id=made["id"]) == changed
    wire.refuse("PUT", "/v1/admin/users/", 404, {"id": made["id"], "name": "x"})


def test_what_is_the_servers_own_stays_and_what_is_not_there_is_404(wire: Wire) -> None:
    """403 for the two, 404 for unknown ids, 422 for other forms and for none."""
    wire.refuse("DELETE", "/v1/admin/users/", 403, user_id=OWN_USER)
    wire.refuse("DELETE", "/v1/admin/orgs/", 403, org_id=OWN_ORG)
    wire.refuse("PATCH", "/v1/admin/orgs/", 403, {"name": "x"}, org_id=OWN_ORG)
    wire.refuse("DELETE", "/v1/admin/users/", 404, user_id=UNKNOWN_USER)
    wire.refuse("POST", "/v1/admin/users/", 404, {"name": "x", "organization_id": UNKNOWN_ORG})
    wire.refuse("DELETE", "/v1/admin/users/", 422, user_id="nope")
    wire.refuse("DELETE", "/v1/admin/orgs/", 422)
    wire.refuse("POST", "/v1/admin/users/", 422, {"name": "x"})


def test_whoever_asks_is_the_servers_user(wire: Wire) -> None:
    """There is no password to compare with."""
    assert wire.post("/v1/auth", {"password": "x"}) == {"uuid": OWN_USER.removeprefix("user-"), "is_admin": True}


def test_tags_of_agents_and_blocks_are_one_list(client: Letta, wire: Wire, make_agent: MakeAgent) -> None:
    """Sorted, searched, paged in both directions."""
    stem = mark("tag")
    make_agent(tags=[f"{stem}-a", f"{stem}-C"])
    client.blocks.create(label="l", value="v", tags=[f"{stem}-b"])
    whole = [f"{stem}-C", f"{stem}-a", f"{stem}-b"]
    assert list(client.tags.list(name=stem)) == whole == wire.get("/v1/tags/", query_text=stem.upper())
    assert wire.get("/v1/tags/", name=stem, order="desc") == whole[::-1]
    assert wire.get("/v1/tags/", name=stem, limit=1, after=whole[0]) == whole[1:2]
    assert wire.get("/v1/tags/", name=stem, before=whole[2], order="asc") == whole[:2]
    assert wire.get("/v1/tags/", name=stem, after=whole[2], order="desc") == [whole[1], whole[0]]
    assert wire.get("/v1/tags/", name=mark("none")) == []
