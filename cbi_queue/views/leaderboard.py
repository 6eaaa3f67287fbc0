"""The trained models of each board, ranked; how far each skill can be believed stands beside it. Pure: rows in, rows out.

The validation block ranks, because it may select; the backtest judges, because no model was selected on it. Models are
compared by skill = 1 - error / naive's error on the same rows: 0 equals naive. MASE is MAE divided by a constant, so skill by MASE is skill by MAE.

Which runs stand on one board is told by `boards`. The baselines (naive, seasonal naive, drift) are always listed. One that was not
trained has no scores, except naive, whose scores come with every model. A run that was vetoed, or found damaged, is
listed last, without place and scores.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from cbi_queue.artifacts import MAY_DIFFER
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.lifecycle import JobState
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import BARS
from cbi_queue.views.boards import HOLDOUT, boards_of, comparable, scheme_of
from cbi_queue.views.ensembles import LEAST_INDEPENDENT, LEVEL, AgainstBest, against_best_of
from cbi_queue.views.stored_values import number_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cbi_queue.ledger import JobRow
    from cbi_queue.views.comparison import Comparison
    from cbi_queue.views.regime_board import RegimeRow
    from cbi_queue.views.volatility_board import VolatilityRow

NAIVE = "naive"
LOG_RETURN, DIFFERENCE = "log_return", "difference"
BETTER, WORSE, NO, TOO_FEW = "better", "worse", "no", "too few"
MARK = "*"
"""Stands behind the name of a model whose numbers may differ from those of an undisturbed run."""
MARK_WORDS = "an undisturbed run may give other numbers; `cbi-queue show NAME` says why"


@dataclass(frozen=True, slots=True)
class VerdictLine:
    """What a guardrail found in a result."""

    name: str
    level: str
    """warn | veto."""
    evidence: str
    """A sentence with the figures."""


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One model or baseline of a board of forecasts. Scores are of the backtest unless they say otherwise; None: no such
    score.
    """

    place: int | None
    """1 is best; None without a skill on the validation block."""
    job_id: int | None
    """None for a baseline that no job trained."""
    name: str
    family: str
    model: str
    is_bar: bool
    """True for a baseline."""
    validation_skill: float | None = None
    """Skill on the validation block; ranks."""
    skill_low: float | None = None
    skill_high: float | None = None
    """The 95 % interval around the skill that judges."""
    independent: float | None = None
    """Rows that share no day with each other: rows / h."""
    periods_per_year: float | None = None
    """Rows of a year, by the spacing of the data: 252 for trading days; None: not recorded."""
    p_value: float | None = None
    """Two-sided, of a skill of zero, by `jobs.evaluation.significance`."""
    dm_p_value: float | None = None
    """The same by the Diebold-Mariano test."""
    told_apart: str | None = None
    """From naive, of volatility from EWMA, of regimes from persistence: better | worse | no | too few (independent rows to say); None: not tested."""
    rows: int | None = None
    """Trading days that were scored."""
    fit_s: float | None = None
    """Working seconds of the fits."""
    horizon: str = ""
    dataset: str = DEFAULT
    snapshot: str | None = None
    """Which snapshot of the data set every row of its board was scored on; None when it was not recorded."""
    scheme: str = HOLDOUT
    """holdout | walk_forward: how every row of its board was judged."""
    verdicts: tuple[VerdictLine, ...] = ()
    veto: str | None = None
    """Why a guardrail vetoed it; it is then not ranked."""
    damage: str | None = None
    """What the last check of its run folder found wrong; it is then not ranked."""
    may_differ: tuple[str, ...] = ()
    """Why an undisturbed run could have given other numbers; empty: it could not."""


Row = TypeVar("Row", bound=ScoredRow)


@dataclass(frozen=True, slots=True)
class LeaderboardRow(ScoredRow):
    """A forecaster of the price. Both of its skills that rank and judge are by MASE."""

    skill_mase: float | None = None
    """1 - MASE / naive's MASE on the same rows; judges."""
    skill_rmse: float | None = None
    """1 - RMSE / naive's RMSE on the same rows."""
    mase: float | None = None
    rmse: float | None = None
    """In units of the price."""
    mape_pct: float | None = None
    directional_accuracy: float | None = None
    """Share of moves whose direction was forecast correctly, 0 to 1."""
    sharpe: float | None = None
    """Annualised, after the costs of its data set."""
    set_p_value: float | None = None
    """Of the model confidence set; 0.10 or more: cannot be told apart from the best of its board."""
    deflated_sharpe: float | None = None
    """Probability that the Sharpe ratio is above what the best of so many worthless models would show, 0 to 1."""
    coverage_80: float | None = None
    """Share of prices inside the 80 % intervals, 0 to 1."""
    coverage_95: float | None = None
    shrinkage: float | None = None
    """Factor by which forecasts were shrunk towards naive's: 1 not at all, 0 to naive's."""
    best_round: int | None = None
    """Of a boosted model: rounds that the validation block selected."""
    label: str = LOG_RETURN
    """log_return | difference: what every row of its board forecasts of the price."""
    against_best: AgainstBest | None = None
    """Of an ensemble: how it compares with its best member."""

    @property
    def skill(self) -> float | None:
        """The skill that judges."""
        return self.skill_mase


def rank(
    jobs: Iterable[JobRow], comparisons: Mapping[str, Comparison] | None = None
) -> dict[str, list[LeaderboardRow]]:
    """Rank the scored jobs and the baselines of each board, best first.

    Args:
        jobs: as in `boards.boards_of`.
        comparisons: title of a board -> what was computed about it.

    Returns:
        Title of the board -> rows, in the order of `boards_of`.
    """
    known = comparisons or {}
    return {title: _ranked(listed, known.get(title)) for title, listed in boards_of(jobs).items()}


def label_of(job: JobRow) -> str:
    """Return what a job forecasts of the price; runs of an earlier version forecast its log return."""
    return DIFFERENCE if (job.metrics or {}).get("label") == DIFFERENCE else LOG_RETURN


def may_differ(job: JobRow) -> tuple[str, ...]:
    """Return why an undisturbed run of *job* could have given other numbers; none while it has no result."""
    reasons = (job.metrics or {}).get(MAY_DIFFER)
    return tuple(map(str, reasons)) if isinstance(reasons, list) else ()


def verdicts_of(metrics: Mapping[str, Any]) -> tuple[VerdictLine, ...]:
    """Return what the guardrails found, as a run's metrics hold it."""
    found = metrics.get("verdicts")
    return tuple(
        VerdictLine(str(entry.get("name")), str(entry.get("level")), str(entry.get("evidence")))
        for entry in (found if isinstance(found, list) else ())
        if isinstance(entry, dict)
    )


def told_apart(row: LeaderboardRow | VolatilityRow | RegimeRow, models: int) -> str | None:
    """Return whether a row's skill can be told apart from zero: better, worse, no, too few; None when not tested.

    Both p-values must be at most `LEVEL` / *models*: of many worthless models one always looks good.
    """
    if row.skill is None or row.independent is None or row.model == NAIVE:
        return None
    if row.independent < LEAST_INDEPENDENT:
        return TOO_FEW
    if row.p_value is None or row.dm_p_value is None or max(row.p_value, row.dm_p_value) > LEVEL / max(models, 1):
        return NO
    return BETTER if row.skill > 0 else WORSE


def _ranked(jobs: list[JobRow], comparison: Comparison | None) -> list[LeaderboardRow]:
    counted = comparable(jobs)
    rows = [_row(job, comparison) for job in counted] + _untrained_baselines(counted or jobs, jobs)
    placed = in_places(rows, jobs, _bare_row)
    models = sum(not row.is_bar for row in placed)
    return [replace(row, label=label_of(jobs[0]), told_apart=told_apart(row, models)) for row in placed]


def in_places(rows: Iterable[Row], jobs: Sequence[JobRow], bare: Callable[[JobRow], Row]) -> list[Row]:
    """Return the rows of a board in their order with their places, then the runs that are not ranked.

    What ranks is what may select; of equals the baselines come first, because a model must do better than they.

    Args:
        rows: of the runs that count, and the baselines.
        jobs: all runs of the board, of which there is one at least.
        bare: makes the row of a run without its scores.
    """

    def order(row: Row) -> tuple[Any, ...]:
        return row.validation_skill is None, -(row.validation_skill or 0.0), not row.is_bar, row.name

    listed = sorted(rows, key=order)
    ranked_ids = {job.id for job in comparable(jobs)}
    for job in jobs:
        if job.id not in ranked_ids:
            veto = (job.veto or "a guardrail rejected the result") if job.state is JobState.VETOED else None
            found = verdicts_of(job.metrics or {})
            listed.append(replace(bare(job), damage=job.damage, veto=veto, verdicts=found))
    first = jobs[0]
    of_all: dict[str, Any] = {"horizon": first.horizon, "dataset": first.dataset, "snapshot": first.snapshot}
    of_all["scheme"] = scheme_of(first)
    return [
        replace(row, place=n if row.validation_skill is not None else None, **of_all)
        for n, row in enumerate(listed, start=1)
    ]


def _bare_row(job: JobRow) -> LeaderboardRow:
    return LeaderboardRow(None, job.id, job.name, job.family, job.model, is_bar=job.model in BARS)


def _row(job: JobRow, comparison: Comparison | None) -> LeaderboardRow:
    metrics = job.metrics or {}
    return _with_scores(
        _bare_row(job),
        metrics["backtest"],
        metrics.get("validation"),
        fit_s=number_of(metrics.get("fit_s")),
        best_round=whole_of(metrics.get("best_round")),
        shrinkage=number_of(metrics.get("shrinkage")),
        coverage_80=coverage(metrics, "80"),
        coverage_95=coverage(metrics, "95"),
        set_p_value=comparison.in_set.get(job.name) if comparison else None,
        deflated_sharpe=comparison.deflated.get(job.name) if comparison else None,
        verdicts=verdicts_of(metrics),
        against_best=against_best_of(metrics),
        may_differ=may_differ(job),
    )


def _with_scores(row: LeaderboardRow, score: Mapping[str, Any], validation: Any, **others: Any) -> LeaderboardRow:
    return replace(
        row,
        **others,
        validation_skill=number_of(validation.get("skill_mae")) if isinstance(validation, dict) else None,
        skill_mase=number_of(score.get("skill_mae")),
        independent=number_of(score.get("skill_independent")),
        periods_per_year=number_of(score.get("periods_per_year")),
        p_value=number_of(score.get("skill_p_value")),
        dm_p_value=number_of(score.get("skill_dm_p_value")),
        rows=whole_of(score.get("rows")),
        skill_low=number_of(score.get("skill_low")),
        skill_high=number_of(score.get("skill_high")),
        skill_rmse=number_of(score.get("skill_rmse")),
        mase=number_of(score.get("mase")),
        rmse=number_of(score.get("rmse")),
        mape_pct=number_of(score.get("mape_pct")),
        directional_accuracy=number_of(score.get("directional_accuracy")),
        sharpe=number_of(score.get("sharpe")),
    )


def coverage(metrics: Mapping[str, Any], percent: str) -> float | None:
    """Return how often the price of the backtest was inside the intervals of *percent*, 0 to 1."""
    found = metrics.get("coverage")
    of_blocks = found.get(percent) if isinstance(found, dict) else None
    return number_of(of_blocks.get("backtest")) if isinstance(of_blocks, dict) else None


def _untrained_baselines(counted: list[JobRow], jobs: list[JobRow]) -> list[LeaderboardRow]:
    trained = {job.model for job in jobs}
    bare = [
        LeaderboardRow(None, None, model, MODELS[model].family, model, is_bar=True)
        for model in BARS
        if model not in trained
    ]
    return [_with_scores(row, *_naive_scores(counted)) if row.model == NAIVE else row for row in bare]


def _naive_scores(jobs: list[JobRow]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take naive's scores from the model that was scored on the most rows; by definition its skill is 0."""
    found = ((job.metrics or {}).get("naive") for job in jobs)
    scores = [
        naive["backtest"] for naive in found if isinstance(naive, dict) and isinstance(naive.get("backtest"), dict)
    ]
    if not scores:
        return {}, {}
    longest: dict[str, Any] = max(scores, key=lambda score: whole_of(score.get("rows")) or 0)
    return {**longest, "skill_mae": 0.0, "skill_rmse": 0.0}, {"skill_mae": 0.0}
