"""Goal: users and organisations are kept behind the server's own. Method: whole lives, over a store in memory."""

import pytest

from kelpie.access.accounts import Accounts, Organization, User
from kelpie.errors import AlreadyExists, Forbidden, InvalidInput, NotFound
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.records import Records
from kelpie.system import system_world

WORLD = system_world()
OWN_ORG = Organization(id="org-0", name="own", created_at_us=0)
OWN_USER = User(id="user-0", name="own", organization_id="org-0", created_at_us=0, updated_at_us=0)


def some_accounts() -> Accounts:
    return Accounts(Records(CheckedStore(MemoryStore(WORLD))), WORLD, OWN_USER, OWN_ORG)


def test_the_servers_own_come_first_and_stay(run) -> None:
    async def play() -> None:
        accounts = some_accounts()
        org = await accounts.create_organization("acme", False)
        ada, bob = [await accounts.create_user(name, org.id) for name in ("ada", "bob")]
        assert await accounts.users(None, 10) == [OWN_USER, ada, bob]
        assert await accounts.users(None, 2) == [OWN_USER, ada]
        assert await accounts.users(OWN_USER.id, 1) == [ada]
        assert await accounts.users(ada.id, 10) == [bob]
        assert await accounts.organizations(None, 10) == [OWN_ORG, org]
        assert await accounts.organization(OWN_ORG.id) == OWN_ORG
        for change in (
            accounts.delete_user(OWN_USER.id),
            accounts.edit_user(OWN_USER.id, "x", None),
            accounts.delete_organization(OWN_ORG.id),
            accounts.edit_organization(OWN_ORG.id, "x", None),
        ):
            with pytest.raises(Forbidden):
                await change

    run(play())


def test_an_organisation_goes_when_nobody_is_in_it(run) -> None:
    async def play() -> None:
        accounts = some_accounts()
        org = await accounts.create_organization("acme", False)
        user = await accounts.create_user("ada", org.id)
        with pytest.raises(AlreadyExists, match="has users"):
            await accounts.delete_organization(org.id)
        moved = await accounts.edit_user(user.id, None, OWN_ORG.id)
        assert (moved.name, moved.organization_id) == ("ada", OWN_ORG.id)
        changed = await accounts.edit_organization(org.id, None, True)
        assert await accounts.delete_organization(org.id) == changed
        for gone in (accounts.delete_organization(org.id), accounts.create_user("bob", org.id)):
            with pytest.raises(NotFound):
                await gone
        for name in ("", "x" * 300):
            with pytest.raises(InvalidInput):
                await accounts.create_user(name, OWN_ORG.id)

    run(play())
