"""What tools run with: the sandbox's configuration, and the variables of all tools, sealed anew."""

import msgspec
from msgspec import Raw

from kelpie.api.errors import LeftOut
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.api.letta.sandbox_configs import read_config, read_packages
from kelpie.errors import InvalidInput
from kelpie.importing.journal import digest
from kelpie.importing.letta.ground import Ground, checked_id
from kelpie.importing.letta.kinds import sum_of
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.storage.records import Batch
from kelpie.tools.sandboxes import LOCAL, SETTINGS, VARIABLES, SandboxSettings, Variable, check_key, check_wire


class SandboxConfigs:
    """The configuration of tools that ran on the old server keeps its id; there is one."""

    name, table = "sandbox configurations", "sandbox_configs"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.coming: set[str] = set()  # for a dry run, which stores none

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A configuration. Tools run on this server and in no other sandbox."""
        sandboxes, id = self._ground.house.sandboxes, checked_id("sandbox", row)
        if await self._ground.house.records.get(SETTINGS.at(id)) is not None:
            return Present()
        if str(row["type"]).casefold() != LOCAL:
            return Staying(reason="it is of a sandbox that others host; tools run on this server here")
        if await sandboxes.settings.find_named(LOCAL) is not None:
            return Staying(reason="the sandbox of this server is configured already")
        try:
            config = read_config(row["config"])
        except (LeftOut, msgspec.ValidationError) as error:
            raise InvalidInput(f"config: {error}") from None
        settings = SandboxSettings(
            id=id,
            pip=read_packages(config),
            wire=Raw(msgspec.json.encode(config)),
            created_at_us=read_time(row["created_at"]),
            updated_at_us=read_time(row["updated_at"]),
        )
        check_wire(settings.wire)
        sandboxes.settings.put_new(batch, settings)
        also(batch, Carried(sum=digest(SETTINGS.at(id), settings)))
        self.coming.add(id)
        return DONE

    async def stored(self, id: str) -> int:
        """The configuration as it is stored."""
        return await sum_of(self._ground, SETTINGS.at(id))


class SandboxVariables:
    """Variables keep their ids; their values are sealed anew."""

    name, table = "sandbox variables", "sandbox_environment_variables"

    def __init__(self, ground: Ground, configs: SandboxConfigs, *, dry: bool) -> None:
        self._ground = ground
        self._configs = configs
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A variable."""
        house, id, settings_id = self._ground.house, checked_id("sandbox-env", row), str(row["sandbox_config_id"])
        if await house.records.get(VARIABLES.at(id)) is not None:
            return Present()
        settings = await house.records.get(SETTINGS.at(settings_id))
        if settings is None and not (self._dry and settings_id in self._configs.coming):
            return Staying(reason="its configuration did not come along")
        check_key(row["key"])
        if await house.sandboxes.variables.find_named(f"{settings_id} {row['key']}") is not None:
            return Staying(reason="a variable of that name is here already")
        value = self._ground.secrets.read(row, "value") or ""
        variable = Variable(
            id=id,
            settings_id=settings_id,
            key=row["key"],
            sealed=house.vault.seal(value, id),
            description=row.get("description"),
            created_at_us=read_time(row["created_at"]),
        )
        assert house.sandboxes.open(variable) == value
        house.sandboxes.variables.put_new(batch, variable)
        also(batch, Carried(sum=digest(VARIABLES.at(id), variable)))
        return DONE

    async def stored(self, id: str) -> int:
        """The variable as it is stored."""
        return await sum_of(self._ground, VARIABLES.at(id))
