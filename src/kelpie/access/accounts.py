"""Users and organisations as records: who a client says there are. Nothing is allowed or refused by them yet.

Every server has one organisation and one user of its own, to which everything belongs; they are no records, cannot be
changed, and come first in the lists.
"""

from typing import TypeVar

import msgspec

from kelpie.errors import AlreadyExists, Forbidden, InvalidInput
from kelpie.ids import new_id
from kelpie.limits import ACCOUNT_NAME_CHARS_MAX
from kelpie.storage.collection import Collection, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Records, Space
from kelpie.world import World


class Organization(Listed, frozen=True, kw_only=True, tag_field="form", tag=1):
    """Several users together. `privileged_tools` is kept for the client."""

    name: str
    privileged_tools: bool = False


class User(Listed, frozen=True, kw_only=True, tag_field="form", tag=1):
    """Somebody in an organisation."""

    name: str
    organization_id: str
    updated_at_us: int


ORGANIZATIONS = Space("organization", Organization)  # at(organization_id)
USERS = Space("user", User)  # at(user_id)
T = TypeVar("T", bound=Listed)


class Accounts:
    """The records, behind the two that a server has of its own."""

    def __init__(self, records: Records, world: World, own_user: User, own_organization: Organization) -> None:
        assert own_user.organization_id == own_organization.id
        self._world = world
        self._users = Collection(records, world.entropy, USERS, "User")
        self._organizations = Collection(records, world.entropy, ORGANIZATIONS, "Organization")
        self._own_user = own_user
        self._own_organization = own_organization

    async def create_organization(self, name: str, privileged_tools: bool) -> Organization:
        """A new one. Raises InvalidInput."""
        made = Organization(
            id=new_id("org", self._world.entropy),
            name=_checked(name),
            privileged_tools=privileged_tools,
            created_at_us=self._world.wall.now_us(),
        )
        return await self._organizations.create(made)

    async def organization(self, id: str) -> Organization:
        """One. Raises NotFound."""
        return self._own_organization if id == self._own_organization.id else (await self._organizations.get(id)).value

    async def edit_organization(self, id: str, name: str | None, privileged_tools: bool | None) -> Organization:
        """Change it. Raises NotFound, Forbidden, InvalidInput."""
        self._refuse_own(id)

        def change(now: Organization) -> Organization:
            tools = now.privileged_tools if privileged_tools is None else privileged_tools
            return msgspec.structs.replace(
                now, name=now.name if name is None else _checked(name), privileged_tools=tools
            )

        return await self._organizations.edit(id, change)

    async def delete_organization(self, id: str) -> Organization:
        """Remove it. Raises NotFound, Forbidden, AlreadyExists: somebody is in it."""
        self._refuse_own(id)
        if await self._users.count(lambda user: user.organization_id == id):
            raise AlreadyExists(f"Organization '{id}' has users; delete them first", id=id)
        return await self._organizations.delete(id)

    async def organizations(self, after: str | None, limit: int) -> list[Organization]:
        """A page, oldest first, the server's own before all others. Raises NotFound for an unknown cursor."""
        return await _listed(self._own_organization, after, limit, self._organizations)

    async def create_user(self, name: str, organization_id: str) -> User:
        """A new one. Raises InvalidInput, NotFound: there is no such organisation."""
        await self.organization(organization_id)
        now_us = self._world.wall.now_us()
        made = User(
            id=new_id("user", self._world.entropy),
            name=_checked(name),
            organization_id=organization_id,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        return await self._users.create(made)

    async def edit_user(self, id: str, name: str | None, organization_id: str | None) -> User:
        """Change it. Raises NotFound, Forbidden, InvalidInput."""
        self._refuse_own(id)
        if organization_id is not None:
            await self.organization(organization_id)
        now_us = self._world.wall.now_us()

        def change(now: User) -> User:
            return msgspec.structs.replace(
                now,
                name=now.name if name is None else _checked(name),
                organization_id=organization_id or now.organization_id,
                updated_at_us=now_us,
            )

        return await self._users.edit(id, change)

    async def delete_user(self, id: str) -> User:
        """Remove it. Raises NotFound, Forbidden."""
        self._refuse_own(id)
        return await self._users.delete(id)

    async def users(self, after: str | None, limit: int) -> list[User]:
        """A page, oldest first, the server's own before all others. Raises NotFound for an unknown cursor."""
        return await _listed(self._own_user, after, limit, self._users)

    def _refuse_own(self, id: str) -> None:
        if id in (self._own_user.id, self._own_organization.id):
            raise Forbidden(f"'{id}' is the server's own: it stays as it is", id=id)


async def _listed(own: T, after: str | None, limit: int, others: Collection[T]) -> list[T]:
    """A page with the server's own in front."""
    assert limit > 0
    if after is None:
        rest = await others.page(Page(limit=limit, newest_first=False))
        return [own, *rest][:limit]
    return await others.page(Page(after=None if after == own.id else after, limit=limit, newest_first=False))


def _checked(name: str) -> str:
    if not name or len(name) > ACCOUNT_NAME_CHARS_MAX:
        raise InvalidInput(f"a name has 1 to {ACCOUNT_NAME_CHARS_MAX} characters", field="name")
    return name
