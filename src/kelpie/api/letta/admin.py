"""Users and organisations on the wire, and the question who asks: whoever reaches this server may do all of it."""

from typing import Annotated

from msgspec import Meta, Struct

from kelpie.access.accounts import Organization, User
from kelpie.api.errors import Malformed
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import PageLimit, read_cursor
from kelpie.api.letta.values import USER_ID, micros_date
from kelpie.api.route import Ask, Route

LIMIT_DEFAULT = 50
_UserId = Annotated[str, Meta(pattern="^user-[0-9a-f-]{36}$")]


class OrganizationOut(Struct, frozen=True, kw_only=True):
    """An organisation as the wire shows it."""

    id: str
    name: str
    created_at: str | None
    privileged_tools: bool


class OrganizationIn(Struct, frozen=True, kw_only=True):
    """A new organisation, or what to change of one."""

    name: str | None = None
    privileged_tools: bool | None = None


class UserOut(Struct, frozen=True, kw_only=True):
    """A user as the wire shows it."""

    id: str
    organization_id: str
    name: str
    created_at: str | None
    updated_at: str | None
    is_deleted: bool = False


class UserIn(Struct, frozen=True, kw_only=True):
    """A new user."""

    name: str
    organization_id: str


class UserEdit(Struct, frozen=True, kw_only=True):
    """What to change of a user."""

    id: _UserId
    name: str | None = None
    organization_id: str | None = None


class ListAccounts(Struct, frozen=True, kw_only=True):
    """Which page."""

    after: str | None = None
    limit: PageLimit | None = LIMIT_DEFAULT


class WhichOrganization(Struct, frozen=True, kw_only=True):
    """One organisation."""

    org_id: str | None = None


class WhichUser(Struct, frozen=True, kw_only=True):
    """One user."""

    user_id: str | None = None


class AuthIn(Struct, frozen=True, kw_only=True):
    """The password that clients of older servers send."""

    password: str | None = None


class AuthOut(Struct, frozen=True, kw_only=True):
    """Who asks."""

    uuid: str = USER_ID.removeprefix("user-")
    is_admin: bool = True


def show_organization(organization: Organization) -> OrganizationOut:
    """An organisation as the wire shows it."""
    return OrganizationOut(
        id=organization.id,
        name=organization.name,
        created_at=_date(organization.created_at_us),
        privileged_tools=organization.privileged_tools,
    )


def show_user(user: User) -> UserOut:
    """A user as the wire shows it."""
    return UserOut(
        id=user.id,
        organization_id=user.organization_id,
        name=user.name,
        created_at=_date(user.created_at_us),
        updated_at=_date(user.updated_at_us),
    )


async def list_organizations(house: House, ask: Ask[ListAccounts, None]) -> list[OrganizationOut]:
    """A page of them, the server's own first."""
    after = read_cursor("org", ask.query.after, "after")
    found = await house.accounts.organizations(after, ask.query.limit or LIMIT_DEFAULT)
    return [show_organization(one) for one in found]


async def create_organization(house: House, ask: Ask[None, OrganizationIn]) -> OrganizationOut:
    """A new one."""
    name = ask.body.name or "Organization"
    return show_organization(await house.accounts.create_organization(name, bool(ask.body.privileged_tools)))


async def update_organization(house: House, ask: Ask[WhichOrganization, OrganizationIn]) -> OrganizationOut:
    """Change one."""
    body = ask.body
    return show_organization(await house.accounts.edit_organization(_org(ask.query), body.name, body.privileged_tools))


async def delete_organization(house: House, ask: Ask[WhichOrganization, None]) -> OrganizationOut:
    """Remove one that nobody is in."""
    return show_organization(await house.accounts.delete_organization(_org(ask.query)))


async def list_users(house: House, ask: Ask[ListAccounts, None]) -> list[UserOut]:
    """A page of them, the server's own first."""
    after = read_cursor("user", ask.query.after, "after")
    return [show_user(one) for one in await house.accounts.users(after, ask.query.limit or LIMIT_DEFAULT)]


async def create_user(house: House, ask: Ask[None, UserIn]) -> UserOut:
    """A new one."""
    return show_user(await house.accounts.create_user(ask.body.name, ask.body.organization_id))


async def update_user(house: House, ask: Ask[None, UserEdit]) -> UserOut:
    """Change one."""
    return show_user(await house.accounts.edit_user(ask.body.id, ask.body.name, ask.body.organization_id))


async def delete_user(house: House, ask: Ask[WhichUser, None]) -> UserOut:
    """Remove one."""
    return show_user(await house.accounts.delete_user(_required(ask.query.user_id, "user", "user_id")))


async def authenticate(house: House, ask: Ask[None, AuthIn]) -> AuthOut:
    """Who asks: the server's one user, whatever the password; there is none to compare it with."""
    return AuthOut()


def _org(query: WhichOrganization) -> str:
    return _required(query.org_id, "org", "org_id")


def _required(id: str | None, kind: str, field: str) -> str:
    found = read_cursor(kind, id, field)
    if found is None:
        raise Malformed("Field required", place=("query", field), kind="missing")
    return found


def _date(time_us: int) -> str | None:
    return micros_date(time_us) if time_us else None


ROUTES = (
    Route(
        method="GET",
        path="/v1/admin/orgs/",
        name="list_orgs",
        summary="List organisations",
        tag="admin",
        handler=list_organizations,
        query=ListAccounts,
        answer=list[OrganizationOut],
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/admin/orgs/",
        name="create_organization",
        summary="Create an organisation",
        tag="admin",
        handler=create_organization,
        body=OrganizationIn,
        answer=OrganizationOut,
        refusals=(400,),
    ),
    Route(
        method="PATCH",
        path="/v1/admin/orgs/",
        name="update_organization",
        summary="Change an organisation",
        tag="admin",
        handler=update_organization,
        query=WhichOrganization,
        body=OrganizationIn,
        answer=OrganizationOut,
        refusals=(400, 403, 404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/admin/orgs/",
        name="delete_organization_by_id",
        summary="Delete an organisation that has no users",
        tag="admin",
        handler=delete_organization,
        query=WhichOrganization,
        answer=OrganizationOut,
        refusals=(403, 404, 409),
    ),
    Route(
        method="GET",
        path="/v1/admin/users/",
        name="list_users",
        summary="List users",
        tag="admin",
        handler=list_users,
        query=ListAccounts,
        answer=list[UserOut],
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/admin/users/",
        name="create_user",
        summary="Create a user",
        tag="admin",
        handler=create_user,
        body=UserIn,
        answer=UserOut,
        refusals=(400, 404),
    ),
    Route(
        method="PUT",
        path="/v1/admin/users/",
        name="update_user",
        summary="Change a user",
        tag="admin",
        handler=update_user,
        body=UserEdit,
        answer=UserOut,
        refusals=(400, 403, 404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/admin/users/",
        name="delete_user",
        summary="Delete a user",
        tag="admin",
        handler=delete_user,
        query=WhichUser,
        answer=UserOut,
        refusals=(403, 404, 409),
    ),
    Route(
        method="POST",
        path="/v1/auth",
        name="authenticate_user_v1_auth_post",
        summary="Who asks",
        tag="auth",
        handler=authenticate,
        body=AuthIn,
        answer=AuthOut,
    ),
)
