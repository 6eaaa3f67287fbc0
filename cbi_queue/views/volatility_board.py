"""The volatility models of each board, ranked by how much better than EWMA they forecast variance. Pure: rows in, rows out.

They forecast no price, so they have boards of their own, and the rest is as on those of the price (`leaderboard`): the
validation block ranks, the backtest judges; skill = 1 - QLIKE / EWMA's QLIKE on the same rows. EWMA and the rolling
window are always listed, with the scores that the model judged on the most rows brings along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.models.catalogue import MODELS
from cbi_queue.views.boards import boards_of, comparable
from cbi_queue.views.leaderboard import NAIVE, ScoredRow, in_places, may_differ, told_apart, verdicts_of
from cbi_queue.views.side_scores import SideScores
from cbi_queue.views.stored_values import number_of, object_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cbi_queue.ledger import JobRow
    from cbi_queue.views.comparison import Comparison

EWMA = "ewma"
BASELINES = {EWMA: "EWMA, 0.94", "rolling": "the last 63 days"}
"""Name in the metrics -> what it is."""
_SCORES = SideScores("volatility", "qlike", EWMA)


@dataclass(frozen=True, slots=True)
class VolatilityRow(ScoredRow):
    """A forecaster of the variance, or a baseline, which no job trains."""

    skill: float | None = None
    """1 - QLIKE / EWMA's QLIKE on the same rows; judges."""
    skill_rolling: float | None = None
    """1 - QLIKE / the rolling window's QLIKE."""
    set_p_value: float | None = None
    """Of the model confidence set; 0.10 or more: cannot be told apart from the best of its board."""
    qlike: float | None = None
    volatility_pct: float | None = None
    """The volatility that was forecast, annualised, percent."""
    realised_pct: float | None = None
    """The volatility that came, in the same unit."""
    pinball_pct: float | None = None
    """Mean pinball loss of the return's quantiles, percent; of models that forecast them."""
    pinball_ewma_pct: float | None = None
    """That of a normal distribution with EWMA's variance."""
    coverage_50: float | None = None
    """Share of returns inside the 50 % intervals, 0 to 1."""
    coverage_90: float | None = None


def rank_volatility(
    jobs: Iterable[JobRow], comparisons: Mapping[str, Comparison] | None = None
) -> dict[str, list[VolatilityRow]]:
    """Rank the scored volatility jobs and the baselines of each board, best first.

    Args:
        jobs: any jobs; those without volatility scores are omitted, and of several jobs of one name only the newest counts.
        comparisons: title of a board -> what was computed about it.

    Returns:
        Title of the board -> rows.
    """
    known = comparisons or {}
    return {title: _ranked(listed, known.get(title)) for title, listed in boards_of(jobs, "volatility").items()}


def with_final_scores(job: JobRow, stored: Any) -> JobRow | None:
    """Return the job with the scores of its final block, as its file has them, in place of the backtest's; None without."""
    final = object_of(stored).get("final")
    if not isinstance(final, dict) or not isinstance(final.get("model"), dict):
        return None
    scores = object_of((job.metrics or {}).get("volatility"))
    return replace(job, metrics={**(job.metrics or {}), "volatility": {**scores, "backtest": final}})


def _ranked(jobs: list[JobRow], comparison: Comparison | None) -> list[VolatilityRow]:
    counted = comparable(jobs)
    placed = in_places([*map(_model_row, counted), *_baseline_rows(counted)], jobs, _bare_row)
    models = sum(not row.is_bar for row in placed)
    return [
        replace(
            row,
            told_apart=None if row.name == EWMA and row.is_bar else told_apart(row, models),
            set_p_value=comparison.in_set.get(row.name) if comparison and row.place is not None else None,
        )
        for row in placed
    ]


def _bare_row(job: JobRow) -> VolatilityRow:
    return VolatilityRow(None, job.id, job.name, job.family, job.model, is_bar=False)


def _model_row(job: JobRow) -> VolatilityRow:
    metrics = job.metrics or {}
    return replace(
        _with_scores(_bare_row(job), _SCORES.of(job, "backtest")),
        validation_skill=number_of(_SCORES.of(job, "validation").get("skill")),
        fit_s=number_of(metrics.get("fit_s")),
        verdicts=verdicts_of(metrics),
        may_differ=may_differ(job),
    )


def _baseline_rows(jobs: list[JobRow]) -> list[VolatilityRow]:
    longest = _SCORES.longest(jobs)
    if longest is None:
        return []
    rows = []
    for name, words in BASELINES.items():
        row = VolatilityRow(None, None, name, MODELS[NAIVE].family, words, is_bar=True)
        skill = _SCORES.baseline_skill(longest, "backtest", name)
        if skill is not None:
            row = replace(_with_scores(row, _SCORES.of(longest, "backtest", name)), skill=skill)
            rows.append(replace(row, validation_skill=_SCORES.baseline_skill(longest, "validation", name)))
    return rows


_NUMBERS = (
    "skill", "skill_low", "skill_high", "skill_rolling", "qlike", "volatility_pct", "realised_pct", "pinball_pct",
    "pinball_ewma_pct", "coverage_50", "coverage_90",
)  # fmt: skip
"""Fields that are called in the metrics as they are here."""


def _with_scores(row: VolatilityRow, score: Mapping[str, Any]) -> VolatilityRow:
    figures: dict[str, Any] = {name: number_of(score.get(name)) for name in _NUMBERS}
    return replace(
        row,
        **figures,
        independent=number_of(score.get("skill_independent")),
        periods_per_year=number_of(score.get("periods_per_year")),
        p_value=number_of(score.get("skill_p_value")),
        dm_p_value=number_of(score.get("skill_dm_p_value")),
        rows=whole_of(score.get("rows")),
    )
