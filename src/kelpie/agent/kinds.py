"""Which kind of actor an address names: by the word in front of its first dash."""

from collections.abc import Mapping

from kelpie.actor.activation import Actor, ActorKind
from kelpie.actor.call import ActorAddress
from kelpie.actor.tenure import Tenure


class Kinds:
    """Several kinds as one. Implements `actor.activation.ActorKind`."""

    def __init__(self, by_word: Mapping[str, ActorKind], other: ActorKind) -> None:
        self._by_word = dict(by_word)
        self._other = other

    async def check(self, address: ActorAddress) -> None:
        """Raises NotFound if there is no such actor."""
        await self._kind(address).check(address)

    def make(self, tenure: Tenure, *, blamed: bool) -> Actor:
        """An actor of the kind that the address names."""
        return self._kind(tenure.address).make(tenure, blamed=blamed)

    def _kind(self, address: ActorAddress) -> ActorKind:
        return self._by_word.get(address.partition("-")[0], self._other)
