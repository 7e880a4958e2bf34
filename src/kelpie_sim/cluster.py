"""Whole nodes in one loop over one store: the production house on each, put together by the production assembly.

A node that ends (it could get no lease) is started again a moment later, as a supervisor would. What a node logs as
an error is a bug of ours by the words of `actor/activation.py` and `api/app.py`, so it counts as a violation.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from kelpie.access.vault import Vault
from kelpie.api.app import App
from kelpie.cluster.lease import LEASES
from kelpie.errors import StoreDown
from kelpie.ids import NodeId
from kelpie.llm.embedding import Embeddings
from kelpie.node import Node, build_node
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest
from kelpie_sim.checkers.rows import Rows
from kelpie_sim.draw import Stream, between_log
from kelpie_sim.faults import FaultKind
from kelpie_sim.host import HostDown, SimHost
from kelpie_sim.http import HttpAsk, SimHttp
from kelpie_sim.loop import SimLoop
from kelpie_sim.model import ModelFaults, SimModels
from kelpie_sim.sandbox import SimSandbox, answer_ok
from kelpie_sim.simulation import Simulation
from kelpie_sim.tools import SIM_TOOLS, Answers, Behaviour, Fails, Hangs, SimTools
from kelpie_sim.watch import Watch

VAULT_KEY = bytes(range(32))  # every node of a cluster opens what any of them sealed
RESTART_S = 1.0
MODEL_MS_MIN, MODEL_MS_MAX = 2, 1_500  # of a healthy model
TOOL_MS_MAX = 400
HANGS_PERCENT = 3  # of the tool calls that fail, in the plan's words, how many never answer
HOUSE_LOG = logging.getLogger("kelpie")


class NodeTools:
    """The shared tool world, as one node reaches it: a call of a node without a lease is seen here."""

    def __init__(self, cluster: "Cluster", node: str) -> None:
        self._cluster = cluster
        self._node = node

    def list_tools(self) -> Sequence[Tool]:
        """The three tools of the simulated world."""
        return SIM_TOOLS

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run it in the shared world."""
        self._cluster.check_lease(self._node, request)
        return await self._cluster.tools.call(request)


class Cluster:
    """`count` nodes named node-1, node-2 ..., the tools of their world, and the way to them."""

    def __init__(self, sim: Simulation, watch: Watch, *, count: int, clients: Sequence[str]) -> None:
        assert count >= 1 and clients
        self.sim = sim
        self.watch = watch
        self.clients = tuple(clients)
        self.nodes: dict[str, Node] = {}  # of the incarnation that runs
        self.tools = SimTools(self._behave)
        self.hosts = [sim.host(f"node-{number + 1}") for number in range(count)]
        self.overhearers: list[Callable[[SimHost, HttpAsk, int, bytes], None]] = []
        self.http = SimHttp(sim.loop, sim.network, sim.faults, self.door, self._overhear)
        self._behaving = sim.stream("tools")

    def boot(self, host: SimHost) -> None:
        """Start the host, and the node on it."""
        host.start()
        host.spawn(self._live(host), name="node")

    async def roll(self, host: SimHost, drain_ms_max: int) -> None:
        """Stop the node as an operator does: it drains, ends, and is started again, unless it crashes before."""
        node, life = self.nodes.get(host.name), host.life
        if node is None or life is None:
            return
        try:
            drained = await host.call(node.drain(drain_ms_max), name="drain")
        except HostDown:
            return
        if host.life is life:
            self.sim.marks.reached("sim: a node drained" if drained else "sim: a node ended with turns under way")
            host.crash()
            self.sim.loop.call_later(RESTART_S, self._start_again, host, context=self.sim.loop.world)

    def door(self, host: SimHost) -> App | None:
        """What listens on the host, if anything does."""
        node = self.nodes.get(host.name)
        return None if node is None or not host.is_up else node.app

    def host(self, name: str) -> SimHost:
        """The host of that name."""
        return self.sim.hosts[name]

    def check_lease(self, node: str, request: ToolRequest) -> None:
        """Blame an outside tool's call that begins when the node's stored lease has ended."""
        now_ms = self.sim.server.tell_ms()
        lease = Rows.take(self.sim.server, LEASES.name).space(LEASES).get((node,))
        if lease is None or lease.expires_ms <= now_ms:
            late_ms = None if lease is None else now_ms - lease.expires_ms
            sentence = f"{node} began {request.tool.name} {late_ms} ms after its lease had ended"
            self.watch.blame("lease", sentence, self.sim.loop.virtual_ms)

    async def _live(self, host: SimHost) -> None:
        sim, life = self.sim, host.life
        world = sim.world(host)
        rng = sim.stream("models", host.name, host.lives)
        models = SimModels(world.entropy, world.marks, _model_faults(sim, rng))
        tools, node_id = [NodeTools(self, host.name)], NodeId(host.name)
        vault, embeddings = Vault(VAULT_KEY, world.entropy), Embeddings(None)
        store, sandbox = sim.server.open(host), SimSandbox(answer_ok)
        node = build_node(world, store, models, tools, node_id, vault=vault, embeddings=embeddings, sandbox=sandbox)
        self.nodes[host.name] = node
        started = asyncio.Event()
        try:
            await node.run(started)
        except StoreDown:
            sim.loop.call_soon(self._end, host, life, context=sim.loop.world)
            await sim.loop.create_future()  # the process is gone

    def _end(self, host: SimHost, life: object) -> None:
        if host.life is life:
            self.sim.marks.reached("sim: a node could not start and was started again")
            host.crash()
            self.sim.loop.call_later(RESTART_S, self._start_again, host, context=self.sim.loop.world)

    def _start_again(self, host: SimHost) -> None:
        if not host.is_up:
            self.boot(host)

    def _overhear(self, host: SimHost, ask: HttpAsk, status: int, body: bytes) -> None:
        for hear in self.overhearers:
            hear(host, ask, status, body)

    def _behave(self, request: ToolRequest) -> Behaviour:
        faults, rng = self.sim.faults, self._behaving
        if faults.strike(FaultKind.TOOL_FAILS):
            if rng.random() * 100 < HANGS_PERCENT:
                return Hangs(done=rng.random() < 0.5)
            return Fails(sentence=f"simulated: {request.tool.name} failed", after_ms=rng.randrange(TOOL_MS_MAX))
        slow_ms = round(faults.delay_s(FaultKind.TOOL_SLOW) * 1_000)
        return Answers(after_ms=rng.randrange(TOOL_MS_MAX) + slow_ms, answer_ms=rng.randrange(TOOL_MS_MAX))


class BugLog(logging.Handler):
    """Hears what the house logs as errors while it is in use, and keeps it from the terminal.

    It listens only while a run goes on: what is closed after the verdict may say what it likes.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.ERROR)
        self.loop: SimLoop | None = None
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        """A bug that the house survived is still a bug."""
        if self.loop is None:
            return
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._watch.blame("assertions", text, self.loop.virtual_ms)

    def __enter__(self) -> "BugLog":
        self._before = HOUSE_LOG.propagate
        HOUSE_LOG.propagate = False
        HOUSE_LOG.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        HOUSE_LOG.removeHandler(self)
        HOUSE_LOG.propagate = self._before


def _model_faults(sim: Simulation, rng: Stream) -> ModelFaults:
    def delay_s() -> float:
        return between_log(rng, MODEL_MS_MIN, MODEL_MS_MAX) / 1_000 + sim.faults.delay_s(FaultKind.MODEL_SLOW)

    return ModelFaults(
        delay_s=delay_s,
        fails=lambda: sim.faults.strike(FaultKind.MODEL_FAILS),
        garbage=lambda: sim.faults.strike(FaultKind.MODEL_GARBAGE),
    )
