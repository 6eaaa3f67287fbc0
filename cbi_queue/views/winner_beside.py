"""Which volatility model and which regime classifier of a horizon are chosen beside the model of the price. Pure.

The validation block chooses, as for prices: least QLIKE against EWMA's, least log loss against that of persistence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.lifecycle import JobState
from cbi_queue.views.forecast import REGIMES, VOLATILITY
from cbi_queue.views.leaderboard import BETTER, NO, WORSE
from cbi_queue.views.regime_board import rank_regimes
from cbi_queue.views.stored_values import number_of, object_of
from cbi_queue.views.volatility_board import boards_with, rank_volatility
from cbi_queue.views.winner import ranked_above, told_apart_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger import JobRow


@dataclass(frozen=True, slots=True)
class ChosenBeside:
    """One run that forecasts no price."""

    job: JobRow
    what: str
    """`VOLATILITY` or `REGIMES`."""
    place: int
    """On its board, among the baselines; of a classifier among those that could be chosen."""
    of: int
    """Models of its board that could be chosen."""
    told_apart: str | None
    """From its baseline on the backtest: better | worse | no | too few; None: not tested."""
    words: tuple[str, ...]
    """What may be believed of it, a sentence each."""


def chosen_beside(jobs: Iterable[JobRow], horizon: str, dataset: str) -> list[ChosenBeside]:
    """Return the chosen volatility model, then the chosen classifier, each where there is one.

    Args:
        jobs: scored jobs, as for `leaderboard.rank`.
        horizon: one of the catalogue's names.
        dataset: name of the data set.
    """
    mine = [job for job in jobs if job.horizon == horizon and job.dataset == dataset]
    return [found for found in (_volatility(mine), _regimes(mine)) if found is not None]


def _volatility(jobs: list[JobRow]) -> ChosenBeside | None:
    known = {job.id: job for job in jobs}
    for rows in rank_volatility(jobs).values():  # the newest data and walk-forward come first
        ranked = [row for row in rows if row.place is not None and not row.is_bar and row.job_id is not None]
        if ranked:
            best = ranked[0]
            said = (told_apart_from("EWMA", best), *ranked_above(best, rows))
            return ChosenBeside(
                known[best.job_id or 0], VOLATILITY, best.place or 1, len(ranked), best.told_apart, said
            )
    return None


def _regimes(jobs: list[JobRow]) -> ChosenBeside | None:
    rows = {row.job_id: row for listed in rank_regimes(jobs).values() for row in listed}
    for listed in boards_with(jobs, REGIMES, {JobState.SUCCEEDED}).values():
        ranked = [job for job in listed if job.damage is None and _validation_skill(job) is not None]
        if ranked:
            best = min(ranked, key=lambda job: (-(_validation_skill(job) or 0.0), job.name))
            row = rows[best.id]
            low, high = row.skill_low, row.skill_high
            told_apart = None if low is None or high is None else BETTER if low > 0 else WORSE if high < 0 else NO
            said = ("It says what persistence says: it had no skill on validation.",) if row.share == 0 else ()
            return ChosenBeside(best, REGIMES, 1, len(ranked), told_apart, said)
    return None


def _validation_skill(job: JobRow) -> float | None:
    """Return 1 - log loss / that of persistence on the validation block; None: not known."""
    scores = object_of(object_of(object_of((job.metrics or {}).get(REGIMES)).get("validation")).get("model"))
    return number_of(scores.get("skill"))
