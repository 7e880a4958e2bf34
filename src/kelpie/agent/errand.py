"""Errands: what is done by talking to agents, one message after another, and must come to its end whatever crashes.

An errand is an actor with a state of its own: a talk of several agents, a batch, a schedule. It looks at its committed
state, does the next thing beside its mailbox, and commits what came of it; then it looks again. What it does is
reading, sending under a key, or a change that is made once however often it is asked for, so it is simply done again
after a crash, and again as long as the world is away. A call in between changes the state and makes it look anew. An
errand whose agent is held by another node moves: it lets go of itself, until it is taken up there.
"""

import asyncio
from typing import Generic, NoReturn, TypeVar

from msgspec import Struct

from kelpie.actor.call import ActorAddress
from kelpie.actor.directory import OWNERS
from kelpie.actor.mailbox import Letter, Mailbox
from kelpie.actor.recovery import Done, Resume, begin_work, end_work
from kelpie.actor.tenure import Tenure
from kelpie.errors import (
    ActivationLost,
    Conflict,
    Draining,
    KelpieError,
    NotFound,
    NotOwner,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from kelpie.limits import COMMIT_ATTEMPTS_MAX, ERRAND_ATTEMPTS_MAX, ERRAND_RETRY_FIRST_MS, ERRAND_RETRY_MS_MAX
from kelpie.storage.records import Batch, Found, Records, Space
from kelpie.world import World


class ErrandState(Struct, frozen=True, kw_only=True):
    """What every errand's state has; its own struct adds the rest."""

    id: str


S = TypeVar("S", bound=ErrandState)


class Failed(Struct, frozen=True, kw_only=True):
    """What was to be done was refused, and would be refused again."""

    code: str
    sentence: str


class _Elsewhere(Struct, frozen=True, kw_only=True):
    """What was to be done can only be done on another node: an agent that is needed is held there."""


class Errand(Generic[S]):
    """One errand, awake. Implements `actor.activation.Actor`; its kind says what is to be done."""

    def __init__(self, tenure: Tenure, records: Records, world: World, space: Space[S], title: str) -> None:
        assert tenure.address
        self._tenure = tenure
        self._records = records
        self._world = world
        self._space = space
        self._title = title
        self._found: Found[S] | None = None
        self._task: asyncio.Task[None] | None = None
        self._report: Struct | None = None
        self._awake = asyncio.Event()
        self._stopping = False
        self._parked = False  # the node takes no new turns; whoever opens the store next goes on
        self._gone = False

    # -- what an errand is -----------------------------------------------------------------------------------

    def has_work(self, state: S) -> bool:
        """Whether there is something to do now."""
        raise AssertionError("an errand says so itself")

    async def perform(self, state: S) -> Struct:
        """Do the next thing; what came of it. It is done again after a crash. May raise any KelpieError."""
        raise AssertionError("an errand says so itself")

    async def note(self, state: S, report: Struct, batch: Batch) -> S | None:
        """The state after the report, `Failed` among them; None: the errand is over and its state goes."""
        raise AssertionError("an errand says so itself")

    async def answer(self, state: S, body: Struct, batch: Batch) -> tuple[S | None, Struct]:
        """The state after a call, and the reply. Raises Refused."""
        raise AssertionError("an errand says so itself")

    # -- what an activation asks -----------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether something is under way that a clean stop would interrupt."""
        return self._found is None or (self.has_work(self._found.value) and not self._parked)

    async def load(self) -> None:
        """Read the committed state. Raises NotFound."""
        self._found = await self._records.get(self._space.at(self._tenure.address))
        if self._found is None:
            batch = Batch()
            batch.delete(OWNERS.at(self._tenure.address))
            await self._tenure.commit(batch)
            raise self._not_found()

    async def run(self, mailbox: Mailbox) -> None:
        """Serve until stopped. What is under way ends with it."""
        assert self._found is not None, "load() comes first"
        assert not self._gone
        async with asyncio.TaskGroup() as group:
            while not self._gone:
                letter = mailbox.take(int(asyncio.get_running_loop().time() * 1000))
                if letter is not None:
                    await self._serve(letter)
                elif self._report is not None:
                    await self._take_report(self._report)
                elif self._task is None and self.has_work(self._found.value):
                    self._task = group.create_task(self._work(), name=f"errand of {self._tenure.address}")
                elif self._stopping and not self.busy:
                    break
                else:
                    self._awake.clear()
                    await self._awake.wait()
            self._drop_task()
            if self._gone:
                mailbox.close(self._not_found())

    def wake(self) -> None:
        """There is something to do."""
        self._awake.set()

    def stop(self) -> None:
        """End when nothing is under way."""
        self._stopping = True
        self._awake.set()

    # -- inside ----------------------------------------------------------------------------------------------

    async def _serve(self, letter: Letter) -> None:
        """Answer one call. A state that it changed is looked at anew."""
        assert self._found is not None
        assert not self._gone
        before = self._found.value
        try:
            if isinstance(letter.call.body, Resume):
                letter.answer(Done())
                return
            letter.answer(await self._answer_as_owner(before, letter.call.body))
        except (Refused, Unavailable) as error:
            letter.fail(error)
        except BaseException:
            letter.fail(ActivationLost(f"'{self._tenure.address}' was lost while it served the call"))
            raise

    async def _answer_as_owner(self, before: S, body: Struct) -> Struct:
        """The answer. One that no commit of ours bears out may tell of a past in which this node was the owner."""
        batch = Batch()
        try:
            state, reply = await self.answer(before, body, batch)
        except Refused:
            self._tenure.check_may_act()
            raise
        if state is not before or batch.writes:
            await self._commit(batch, state)
            self._drop_task()
        else:
            self._tenure.check_may_act()
        return reply

    async def _work(self) -> None:
        """Do the next thing, again as long as the world is away."""
        assert self._found is not None
        assert self._report is None
        state = self._found.value
        report: Struct | None = None
        for attempt in range(ERRAND_ATTEMPTS_MAX):
            self._tenure.check_may_act()
            try:
                report = await self.perform(state)
                break
            except Refused as error:
                report = Failed(code=error.code, sentence=error.sentence)
                break
            except NotOwner:
                report = _Elsewhere()
                break
            except (Unavailable, OutcomeUnknown) as error:
                self._parked = isinstance(error, Draining)
                self._awake.set()
                await asyncio.sleep(min(ERRAND_RETRY_FIRST_MS * 2**attempt, ERRAND_RETRY_MS_MAX) / 1000)
        if report is None:
            raise ActivationLost(f"'{self._tenure.address}' could not go on; it is taken up again")
        self._parked = False
        self._report = report
        self._awake.set()

    async def _take_report(self, report: Struct) -> None:
        """Commit what came of it. What changed meanwhile is looked at anew."""
        assert self._found is not None
        if isinstance(report, _Elsewhere):
            await self._let_go()
        for attempt in range(COMMIT_ATTEMPTS_MAX):
            batch = Batch()
            try:
                await self._commit(batch, await self.note(self._found.value, report, batch))
                break
            except (Conflict, Unavailable) as error:
                if attempt == COMMIT_ATTEMPTS_MAX - 1:
                    raise ActivationLost(f"a step of '{self._tenure.address}' could not be committed") from error
                await asyncio.sleep(ERRAND_RETRY_FIRST_MS * 2**attempt / 1000)
        self._report = self._task = None

    async def _let_go(self) -> NoReturn:
        """Be nobody's, and unfinished: whichever node takes it up next may be the one that holds the agent."""
        self._world.marks.reached("an errand was let go, for its agent is held elsewhere")
        batch = Batch()
        batch.delete(OWNERS.at(self._tenure.address))
        await self._tenure.commit(batch)
        raise NotOwner(f"'{self._tenure.address}' cannot go on here; another node takes it up")

    async def _commit(self, batch: Batch, state: S | None) -> None:
        """The state, and whether it is to be brought back after a crash; None: nothing stays."""
        assert self._found is not None
        address = ActorAddress(self._found.value.id)
        assert address == self._tenure.address
        batch.check(self._found)
        if state is None:
            batch.delete(self._space.at(address))
            batch.delete(OWNERS.at(address))
            end_work(batch, address)
            await self._tenure.commit(batch)
            self._gone = True
            return
        batch.put(self._space.at(address), state)
        if self.has_work(state):
            begin_work(batch, address)
        else:
            end_work(batch, address)
        version = await self._tenure.commit(batch)
        self._found = batch.found(self._space.at(address), state, version)

    def _drop_task(self) -> None:
        """Whatever is under way is begun again from the state as it is now."""
        if self._task is not None:
            self._task.cancel()
        self._task = self._report = None

    def _not_found(self) -> KelpieError:
        return NotFound(f"{self._title} with id '{self._tenure.address}' not found", id=self._tenure.address)
