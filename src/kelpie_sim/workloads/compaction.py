"""Long messages in small context windows: the window is summarised again and again, the history keeps everything."""

import asyncio
from typing import ClassVar

from kelpie.agent.state import STATES, AgentState
from kelpie.memory.history import MESSAGES
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.client import SimClient
from kelpie_sim.limits import VIRTUAL_MS_MAX
from kelpie_sim.play import Stage
from kelpie_sim.workloads.speaking import make_agent, new_sent, send, wait_end

MESSAGES_MIN, MESSAGES_MAX = 4, 9  # of one client
WINDOW_TOKENS = 2_000
LONG_CHARS = 1_800


class Compaction:
    """Each client fills the window of an agent that others fill as well."""

    virtual_ms_max: ClassVar[int] = VIRTUAL_MS_MAX

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._agents: list[str] = []
        self._numbers: dict[tuple[str, str], int] = {}

    async def setup(self) -> None:
        """One or two agents that see little."""
        first = self._stage.clients[0]
        for number in range(first.rng.choice((1, 2))):
            fields = {"context_window_limit": WINDOW_TOKENS, "system": "Be brief.", "memory_blocks": []}
            self._agents.append(await make_agent(first, f"forgetful {number}", tools=["count_up", "look_up"], **fields))

    async def load(self) -> None:
        """All clients at once."""
        async with asyncio.TaskGroup() as group:
            for client in self._stage.clients:
                group.create_task(self._work(client), name=f"{client.name} works")

    async def check(self) -> None:
        """A window leaves out what its summary tells, and nothing else."""
        rows = Rows.take(self._stage.sim.server, STATES.name, MESSAGES.name)
        kinds = {(message.thread_id, message.seq): message.kind for message in rows.space(MESSAGES).values()}
        for state in rows.space(STATES).values():
            seqs = [entry.seq for entry in state.window]
            self._check_window(state, seqs, [kinds[state.id, seq] for seq in range(state.next_seq)])

    def _check_window(self, state: AgentState, seqs: list[int], kinds: list[str]) -> None:
        """The system message; one summary, if any; of what is older than it the end, and the newest word of the user
        even if that stands before it; all that came later."""
        summaries = [seq for seq in seqs if kinds[seq] == "summary"]
        self._expect(seqs[:1] == [0], f"the window of {state.id} does not begin with the system message: {seqs}")
        self._expect(len(summaries) <= 1, f"the window of {state.id} has the summaries {summaries}")
        cut = max(summaries, default=0)
        if summaries:
            self._stage.sim.marks.reached("sim: a window was summarised")
        later = [seq for seq in range(cut + 1, state.next_seq) if kinds[seq] != "summary"]
        kept = [seq for seq in seqs[1:] if seq not in summaries]
        self._expect([seq for seq in kept if seq > cut] == later, f"{state.id} forgot some of {later}: {seqs}")
        older = [seq for seq in kept if seq < cut]
        words = [seq for seq in range(1, cut) if kinds[seq] == "user"]
        if older and older[0] == max(words, default=0):
            older = older[1:]
        end = [seq for seq in range(1, cut) if kinds[seq] != "summary"]
        is_end = older == end[len(end) - len(older) :]
        self._expect(is_end, f"the window of {state.id} keeps more than an end: {seqs}")

    async def _work(self, client: SimClient) -> None:
        ledger, rng = self._stage.ledger, client.rng
        count = rng.randint(MESSAGES_MIN, MESSAGES_MAX)
        pace_s = self._stage.shape.storm_s * rng.choice((0.0, 0.5, 1.0)) / count
        for _ in range(count):
            agent_id = rng.choice(self._agents)
            number = self._numbers[client.name, agent_id] = self._numbers.get((client.name, agent_id), 0) + 1
            sent = new_sent(ledger, client, agent_id, number, rng.choice(("sync", "async", "stream")))
            text = rng.choice(("Reply with the message 'I see'", "Call the count_up tool", "Go on."))
            await send(ledger, client, sent, f"{text} {'word ' * (LONG_CHARS // 5)}")
            await asyncio.sleep(pace_s * rng.random() * 2)
        for run_id in [run_id for sent in ledger.sent if sent.client == client.name for run_id in sent.run_ids]:
            await wait_end(client, run_id)

    def _expect(self, holds: bool, sentence: str) -> None:
        self._stage.cluster.watch.expect(holds, "no_lost_turn", sentence)
