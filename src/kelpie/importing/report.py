"""What a move did, in words: counts and sums for each kind, and what stayed behind, with the reason."""

from collections.abc import Mapping

from msgspec import Struct

from kelpie.importing.journal import Left, Progress


class Report(Struct, frozen=True, kw_only=True):
    """One move, ended. `left_tables` are rows of kinds that are not moved at all."""

    source: str
    dry: bool
    kinds: dict[str, Progress]
    left_tables: tuple[Left, ...]
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether the store has what was carried, record for record."""
        return all(progress.sum == progress.stored for progress in self.kinds.values())


def lines_of(report: Report) -> list[str]:
    """The report as text, one table and the reasons below it."""
    head = f"{'kind':<22}{'read':>9}{'carried':>9}{'present':>9}{'left':>7}  {'sum of what was carried':<34}stored"
    lines = [f"From {report.source}{' (dry run: nothing was written)' if report.dry else ''}", "", head]
    lines += [_line(name, progress) for name, progress in report.kinds.items()]
    parts = _parts(report.kinds)
    if parts:
        lines += ["", "Inside of them: " + ", ".join(f"{count} {name}" for name, count in parts.items()) + "."]
    reasons = [(name, left) for name, progress in report.kinds.items() for left in progress.left]
    if reasons:
        lines += ["", "Left behind:"]
        lines += [f"  {left.count} {name}: {left.reason} ({_named(left)})" for name, left in reasons]
    lacking = [(name, each) for name, progress in report.kinds.items() for each in progress.without]
    if lacking:
        lines += ["", "Came along, but:"]
        lines += [f"  {each.count} {name}: {each.reason} ({_named(each)})" for name, each in lacking]
    if report.left_tables:
        lines += ["", "Not moved at all:"]
        lines += [f"  {left.count} rows of {left.named[0]}: {left.reason}" for left in report.left_tables]
    lines += ["", *report.notes] if report.notes else []
    return lines


def _line(name: str, progress: Progress) -> str:
    left = sum(each.count for each in progress.left)
    counts = f"{progress.read:>9}{progress.carried:>9}{progress.present:>9}{left:>7}"
    state = "the same" if progress.sum == progress.stored else f"DIFFERS: {progress.stored}"
    return f"{name:<22}{counts}  {progress.sum:0>32}  {state}"


def _parts(kinds: Mapping[str, Progress]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for progress in kinds.values():
        for name, count in progress.parts.items():
            parts[name] = parts.get(name, 0) + count
    return parts


def _named(left: Left) -> str:
    return ", ".join(left.named) + (", ..." if left.count > len(left.named) else "")
