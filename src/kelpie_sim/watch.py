"""Where checkers put down what they find. A run goes on after a violation; the first tell most, so few are kept."""

from msgspec import Struct

VIOLATIONS_KEPT = 30


class Violation(Struct, frozen=True, kw_only=True):
    """A promise that was broken, and which checker saw it."""

    checker: str
    sentence: str
    at_ms: int = 0  # virtual time


class Watch:
    """All violations of one run, in the order in which they were seen."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.count = 0

    def blame(self, checker: str, sentence: str, at_ms: int = 0) -> None:
        """Something that must always hold did not."""
        self.count += 1
        if len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(Violation(checker=checker, sentence=sentence, at_ms=at_ms))

    def expect(self, holds: bool, checker: str, sentence: str) -> None:
        """Blame unless it holds."""
        if not holds:
            self.blame(checker, sentence)
