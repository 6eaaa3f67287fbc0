"""The regime classifiers of each board, against what persistence and class frequencies say. Pure: rows in, rows out.

They forecast no price, so they have boards of their own: skill = 1 - log loss / that of persistence on the same rows of
the backtest. Both baselines are always listed, with the scores that the classifier judged on the most rows brings along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.lifecycle import JobState
from cbi_queue.views.leaderboard import may_differ
from cbi_queue.views.stored_values import number_of, whole_of
from cbi_queue.views.volatility_board import boards_with

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger import JobRow

PERSISTENCE = "persistence"
BASELINES = {PERSISTENCE: "the regime stays", "frequencies": "as often as before"}
"""Name in the metrics -> what it is."""


@dataclass(frozen=True, slots=True)
class RegimeRow:
    """One classifier or baseline of one board. Scores are of the backtest block; None where there is no such score."""

    place: int | None
    """1 is best; None without a skill."""
    job_id: int | None
    """None for a baseline."""
    name: str
    model: str
    is_bar: bool
    """True for a baseline."""
    skill: float | None = None
    """1 - log loss / that of persistence on the same rows; ranks."""
    skill_low: float | None = None
    skill_high: float | None = None
    """The 95 % interval around it."""
    log_loss: float | None = None
    """Mean -log of the probability of the regime that came."""
    brier: float | None = None
    """Mean squared distance to certainty, 0 to 2."""
    accuracy: float | None = None
    """Share of days whose likeliest regime came, 0 to 1."""
    share: float | None = None
    """Of the classifier in its probabilities, the rest is persistence; 0: it says what persistence says."""
    rows: int | None = None
    """Trading days that were scored."""
    fit_s: float | None = None
    """Working seconds of the fits."""
    horizon: str = ""
    dataset: str = DEFAULT
    snapshot: str | None = None
    damage: str | None = None
    """What the last check of its run folder found wrong; it is then not ranked."""
    may_differ: tuple[str, ...] = ()
    """Why an undisturbed run could have given other numbers; empty: it could not."""


def regime_boards_of(jobs: Iterable[JobRow]) -> dict[str, list[JobRow]]:
    """Group the succeeded classifiers into boards, as `boards_of` does; a title ends in `regimes`."""
    return boards_with(jobs, "regimes", {JobState.SUCCEEDED})


def rank_regimes(jobs: Iterable[JobRow]) -> dict[str, list[RegimeRow]]:
    """Rank the succeeded classifiers of each board and the baselines, best first.

    Args:
        jobs: any jobs; those without scores of regimes are omitted, and of several jobs of one name only the newest counts.

    Returns:
        Title of the board -> rows. A title is that of the price board, then `regimes`.
    """
    return {title: _ranked(listed) for title, listed in regime_boards_of(jobs).items()}


def _ranked(jobs: list[JobRow]) -> list[RegimeRow]:
    intact = [job for job in jobs if job.damage is None]
    rows = [_model_row(job) for job in intact] + _baseline_rows(intact)
    rows.sort(key=lambda row: (row.skill is None, -(row.skill or 0.0), not row.is_bar, row.name))
    placed = [replace(row, place=n) if row.skill is not None else row for n, row in enumerate(rows, start=1)]
    placed += [
        RegimeRow(None, job.id, job.name, job.model, is_bar=False, damage=job.damage)
        for job in jobs
        if job.damage is not None
    ]
    return [replace(row, horizon=jobs[0].horizon, dataset=jobs[0].dataset, snapshot=jobs[0].snapshot) for row in placed]


def _model_row(job: JobRow) -> RegimeRow:
    metrics = job.metrics or {}
    row = _scored(RegimeRow(None, job.id, job.name, job.model, is_bar=False), _backtest(job, "model"))
    share, fit_s = number_of(metrics.get("regime_share")), number_of(metrics.get("fit_s"))
    return replace(row, share=share, fit_s=fit_s, may_differ=may_differ(job))


def _baseline_rows(jobs: list[JobRow]) -> list[RegimeRow]:
    longest = max(jobs, key=lambda job: whole_of(_backtest(job, "model").get("rows")) or 0, default=None)
    if longest is None:
        return []
    bar = number_of(_backtest(longest, PERSISTENCE).get("log_loss"))
    rows = [
        _scored(RegimeRow(None, None, name, words, is_bar=True), _backtest(longest, name))
        for name, words in BASELINES.items()
    ]
    return [replace(row, skill=1.0 - row.log_loss / bar if bar and row.log_loss is not None else None) for row in rows]


def _backtest(job: JobRow, name: str) -> dict[str, Any]:
    block = (job.metrics or {})["regimes"].get("backtest")
    found = block.get(name) if isinstance(block, dict) else None
    return found if isinstance(found, dict) else {}


def _scored(row: RegimeRow, score: dict[str, Any]) -> RegimeRow:
    return replace(
        row,
        rows=whole_of(score.get("rows")),
        skill=number_of(score.get("skill")),
        skill_low=number_of(score.get("skill_low")),
        skill_high=number_of(score.get("skill_high")),
        log_loss=number_of(score.get("log_loss")),
        brier=number_of(score.get("brier")),
        accuracy=number_of(score.get("accuracy")),
    )
