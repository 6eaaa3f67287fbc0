"""Which volatility model and which regime classifier of a horizon are chosen beside the model of the price. Pure.

The validation block chooses, as for prices: least QLIKE against EWMA's, least log loss against that of persistence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.views.board_words import REGIME_BAR, VARIANCE_BAR
from cbi_queue.views.forecast import REGIMES, VOLATILITY
from cbi_queue.views.regime_board import RegimeRow, rank_regimes
from cbi_queue.views.volatility_board import rank_volatility
from cbi_queue.views.winner import ranked_above, told_apart_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.ledger import JobRow
    from cbi_queue.views.leaderboard import ScoredRow


@dataclass(frozen=True, slots=True)
class ChosenBeside:
    """One run that forecasts no price."""

    job: JobRow
    what: str
    """`VOLATILITY` or `REGIMES`."""
    place: int
    """On its board, among the baselines."""
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
    mine = {job.id: job for job in jobs if job.horizon == horizon and job.dataset == dataset}
    found = [
        _chosen(mine, VOLATILITY, VARIANCE_BAR, rank_volatility(mine.values())),
        _chosen(mine, REGIMES, REGIME_BAR, rank_regimes(mine.values())),
    ]
    return [each for each in found if each is not None]


def _chosen(
    jobs: Mapping[int, JobRow], what: str, bar: str, boards: Mapping[str, Sequence[ScoredRow]]
) -> ChosenBeside | None:
    for rows in boards.values():  # the newest data and walk-forward come first
        ranked = [row for row in rows if row.place is not None and not row.is_bar and row.job_id is not None]
        if ranked:
            best = ranked[0]
            said = [told_apart_from(bar, best)]
            if isinstance(best, RegimeRow) and best.share == 0:
                said.append("It says what persistence says: it had no skill on validation.")
            return ChosenBeside(
                jobs[best.job_id or 0], what, best.place or 1, len(ranked), best.told_apart,
                (*said, *ranked_above(best, rows)),
            )  # fmt: skip
    return None
