"""What every benchmark hands back, and how ours and a baseline are measured turn by turn.

Absolute times say more about the machine than about the queue, so most targets are ratios of two measurements that
lie side by side in one run: a busy neighbour then slows both. Nothing here fails: a verdict is a word in a table.
"""

from __future__ import annotations

import math
import resource
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Target:
    """Where a value is wanted."""

    limit: float
    at_most: bool = True
    """False: at least."""

    def holds(self, value: float) -> bool:
        """Tell whether *value* is where it is wanted."""
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: one quantity, once per round."""

    what: str
    unit: str
    """`x` for ratios, else `s`, `MB` (of 10^6 bytes), `MiB` or `%`."""
    values: tuple[float, ...]
    """One value a round, in the order of the rounds; empty when it could not be measured, and `note` says why."""
    target: Target | None = None
    """None: told, not judged."""
    note: str = ""
    """The absolute numbers behind it."""

    @property
    def median(self) -> float:
        """The value that is judged."""
        return statistics.median(self.values) if self.values else math.nan

    @property
    def holds(self) -> bool | None:
        """True if the median meets the target; None without a target or a measurement."""
        return None if self.target is None or not self.values else self.target.holds(self.median)


def alternate(ours: Callable[[], float], baseline: Callable[[], float], rounds: int) -> tuple[list[float], list[float]]:
    """Measure both in every round, first one first, then the other first; a warming round is thrown away.

    Args:
        ours: does the work once and returns its value.
        baseline: the same for what ours is held against.
        rounds: rounds that count.

    Returns:
        The values of ours and of the baseline, round by round.
    """
    ours(), baseline()
    mine, theirs = [], []
    for number in range(rounds):
        if number % 2:
            mine.append(ours())
            theirs.append(baseline())
        else:
            theirs.append(baseline())
            mine.append(ours())
    return mine, theirs


def ratios(ours: Sequence[float], baseline: Sequence[float]) -> tuple[float, ...]:
    """Divide round by round."""
    return tuple(mine / theirs for mine, theirs in zip(ours, baseline, strict=True))


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time that *work* takes, in seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time, user and system, of the processes that *work* starts and waits for, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def in_ms(values: Sequence[float]) -> str:
    """Write the median and range of seconds as milliseconds."""
    low, middle, high = (1000 * value for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.1f} ms ({low:.1f}..{high:.1f})"


def in_seconds(values: Sequence[float]) -> str:
    """Write the median and range of seconds."""
    return f"{statistics.median(values):.1f} s ({min(values):.1f}..{max(values):.1f})"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return bounds that hold the true median 95 times in 100, whatever the values' distribution; the range for few.

    The bounds are the values of rank n/2 -+ 1.96 sqrt(n)/2, rounded outwards.
    """
    ranked, half_width = sorted(values), 1.96 * math.sqrt(len(values)) / 2
    low, high = math.floor(len(values) / 2 - half_width), math.ceil(len(values) / 2 + half_width)
    return ranked[max(low - 1, 0)], ranked[min(high, len(values) - 1)]
