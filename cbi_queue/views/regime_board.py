"""The regime classifiers of each board, against what persistence and class frequencies say. Pure: rows in, rows out.

They forecast no price, so they have boards of their own, and the rest is as on those of the price (`leaderboard`): the
validation block ranks, the backtest judges; skill = 1 - log loss / that of persistence on the same rows. Both baselines
are always listed, with the scores that the classifier judged on the most rows brings along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.models.catalogue import MODELS
from cbi_queue.views.boards import boards_of, comparable
from cbi_queue.views.leaderboard import NAIVE, ScoredRow, in_places, may_differ, told_apart, verdicts_of
from cbi_queue.views.side_scores import SideScores
from cbi_queue.views.stored_values import number_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger import JobRow

PERSISTENCE = "persistence"
BASELINES = {PERSISTENCE: "the regime stays", "frequencies": "as often as before"}
"""Name in the metrics -> what it is."""
_SCORES = SideScores("regimes", "log_loss", PERSISTENCE)


@dataclass(frozen=True, slots=True)
class RegimeRow(ScoredRow):
    """A classifier, or a baseline, which no job trains."""

    skill: float | None = None
    """1 - log loss / that of persistence on the same rows; judges."""
    log_loss: float | None = None
    """Mean -log of the probability of the regime that came."""
    brier: float | None = None
    """Mean squared distance to certainty, 0 to 2."""
    accuracy: float | None = None
    """Share of days whose likeliest regime came, 0 to 1."""
    share: float | None = None
    """Of the classifier in its probabilities, the rest is persistence; 0: it says what persistence says."""


def rank_regimes(jobs: Iterable[JobRow]) -> dict[str, list[RegimeRow]]:
    """Rank the scored classifiers of each board and the baselines, best first.

    Args:
        jobs: any jobs; those without scores of regimes are omitted, and of several jobs of one name only the newest counts.

    Returns:
        Title of the board -> rows. A title is that of the price board, then `regimes`.
    """
    return {title: _ranked(listed) for title, listed in boards_of(jobs, "regimes").items()}


def _ranked(jobs: list[JobRow]) -> list[RegimeRow]:
    counted = comparable(jobs)
    placed = in_places([*map(_model_row, counted), *_baseline_rows(counted)], jobs, _bare_row)
    models = sum(not row.is_bar for row in placed)
    return [row if row.is_bar else replace(row, told_apart=told_apart(row, models)) for row in placed]


def _bare_row(job: JobRow) -> RegimeRow:
    return RegimeRow(None, job.id, job.name, job.family, job.model, is_bar=False)


def _model_row(job: JobRow) -> RegimeRow:
    metrics = job.metrics or {}
    return replace(
        _scored(_bare_row(job), _SCORES.of(job, "backtest")),
        validation_skill=number_of(_SCORES.of(job, "validation").get("skill")),
        share=number_of(metrics.get("regime_share")),
        fit_s=number_of(metrics.get("fit_s")),
        verdicts=verdicts_of(metrics),
        may_differ=may_differ(job),
    )


def _baseline_rows(jobs: list[JobRow]) -> list[RegimeRow]:
    longest = _SCORES.longest(jobs)
    if longest is None:
        return []
    rows = []
    for name, words in BASELINES.items():
        row = RegimeRow(None, None, name, MODELS[NAIVE].family, words, is_bar=True)
        skill, validation = (_SCORES.baseline_skill(longest, block, name) for block in ("backtest", "validation"))
        row = _scored(row, _SCORES.of(longest, "backtest", name))
        rows.append(replace(row, skill=skill, validation_skill=validation))
    return rows


def _scored(row: RegimeRow, score: dict[str, Any]) -> RegimeRow:
    return replace(
        row,
        rows=whole_of(score.get("rows")),
        skill=number_of(score.get("skill")),
        skill_low=number_of(score.get("skill_low")),
        skill_high=number_of(score.get("skill_high")),
        independent=number_of(score.get("skill_independent")),
        p_value=number_of(score.get("skill_p_value")),
        dm_p_value=number_of(score.get("skill_dm_p_value")),
        log_loss=number_of(score.get("log_loss")),
        brier=number_of(score.get("brier")),
        accuracy=number_of(score.get("accuracy")),
    )
