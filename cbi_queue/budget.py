"""The week's budget of models: 60 to 70 in all, with a range for each kind. Pure: no clock, no disk.

The rows are the user's; they add up to 65 to 80, so the total is a limit of its own. The shipped week plans 65 and keeps 5 spare.
Every trained model of a budgeted family counts. Not counted: feature caches, the baselines (naive, seasonal_naive, drift),
the plain ensembles (mean, median, greedy), mixtures of models that count, and days outside 1 to 7 (the quickstart is day 0).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import BARS, HORIZONS, MIXTURE, PLAIN_ENSEMBLES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

WEEK_DAYS = frozenset(range(1, 8))


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One kind of model."""

    family: str
    minimum: int
    planned: int
    maximum: int
    words: str
    """Its name, for people."""


ROWS: tuple[BudgetRow, ...] = (
    BudgetRow("trees", 15, 15, 20, "trees"),
    BudgetRow("statistical", 10, 10, 12, "statistical"),
    BudgetRow("simple_neural", 15, 15, 18, "simple neural"),
    BudgetRow("advanced_neural", 8, 8, 10, "advanced neural"),
    BudgetRow("volatility", 3, 3, 4, "volatility"),
    BudgetRow("regime_classifier", 1, 1, 1, "regime classifier"),
    BudgetRow("regime_specific", 8, 8, 10, "regime-specific"),
    BudgetRow("meta", 5, 5, 5, "meta-learners"),
)
TOTAL = BudgetRow("total", 60, 65, 70, "total")
_ROW_BY_FAMILY = {row.family: row for row in ROWS}


@dataclass(frozen=True, slots=True)
class Standing:
    """How many models are where."""

    done: int = 0
    """Succeeded."""
    running: int = 0
    """In the slot, training or paused."""
    queued: int = 0
    """Queued, waiting or held."""
    failed: int = 0
    """Failed or vetoed; a cancelled job counts nowhere."""

    def __add__(self, other: Standing) -> Standing:
        return Standing(
            self.done + other.done,
            self.running + other.running,
            self.queued + other.queued,
            self.failed + other.failed,
        )

    @property
    def alive(self) -> int:
        """Done, running or queued."""
        return self.done + self.running + self.queued


@dataclass(frozen=True, slots=True)
class RowProgress:
    """The progress of one row of the budget."""

    family: str
    words: str
    minimum: int
    planned: int
    maximum: int
    counts: Standing
    by_horizon: dict[str, Standing]
    """Every horizon, in order, including those without a model."""
    remaining: int
    """Models of the plan not yet done."""
    unscheduled: int
    """Models of the plan neither done, running nor queued."""
    at_risk: int
    """Failed models that must be replaced to reach the minimum."""


@dataclass(frozen=True, slots=True)
class BudgetProgress:
    """The progress of the whole budget; made of plain values, so that `dataclasses.asdict` is its JSON."""

    rows: tuple[RowProgress, ...]
    total: RowProgress


def is_in_week(day: int | None) -> bool:
    """Return True if jobs of *day* count towards the week's budget."""
    return day in WEEK_DAYS


def is_whole_week(days: Collection[int | None]) -> bool:
    """Return True if *days* contain every day of the week."""
    return set(days) >= WEEK_DAYS


def counts_as_model(family: str, model: str) -> bool:
    """Return True if such a job is one of the 60 to 70."""
    return family in _ROW_BY_FAMILY and model not in {*BARS, *PLAIN_ENSEMBLES, MIXTURE}


_GROUP_OF = {
    JobState.SUCCEEDED: "done",
    JobState.RUNNING: "running",
    JobState.PAUSED: "running",
    JobState.QUEUED: "queued",
    JobState.WAITING: "queued",
    JobState.HELD: "queued",
    JobState.FAILED: "failed",
    JobState.VETOED: "failed",
}


def tally(jobs: Iterable[tuple[int, str, str, str, JobState]]) -> Counter[tuple[str, str, JobState]]:
    """Count jobs of (day, family, model, horizon, state) by (family, horizon, state), leaving out what does not count."""
    return Counter(
        (family, horizon, state)
        for day, family, model, horizon, state in jobs
        if is_in_week(day) and counts_as_model(family, model)
    )


def progress(counts: Mapping[tuple[str, str, JobState], int]) -> BudgetProgress:
    """Compare counts of models by (family, horizon, state) with the budget; families outside it are ignored."""
    cells: dict[tuple[str, str], Standing] = {}
    for (family, horizon, state), count in counts.items():
        if family in _ROW_BY_FAMILY and (group := _GROUP_OF.get(state)) is not None:
            cells[family, horizon] = cells.get((family, horizon), Standing()) + Standing(**{group: count})
    rows = tuple(
        _row(row, {horizon: cells.get((row.family, horizon), Standing()) for horizon in HORIZONS}) for row in ROWS
    )
    by_horizon = {horizon: sum((row.by_horizon[horizon] for row in rows), Standing()) for horizon in HORIZONS}
    return BudgetProgress(rows, _row(TOTAL, by_horizon))


def _row(row: BudgetRow, by_horizon: dict[str, Standing]) -> RowProgress:
    counts = sum(by_horizon.values(), Standing())
    return RowProgress(
        family=row.family,
        words=row.words,
        minimum=row.minimum,
        planned=row.planned,
        maximum=row.maximum,
        counts=counts,
        by_horizon=by_horizon,
        remaining=max(0, row.planned - counts.done),
        unscheduled=max(0, row.planned - counts.alive),
        at_risk=max(0, min(counts.failed, row.minimum - counts.alive)),
    )


def first_over(families: Sequence[str]) -> list[tuple[int, str]]:
    """Find where a row, or the total, first goes above its maximum.

    Args:
        families: the family of every planned model, in plan order.

    Returns:
        Position of the first model too many, and the complaint; one for each row above its maximum.
    """
    counts = Counter(families)
    found = []
    for row in ROWS:
        if counts[row.family] > row.maximum:
            places = [i for i, family in enumerate(families) if family == row.family]
            found.append(
                (places[row.maximum], f"{limits_words(row, counts[row.family])}; this is the first one too many")
            )
    if len(families) > TOTAL.maximum:
        found.append((TOTAL.maximum, f"{limits_words(TOTAL, len(families))}; this is the first one too many"))
    return found


def shortfalls(families: Iterable[str]) -> list[tuple[BudgetRow, int]]:
    """Return the rows, the total last, that stay below their minimum, each with its count of models."""
    counts = Counter(families)
    short = [(row, counts[row.family]) for row in ROWS if counts[row.family] < row.minimum]
    if counts.total() < TOTAL.minimum:
        short.append((TOTAL, counts.total()))
    return short


def limits_words(row: BudgetRow, count: int) -> str:
    """Return in words what *row* allows and how many models there are."""
    allowed = range_words(row.minimum, row.maximum, " to ")
    name = "models in all" if row is TOTAL else f"{row.words} models"
    return f"the week's budget is {allowed} {name}; these plans hold {count}"


def range_words(low: int, high: int, to: str = "-") -> str:
    """Return in words what a row allows: `15-20`, and `5` where that is all."""
    return str(low) if low == high else f"{low}{to}{high}"
