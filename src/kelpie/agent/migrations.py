"""All agents that were made of a template, renewed to a version of it, one commit each, whatever crashes meanwhile.

A migration is an errand, begun by the commit that saves the version. It walks through the agents in the order of their
creation; what it has walked past is a part of its state. One that cannot be renewed stays as it is and is counted.
"""

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import begin_work
from kelpie.actor.tenure import Tenure
from kelpie.agent.errand import Errand, ErrandState, Failed
from kelpie.agent.renewal import RenewalRules
from kelpie.agent.state import AGENTS, AGENTS_BY_TIME, AgentSettings
from kelpie.agent.templates import MIGRATED, TEMPLATES, Migrated, Template
from kelpie.errors import Refused
from kelpie.ids import new_id
from kelpie.limits import MIGRATION_AGENTS_AT_ONCE
from kelpie.storage import keys
from kelpie.storage.records import Batch, Records, Space
from kelpie.world import World


class Migration(ErrandState, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """To which version, how, and how far it has come: agents up to `passed` are done, those made later are not ours."""

    template_id: str
    template_name: str
    version: int
    rules: RenewalRules = RenewalRules()
    created_at_us: int
    passed: str | None = None  # a key of the list of agents
    refused: int = 0
    sentence: str | None = None  # why the first of those was


class _Walked(Struct, frozen=True, kw_only=True):
    """Some agents further; None: that were all."""

    passed: str | None
    refused: int
    sentence: str | None


MIGRATIONS = Space("migration", Migration)  # at(migration_id)
Renew = Callable[[Migration, AgentSettings], Awaitable[None]]
"""Renew an agent of the template; one that is of the version already stays as it is. Raises Refused."""


class Migrations:
    """The migrations in the store."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world

    def begin(self, batch: Batch, template: Template, rules: RenewalRules) -> str:
        """By this commit; the id. To the version that was saved last."""
        migration = Migration(
            id=new_id("migration", self._world.entropy),
            template_id=template.id,
            template_name=template.name,
            version=len(template.versions),
            rules=rules,
            created_at_us=self._world.wall.now_us(),
        )
        batch.put_new(MIGRATIONS.at(migration.id), migration)
        begin_work(batch, ActorAddress(migration.id))
        return migration.id

    async def is_over(self, migration_id: str) -> bool:
        """Whether it has come to its end."""
        return await self._records.get(MIGRATIONS.at(migration_id)) is None

    async def last(self, template_id: str) -> Migrated | None:
        """What came of the last one of this template that is over."""
        found = await self._records.get(MIGRATED.at(template_id))
        return None if found is None else found.value


class MigrationErrand(Errand[Migration]):
    """One migration, awake."""

    def __init__(self, tenure: Tenure, records: Records, world: World, renew: Renew) -> None:
        super().__init__(tenure, records, world, MIGRATIONS, "Migration")
        self._renew = renew

    def has_work(self, state: Migration) -> bool:
        """Until it is over."""
        return True

    async def perform(self, state: Migration) -> Struct:
        """Renew the next few agents; those that are renewed already are left alone."""
        assert state.id == self._tenure.address
        start, end = keys.below(AGENTS_BY_TIME.name)
        if state.passed is not None:
            start = state.passed.encode() + b"\0"
        end = min(end, keys.past(AGENTS_BY_TIME.name, state.created_at_us))
        rows = await self._records.store.scan(start, end, limit=MIGRATION_AGENTS_AT_ONCE) if start < end else []
        ids = [AGENTS_BY_TIME.decode(row.key, row.value).id for row in rows]
        refused, sentence = 0, None
        for found in await self._records.get_all([AGENTS.at(agent_id) for agent_id in ids]):
            if found is None or found.value.lineage.base_template_id != state.template_id:
                continue
            self._tenure.check_may_act()
            try:
                await self._renew(state, found.value)
            except Refused as error:
                refused += 1
                sentence = sentence or f"{found.value.id}: {error.sentence}"
        assert len(ids) <= MIGRATION_AGENTS_AT_ONCE
        is_last = len(rows) < MIGRATION_AGENTS_AT_ONCE
        return _Walked(passed=None if is_last else rows[-1].key.decode(), refused=refused, sentence=sentence)

    async def note(self, state: Migration, report: Struct, batch: Batch) -> Migration | None:
        """So far it has come; or it is over, and what came of it stays as long as the template."""
        if isinstance(report, Failed):
            report = _Walked(passed=None, refused=1, sentence=report.sentence)
        assert isinstance(report, _Walked)
        assert report.refused == 0 or report.sentence is not None
        walked = msgspec.structs.replace(
            state,
            passed=report.passed,
            refused=state.refused + report.refused,
            sentence=state.sentence or report.sentence,
        )
        if report.passed is not None:
            return walked
        template = await self._records.get(TEMPLATES.at(state.template_id))
        if template is not None:
            batch.check(template)
            over = Migrated(version=walked.version, refused=walked.refused, sentence=walked.sentence)
            batch.put(MIGRATED.at(state.template_id), over)
        return None
