"""Sandbox configurations and their variables, on the wire. Tools run on this server, in no other sandbox."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct

from kelpie.api.errors import LeftOut
from kelpie.api.letta.house import House
from kelpie.api.letta.left_out import E2B
from kelpie.api.letta.paging import PageLimit, read_page
from kelpie.api.letta.tool_making import RequirementIn
from kelpie.api.letta.values import ORGANIZATION_ID, USER_ID, micros_date
from kelpie.api.route import Ask, Route
from kelpie.limits import PAGE_ROWS_MAX
from kelpie.tools.sandboxes import LOCAL, SandboxSettings, Variable, VariableChanges
from kelpie.tools.tool import Requirement

HOSTED_FIELDS = ("timeout", "template", "npm_requirements", "language")  # of the kinds of sandbox that others host


class LocalConfigIn(Struct, frozen=True, kw_only=True):
    """How tools run on this server. Each call has a directory of its own, so `sandbox_dir` is only given back."""

    sandbox_dir: str | None = None
    use_venv: bool = False
    venv_name: str = "venv"
    pip_requirements: list[RequirementIn] = []


class ConfigIn(Struct, frozen=True, kw_only=True):
    """A configuration of some kind."""

    config: dict[str, Any]


class ConfigEdit(Struct, frozen=True, kw_only=True):
    """Another configuration, if one is named."""

    config: dict[str, Any] | None = None


class ConfigOut(Struct, frozen=True, kw_only=True):
    """A configuration as the wire shows it."""

    created_by_id: str = USER_ID
    last_updated_by_id: str = USER_ID
    created_at: str
    updated_at: str
    id: str
    type: str
    organization_id: str = ORGANIZATION_ID
    config: Raw


class VariableIn(Struct, frozen=True, kw_only=True):
    """A variable."""

    key: str
    value: str
    description: str | None = None


class VariableEdit(Struct, frozen=True, kw_only=True):
    """What to change of a variable."""

    key: str | None = None
    value: str | None = None
    description: str | None = None


class VariableOut(Struct, frozen=True, kw_only=True):
    """A variable with its value; `value_enc` is how it is stored."""

    created_by_id: str | None = None
    last_updated_by_id: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    id: str
    key: str
    value: str
    description: str | None
    organization_id: str = ORGANIZATION_ID
    value_enc: str
    sandbox_config_id: str


class ListConfigs(Struct, frozen=True, kw_only=True):
    """Which configurations."""

    limit: PageLimit = PAGE_ROWS_MAX
    after: str | None = None
    sandbox_type: Literal["e2b", "modal", "local"] | None = None


class ListVariables(Struct, frozen=True, kw_only=True):
    """Which page of the variables."""

    limit: PageLimit = PAGE_ROWS_MAX
    after: str | None = None


async def list_configs(house: House, ask: Ask[ListConfigs, None]) -> list[ConfigOut]:
    """The configurations, the oldest first."""
    query = ask.query
    if query.sandbox_type not in (None, LOCAL):
        return []
    page = read_page(
        "sandbox", before=None, after=query.after, limit=query.limit, order="asc", limit_default=PAGE_ROWS_MAX
    )
    return [show_config(one) for one in await house.sandboxes.settings.page(page)]


async def create_config(house: House, ask: Ask[None, ConfigIn]) -> ConfigOut:
    """Make this the configuration of its kind."""
    return await _put(house, read_config(ask.body.config))


async def create_local(house: House, ask: Ask[None, LocalConfigIn]) -> ConfigOut:
    """Make this the configuration of this server's sandbox."""
    return await _put(house, ask.body)


async def default_local(house: House, ask: Ask[None, None]) -> ConfigOut:
    """The configuration of this server's sandbox, made if there is none."""
    found = await house.sandboxes.settings.find_named(LOCAL)
    return await _put(house, LocalConfigIn()) if found is None else show_config(found.value)


async def recreate_packages(house: House, ask: Ask[None, None]) -> ConfigOut:
    """Throw away the packages of tools; they are had anew when a tool needs them."""
    await house.sandbox.forget_packages()
    return await default_local(house, ask)


async def modify_config(house: House, ask: Ask[None, ConfigEdit]) -> ConfigOut:
    """Another configuration in the place of this one."""
    id = ask.path["sandbox_config_id"]
    if ask.body.config is None:
        return show_config((await house.sandboxes.settings.get(id)).value)
    wire = read_config(ask.body.config)
    return show_config(await house.sandboxes.change(id, _raw(wire), read_packages(wire)))


async def delete_config(house: House, ask: Ask[None, None]) -> None:
    """Remove a configuration and its variables."""
    await house.sandboxes.delete(ask.path["sandbox_config_id"])


async def list_variables(house: House, ask: Ask[ListVariables, None]) -> list[VariableOut]:
    """The variables of a configuration, the oldest first."""
    id = ask.path["sandbox_config_id"]
    await house.sandboxes.settings.get(id)
    variables = await house.sandboxes.variables_of(id)
    ids = [one.id for one in variables]
    start = 0
    if ask.query.after:
        await house.sandboxes.variables.get(ask.query.after)
        start = ids.index(ask.query.after) + 1 if ask.query.after in ids else len(ids)
    return [show_variable(house, one) for one in variables[start:][: ask.query.limit]]


async def create_variable(house: House, ask: Ask[None, VariableIn]) -> VariableOut:
    """A variable, or another value for the one of its name."""
    wire = ask.body
    made = await house.sandboxes.put_variable(ask.path["sandbox_config_id"], wire.key, wire.value, wire.description)
    return show_variable(house, made)


async def modify_variable(house: House, ask: Ask[None, VariableEdit]) -> VariableOut:
    """Change a variable."""
    wire = ask.body
    changes = VariableChanges(
        key=UNSET if wire.key is None else wire.key,
        value=UNSET if wire.value is None else wire.value,
        description=UNSET if wire.description is None else wire.description,
    )
    return show_variable(house, await house.sandboxes.change_variable(ask.path["env_var_id"], changes))


async def delete_variable(house: House, ask: Ask[None, None]) -> None:
    """Remove a variable."""
    await house.sandboxes.variables.delete(ask.path["env_var_id"])


def show_config(settings: SandboxSettings) -> ConfigOut:
    """A configuration as the wire shows it."""
    return ConfigOut(
        created_at=micros_date(settings.created_at_us),
        updated_at=micros_date(settings.updated_at_us),
        id=settings.id,
        type=settings.kind,
        config=settings.wire,
    )


def show_variable(house: House, variable: Variable) -> VariableOut:
    """A variable as the wire shows it. Raises SecretUnreadable."""
    return VariableOut(
        id=variable.id,
        key=variable.key,
        value=house.sandboxes.open(variable),
        description=variable.description,
        value_enc=variable.sealed,
        sandbox_config_id=variable.settings_id,
    )


def read_config(config: dict[str, Any]) -> LocalConfigIn:
    """A configuration of this server's sandbox. Raises LeftOut for those that others host, InvalidInput."""
    if any(field in config for field in HOSTED_FIELDS):
        raise LeftOut(E2B)
    return msgspec.convert(config, LocalConfigIn)


def read_packages(wire: LocalConfigIn) -> tuple[Requirement, ...]:
    """The packages that all tools get."""
    return tuple(Requirement(name=one.name, version=one.version) for one in wire.pip_requirements)


async def _put(house: House, wire: LocalConfigIn) -> ConfigOut:
    return show_config(await house.sandboxes.put(_raw(wire), read_packages(wire)))


def _raw(wire: LocalConfigIn) -> Raw:
    return Raw(msgspec.json.encode(wire))


ROUTES = (
    Route(
        method="GET",
        path="/v1/sandbox-config/",
        name="list_sandbox_configs",
        summary="List sandbox configurations",
        tag="sandbox-config",
        handler=list_configs,
        query=ListConfigs,
        answer=list[ConfigOut],
        refusals=(404,),
    ),
    Route(
        method="POST",
        path="/v1/sandbox-config/",
        name="create_sandbox_config",
        summary="Set a sandbox configuration",
        tag="sandbox-config",
        handler=create_config,
        body=ConfigIn,
        answer=ConfigOut,
        refusals=(400, 501),
    ),
    Route(
        method="POST",
        path="/v1/sandbox-config/local",
        name="create_custom_local_sandbox_config",
        summary="Set the configuration of this server's sandbox",
        tag="sandbox-config",
        handler=create_local,
        body=LocalConfigIn,
        answer=ConfigOut,
        refusals=(400,),
    ),
    Route(
        method="POST",
        path="/v1/sandbox-config/local/default",
        name="create_default_local_sandbox_config",
        summary="The configuration of this server's sandbox",
        tag="sandbox-config",
        handler=default_local,
        answer=ConfigOut,
    ),
    Route(
        method="POST",
        path="/v1/sandbox-config/local/recreate-venv",
        name="force_recreate_local_sandbox_venv",
        summary="Have the packages of tools anew",
        tag="sandbox-config",
        handler=recreate_packages,
        answer=ConfigOut,
    ),
    Route(
        method="PATCH",
        path="/v1/sandbox-config/{sandbox_config_id}",
        name="update_sandbox_config",
        summary="Change a sandbox configuration",
        tag="sandbox-config",
        handler=modify_config,
        body=ConfigEdit,
        answer=ConfigOut,
        refusals=(400, 404, 409, 501),
    ),
    Route(
        method="DELETE",
        path="/v1/sandbox-config/{sandbox_config_id}",
        name="delete_sandbox_config",
        summary="Remove a sandbox configuration",
        tag="sandbox-config",
        handler=delete_config,
        answer=None,
        status=204,
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path="/v1/sandbox-config/{sandbox_config_id}/environment-variable",
        name="list_sandbox_env_vars",
        summary="List the variables of a sandbox",
        tag="sandbox-config",
        handler=list_variables,
        query=ListVariables,
        answer=list[VariableOut],
        refusals=(400, 404),
    ),
    Route(
        method="POST",
        path="/v1/sandbox-config/{sandbox_config_id}/environment-variable",
        name="create_sandbox_env_var",
        summary="Set a variable of a sandbox",
        tag="sandbox-config",
        handler=create_variable,
        body=VariableIn,
        answer=VariableOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="PATCH",
        path="/v1/sandbox-config/environment-variable/{env_var_id}",
        name="update_sandbox_env_var",
        summary="Change a variable of a sandbox",
        tag="sandbox-config",
        handler=modify_variable,
        body=VariableEdit,
        answer=VariableOut,
        refusals=(400, 404, 409),
    ),
    Route(
        method="DELETE",
        path="/v1/sandbox-config/environment-variable/{env_var_id}",
        name="delete_sandbox_env_var",
        summary="Remove a variable of a sandbox",
        tag="sandbox-config",
        handler=delete_variable,
        answer=None,
        status=204,
        refusals=(404, 409),
    ),
)
