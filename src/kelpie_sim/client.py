"""A client program: finds a node that serves it, repeats under the same key what was lost, and writes all down.

It behaves as a client behind a load balancer: a node that is away, not the owner, or full is passed over for the
next one. What it may conclude from an answer is what `api/errors.py` promises: a refusal ends the matter, anything
else leaves it open.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from kelpie_sim.cluster import Cluster
from kelpie_sim.draw import Stream
from kelpie_sim.host import SimHost
from kelpie_sim.http import ConnectionLost, HttpAnswer, HttpAsk, StreamItem, encoded

WAITS_S = (5.0, 15.0, 40.0, 90.0)  # how patient an attempt is, drawn
SILENCE_S = 40.0  # pings come every 15 s, so a stream that is silent for so long is dead
PAUSE_S_MAX = 1.5  # between two attempts
AGAIN_STATUSES = (429, 500, 503, 504, 507)


class SimClient:
    """One client program on a machine of its own, which never fails; its links may."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        self.rng: Stream = cluster.sim.stream("client", name)
        self._at = self.rng.randrange(len(cluster.hosts))

    def now_s(self) -> float:
        """Virtual time, as the ledger has it."""
        return self.cluster.sim.loop.time()

    async def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = None, attempts_max: int = 10_000
    ) -> HttpAnswer:
        """The final answer, after as many attempts as it takes. Raises ConnectionLost after `attempts_max`."""
        ask = HttpAsk(method=method, path=path, body=b"" if body is None else encoded(body), key=key)
        for _ in range(attempts_max):
            try:
                answer = await self.cluster.http.ask(self.name, self.node(), ask, wait_s=self.rng.choice(WAITS_S))
            except ConnectionLost:
                await self.rest()
                continue
            if not is_open(answer):
                return answer
            await self.rest()
        raise ConnectionLost(f"{self.name} gave up {method} {path}")

    async def ask_once(self, method: str, path: str, body: object) -> HttpAnswer | None:
        """One attempt without a key, as by a program that gives up at once; None: it has no answer."""
        ask = HttpAsk(method=method, path=path, body=encoded(body))
        try:
            return await self.cluster.http.ask(self.name, self.node(), ask, wait_s=self.rng.choice(WAITS_S))
        except ConnectionLost:
            return None
        finally:
            self._at = (self._at + 1) % len(self.cluster.hosts)

    async def stream(
        self, path: str, body: object, *, key: str | None
    ) -> AsyncGenerator[StreamItem | HttpAnswer, None]:
        """One attempt at a streamed answer. Raises ConnectionLost."""
        ask = HttpAsk(method="POST", path=path, body=encoded(body), key=key)
        items = self.cluster.http.stream(self.name, self.node(), ask, silence_s=SILENCE_S)
        async with aclosing(items) as reading:
            async for item in reading:
                yield item

    def node(self) -> SimHost:
        """The node that is asked next."""
        return self.cluster.hosts[self._at]

    async def rest(self) -> None:
        """Wait a little, and turn to the next node."""
        self._at = (self._at + 1) % len(self.cluster.hosts)
        await asyncio.sleep(self.rng.uniform(0.05, PAUSE_S_MAX))


def is_open(answer: HttpAnswer) -> bool:
    """Whether the same request may still succeed: nothing happened, or it is not known what did."""
    if answer.status == 409:
        return answer.error == "conflict"
    return answer.status in AGAIN_STATUSES and answer.run_id is None
