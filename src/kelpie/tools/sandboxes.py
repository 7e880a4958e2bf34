"""What people decide about the sandbox: which packages all their tools get, and variables, sealed at rest.

There is one settings record for each kind of sandbox, as in the compatible API; only tools on this server read theirs.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from kelpie.access.vault import Vault
from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.ids import new_id
from kelpie.limits import METADATA_BYTES_MAX, TOOL_NAME_CHARS_MAX, VARIABLES_MAX
from kelpie.storage.collection import Collection, Listed
from kelpie.storage.paging import Page
from kelpie.storage.records import Records, Space
from kelpie.tools.tool import Requirement
from kelpie.world import World

SandboxKind = Literal["local"]
LOCAL: SandboxKind = "local"


class SandboxSettings(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """Settings of one kind of sandbox. `wire` is the client's own object, given back as it was."""

    kind: SandboxKind = LOCAL
    pip: tuple[Requirement, ...] = ()
    wire: Raw = Raw(b"{}")
    updated_at_us: int


class Variable(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A variable for every tool that runs in a sandbox."""

    settings_id: str
    key: str
    sealed: str
    description: str | None = None


class VariableChanges(Struct, frozen=True, kw_only=True):
    """What an edit changes; UNSET stays."""

    key: str | UnsetType = UNSET
    value: str | UnsetType = UNSET
    description: str | None | UnsetType = UNSET


SETTINGS = Space("sandbox", SandboxSettings, large=True)  # at(sandbox_id)
VARIABLES = Space("sandbox_variable", Variable, large=True)  # at(variable_id)


class Sandboxes:
    """The settings and variables in the store."""

    def __init__(self, records: Records, world: World, vault: Vault) -> None:
        self._world = world
        self._vault = vault
        self.settings: Collection[SandboxSettings] = Collection(
            records, world.entropy, SETTINGS, "Sandbox configuration", name_of=lambda one: one.kind
        )
        self.variables: Collection[Variable] = Collection(
            records,
            world.entropy,
            VARIABLES,
            "Sandbox environment variable",
            name_of=lambda one: f"{one.settings_id} {one.key}",
        )

    async def put(self, wire: Raw, pip: Sequence[Requirement]) -> SandboxSettings:
        """Make these the settings of the local sandbox. Raises LimitExceeded, AlreadyExists (two at once)."""
        check_wire(wire)
        found = await self.settings.find_named(LOCAL)
        if found is not None:
            return await self.change(found.value.id, wire, pip)
        now_us = self._world.wall.now_us()
        record = SandboxSettings(
            id=new_id("sandbox", self._world.entropy),
            pip=tuple(pip),
            wire=wire,
            created_at_us=now_us,
            updated_at_us=now_us,
        )
        return await self.settings.create(record)

    async def local(self) -> SandboxSettings:
        """The settings of the local sandbox, made when there are none."""
        found = await self.settings.find_named(LOCAL)
        return found.value if found is not None else await self.put(Raw(b"{}"), ())

    async def change(self, id: str, wire: Raw, pip: Sequence[Requirement]) -> SandboxSettings:
        """Other settings in the place of these. Raises NotFound, LimitExceeded, Conflict."""
        check_wire(wire)

        def change(now: SandboxSettings) -> SandboxSettings:
            later_us = max(self._world.wall.now_us(), now.updated_at_us)
            return msgspec.structs.replace(now, wire=wire, pip=tuple(pip), updated_at_us=later_us)

        return await self.settings.edit(id, change)

    async def delete(self, id: str) -> None:
        """Remove settings and their variables. Raises NotFound, Conflict."""
        await self.settings.get(id)
        for variable in await self.variables_of(id):
            await self.variables.delete(variable.id)
        await self.settings.delete(id)

    # -- variables -----------------------------------------------------------------------------------------

    async def put_variable(self, settings_id: str, key: str, value: str, description: str | None) -> Variable:
        """A new variable, or another value for the one of that key. Raises NotFound, InvalidInput, LimitExceeded."""
        check_key(key)
        await self.settings.get(settings_id)
        found = await self.variables.find_named(f"{settings_id} {key}")
        if found is not None:
            told = UNSET if description is None else description
            return await self.change_variable(found.value.id, VariableChanges(value=value, description=told))
        if await self.variables.count() >= VARIABLES_MAX:
            raise LimitExceeded(
                f"there are {VARIABLES_MAX} variables already", limit="VARIABLES_MAX", maximum=VARIABLES_MAX
            )
        id = new_id("sandbox-env", self._world.entropy)
        variable = Variable(
            id=id,
            settings_id=settings_id,
            key=key,
            sealed=self._vault.seal(value, id),
            description=description,
            created_at_us=self._world.wall.now_us(),
        )
        assert self.open(variable) == value
        assert variable.sealed != value
        return await self.variables.create(variable)

    async def change_variable(self, id: str, changes: VariableChanges) -> Variable:
        """Edit a variable. Raises NotFound, AlreadyExists, InvalidInput, LimitExceeded, Conflict."""
        if isinstance(changes.key, str):
            check_key(changes.key)
        sealed = UNSET if isinstance(changes.value, UnsetType) else self._vault.seal(changes.value, id)

        def change(now: Variable) -> Variable:
            return msgspec.structs.replace(
                now,
                key=now.key if isinstance(changes.key, UnsetType) else changes.key,
                sealed=now.sealed if isinstance(sealed, UnsetType) else sealed,
                description=now.description if isinstance(changes.description, UnsetType) else changes.description,
            )

        return await self.variables.edit(id, change)

    async def variables_of(self, settings_id: str) -> list[Variable]:
        """The variables of these settings, the oldest first."""
        page = Page(limit=VARIABLES_MAX, newest_first=False)
        return await self.variables.page(page, lambda one: one.settings_id == settings_id)

    def open(self, variable: Variable) -> str:
        """Its value. Raises SecretUnreadable."""
        return self._vault.open(variable.sealed, variable.id)

    # -- for a call ----------------------------------------------------------------------------------------

    async def ground(self) -> tuple[tuple[Requirement, ...], Mapping[str, str]]:
        """The packages and the variables that every tool on this server gets. Raises SecretUnreadable."""
        found = await self.settings.find_named(LOCAL)
        if found is None:
            return (), {}
        variables = await self.variables_of(found.value.id)
        return found.value.pip, {variable.key: self.open(variable) for variable in variables}


def check_key(key: str) -> None:
    """The name of a variable: not blank, no equals sign, not too long."""
    if not key.strip() or "=" in key or "\0" in key:
        raise InvalidInput(f"key: '{key[:80]}' is no name of a variable", field="key")
    if len(key) > TOOL_NAME_CHARS_MAX * 4:
        raise LimitExceeded(
            f"key: {len(key)} characters are over the limit of {TOOL_NAME_CHARS_MAX * 4}",
            limit="TOOL_NAME_CHARS_MAX",
            maximum=TOOL_NAME_CHARS_MAX * 4,
        )


def check_wire(wire: Raw) -> None:
    """A client's settings object is small."""
    size = len(bytes(wire))
    if size > METADATA_BYTES_MAX:
        raise LimitExceeded(
            f"config: {size} bytes are over the limit of {METADATA_BYTES_MAX}",
            limit="METADATA_BYTES_MAX",
            maximum=METADATA_BYTES_MAX,
        )
