"""Templates: agents in writing, of which agents are made; each with a working state and the versions saved of it.

A template is a record under a unique name. What stands in it is text that the caller understands, one row for each
state that was ever worked on and is still in use: saving makes the working state's row a version's row too.
"""

from collections.abc import Callable

import msgspec
from msgspec import Raw, Struct

from kelpie.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from kelpie.ids import new_id
from kelpie.limits import AGENT_NAME_CHARS_MAX, EDIT_ATTEMPTS_MAX, TEMPLATE_VERSIONS_MAX, TEXT_FIELD_CHARS_MAX
from kelpie.storage.collection import Collection, Listed
from kelpie.storage.records import Batch, Records, Space, stand_back
from kelpie.world import World

LATEST = "latest"
WORKING = ("current", "dev")  # names of the working state


class Version(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A state that was saved; versions are numbered from 1. `state` is its row."""

    state: int
    created_at_us: int
    message: str | None = None


class Template(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A template. `state` is the row of the working state, and `states` counts the rows that there ever were."""

    name: str
    updated_at_us: int
    state: int = 0
    states: int = 1
    versions: tuple[Version, ...]

    @property
    def is_saved(self) -> bool:
        """Whether the working state is also a version's."""
        return any(version.state == self.state for version in self.versions)


class TemplateState(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """What stands in a template."""

    content: Raw


class Migrated(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What came of renewing agents to that version: how many could not be renewed, and why the first could not."""

    version: int
    refused: int = 0
    sentence: str | None = None


class Named(Struct, frozen=True, kw_only=True):
    """A template's state: the version's number as text, or `current`."""

    template: Template
    version: str
    content: Raw


TEMPLATES = Space("template", Template, large=True)  # at(template_id)
STATES = Space("template_state", TemplateState, large=True)  # at(template_id, number of the row)
MIGRATED = Space("migrated", Migrated)  # at(template_id)
Change = Callable[[Template], Template]


class Templates:
    """All templates."""

    def __init__(self, records: Records, world: World) -> None:
        self._records = records
        self._world = world
        self._all = Collection(records, world.entropy, TEMPLATES, "Template", name_of=lambda one: one.name)

    async def create(self, name: str, content: Raw) -> Template:
        """A new template, its first version saved. Raises InvalidInput, AlreadyExists, LimitExceeded."""
        check_name(name)
        now_us = self._world.wall.now_us()
        template = Template(
            id=new_id("template", self._world.entropy),
            created_at_us=now_us,
            updated_at_us=now_us,
            name=name,
            versions=(Version(state=0, created_at_us=now_us),),
        )
        row = STATES.at(template.id, template.state)
        return await self._all.create(template, lambda batch: batch.put_new(row, TemplateState(content=content)))

    async def get(self, name: str) -> Template:
        """The template of that name. Raises NotFound."""
        found = await self._all.find_named(name)
        if found is None:
            raise _not_found(name)
        return found.value

    async def read(self, name: str, version: str) -> Named:
        """A state of it: of a version by its number or `latest`, or the working one. Raises NotFound, InvalidInput."""
        template = await self.get(name)
        number = None if version in WORKING else _number(template, version)
        state = template.state if number is None else template.versions[number - 1].state
        found = await self._records.get(STATES.at(template.id, state))
        if found is None:  # the template was changed or removed since it was read
            raise Conflict(f"Template '{name[:80]}' is being changed by others")
        return Named(
            template=template,
            version=WORKING[0] if number is None else str(number),
            content=found.value.content,
        )

    async def update(self, name: str, content: Raw, *, save_first: bool) -> Template:
        """Put `content` into the working state; `save_first`: what is not saved there becomes a version before."""

        def change(now: Template) -> Template:
            kept = self._saved(now, None) if save_first and not now.is_saved else now
            return msgspec.structs.replace(kept, state=kept.states, states=kept.states + 1)

        return await self._edit(name, change, content)

    async def save(
        self, name: str, message: str | None, also: Callable[[Batch, Template], None] | None = None
    ) -> Template:
        """Make a version of the working state, by a commit to which `also` adds. Raises NotFound, LimitExceeded."""
        if len(message or "") > TEXT_FIELD_CHARS_MAX:
            raise LimitExceeded(
                f"message: more than {TEXT_FIELD_CHARS_MAX} characters",
                limit="TEXT_FIELD_CHARS_MAX",
                maximum=TEXT_FIELD_CHARS_MAX,
            )
        return await self._edit(name, lambda now: self._saved(now, message), also=also)

    async def roll_back(self, name: str, version: str) -> Template:
        """Make a version's state the working one; what is not saved becomes a version before.

        `latest` is the latest one before that. Raises NotFound, InvalidInput, LimitExceeded.
        """
        if version in WORKING:
            raise InvalidInput(f"version: '{version}' is what would be rolled back", field="version")

        def change(now: Template) -> Template:
            state = now.versions[_number(now, version) - 1].state
            kept = now if now.is_saved else self._saved(now, None)
            return msgspec.structs.replace(kept, state=state)

        return await self._edit(name, change)

    async def delete(self, name: str) -> None:
        """Remove it with its versions. Agents that were made of it stay. Raises NotFound."""
        template = await self.get(name)

        def with_rows(batch: Batch) -> None:
            batch.delete_below(STATES, template.id)
            batch.delete(MIGRATED.at(template.id))

        await self._all.delete(template.id, with_rows)

    def _saved(self, now: Template, message: str | None) -> Template:
        if len(now.versions) >= TEMPLATE_VERSIONS_MAX:
            raise LimitExceeded(
                f"a template has at most {TEMPLATE_VERSIONS_MAX} versions",
                limit="TEMPLATE_VERSIONS_MAX",
                maximum=TEMPLATE_VERSIONS_MAX,
            )
        version = Version(state=now.state, created_at_us=self._world.wall.now_us(), message=message)
        return msgspec.structs.replace(now, versions=(*now.versions, version))

    async def _edit(
        self,
        name: str,
        change: Change,
        content: Raw | None = None,
        also: Callable[[Batch, Template], None] | None = None,
    ) -> Template:
        """Change the record and, with `content`, write the row of its working state, by one commit."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self._all.find_named(name)
            if found is None:
                raise _not_found(name)
            before, now_us = found.value, self._world.wall.now_us()
            after = msgspec.structs.replace(change(before), updated_at_us=max(now_us, before.updated_at_us))
            batch = Batch()
            self._all.put_changed(batch, found, after)
            if content is not None:
                assert after.state == before.states, "a new row"
                batch.put_new(STATES.at(after.id, after.state), TemplateState(content=content))
            if before.state != after.state and all(one.state != before.state for one in after.versions):
                batch.delete(STATES.at(before.id, before.state))
            if also is not None:
                also(batch, after)
            assert after.state < after.states
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return after
        raise Conflict(f"Template '{name[:80]}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")


def check_name(name: str) -> None:
    """InvalidInput unless it is a name that can stand in `project/name:version`."""
    if not name.strip() or "/" in name or ":" in name or len(name) > AGENT_NAME_CHARS_MAX:
        raise InvalidInput(
            f"name: a template's name is not blank, has no '/' or ':' and at most {AGENT_NAME_CHARS_MAX} characters",
            field="name",
        )


def split_version(text: str) -> tuple[str, str]:
    """Name and version of `project/name:version`; without a version the latest is meant."""
    name, _, version = text.rpartition("/")[2].partition(":")
    return name, version or LATEST


def name_of(template: Template, version: str) -> str:
    """What an agent or a block that is made of the version says of it."""
    return f"{template.id}:{version}"


def number_of(name: str | None) -> int:
    """The version's number in what `name_of` made; 0 for the working state."""
    digits = (name or "").rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 9 else 0


def _number(template: Template, version: str) -> int:
    """The number of the version that is named."""
    count = len(template.versions)
    if version == LATEST:
        return count
    if not version.isdecimal() or not version.isascii():
        raise InvalidInput(f"version: '{version[:40]}' is no number, nor 'latest'", field="version")
    digits = version.lstrip("0")
    if not digits or len(digits) > len(str(count)) or int(digits) > count:
        raise NotFound(f"Template '{template.name[:80]}' has no version {version[:40]}", version=version[:40])
    return int(digits)


def _not_found(name: str) -> NotFound:
    return NotFound(f"Template with name '{name[:80]}' not found", name=name[:80])
