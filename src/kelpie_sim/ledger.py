"""What clients did and were told: the only memory of a run that no fault touches. Checkers hold it against the rows."""

from msgspec import Struct


class Sent(Struct):
    """One message to one thread. `run_ids` are all runs that any attempt was told; `acked_s`: it was accepted."""

    number: int  # of this client to this thread, from 1
    client: str
    agent_id: str
    thread_id: str  # the agent's own id, or that of a conversation
    key: str
    marker: str
    mode: str
    begun_s: float
    run_ids: list[str] = []
    acked_s: float | None = None
    ended_s: float | None = None
    outcome: str = "open"  # answered, failed, refused
    cancel: bool = False  # somebody asked for it to be cancelled
    undone: str = ""  # the answer that said that nothing had happened, of a message that was sent only once


class Reading(Struct):
    """What one reader of a run's numbered stream was shown, from behind `after` on."""

    run_id: str
    reader: str
    after: int
    items: list[tuple[int, bytes]] = []
    ended: bool = False  # it saw the end of the run


class Edit(Struct):
    """One value that a person gave a block."""

    block_id: str
    client: str
    value: str
    begun_s: float
    ended_s: float | None = None
    known: bool = False  # the server said that it was done


class Look(Struct):
    """One value of a block that somebody was shown."""

    block_id: str
    client: str
    value: str
    begun_s: float
    ended_s: float


class Ledger:
    """All of it."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.readings: list[Reading] = []
        self.edits: list[Edit] = []
        self.looks: list[Look] = []
        self.marks: dict[str, str] = {}  # what an agent was told to write into a block -> that block
        self.registers: dict[str, None] = {}  # blocks that nobody writes but by edits and marks
        self.deleted: dict[str, float] = {}  # agents and blocks whose removal was acknowledged -> when
        self.doomed: dict[str, None] = {}  # agents and blocks that somebody tried to remove

    def note_run(self, sent: Sent, run_id: str, now_s: float) -> None:
        """An attempt was told its run."""
        if run_id not in sent.run_ids:
            sent.run_ids.append(run_id)
        if sent.acked_s is None:
            sent.acked_s = now_s
