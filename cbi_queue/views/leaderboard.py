"""The trained models of each board, ranked by how much better than naive they forecast. Pure: rows in, rows out.

The backtest block ranks, because no model was selected on it. Models may be scored on different rows, whose errors
cannot be compared, so they are ranked by skill = 1 - error / naive's error on the same rows: 0 equals naive, above 0
beats it. MASE is MAE divided by a constant, so skill by MASE is skill by MAE. The baselines (naive, seasonal naive,
drift) are always listed. One that was not trained has no scores, except naive, whose scores come with every model.
A run that was found damaged is listed last, without place and scores.

Scores on different data cannot be compared either: every data set, and every snapshot of it, has boards of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import MAY_DIFFER
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.lifecycle import JobState
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import BARS, HORIZONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger import JobRow

NAIVE = "naive"
MARK = "*"
"""Stands behind the name of a model whose numbers may differ from those of an undisturbed run."""
MARK_WORDS = "an undisturbed run may give other numbers; `cbi-queue show NAME` says why"


@dataclass(frozen=True, slots=True)
class LeaderboardRow:
    """One model or baseline of one horizon. Scores are of the backtest block; None where there is no such score."""

    place: int | None
    """1 is best; None without a skill."""
    job_id: int | None
    """None for a baseline that no job trained."""
    name: str
    family: str
    model: str
    is_bar: bool
    """True for a baseline."""
    skill_mase: float | None
    """1 - MASE / naive's MASE on the same rows; ranks."""
    skill_rmse: float | None
    """1 - RMSE / naive's RMSE on the same rows; breaks ties."""
    mase: float | None
    rmse: float | None
    """In units of the price."""
    mape_pct: float | None
    directional_accuracy: float | None
    """Share of moves whose direction was forecast correctly, 0 to 1."""
    sharpe: float | None
    """Annualised, after the costs of its data set."""
    rows: int | None
    """Trading days that were scored."""
    fit_s: float | None
    """Working seconds of the fit."""
    horizon: str = ""
    dataset: str = DEFAULT
    snapshot: str | None = None
    """Which snapshot of the data set every row of its board was scored on; None when it was not recorded."""
    damage: str | None = None
    """What the last check of its run folder found wrong; it is then not ranked."""
    may_differ: tuple[str, ...] = ()
    """Why an undisturbed run could have given other numbers; empty: it could not."""


def rank(jobs: Iterable[JobRow]) -> dict[str, list[LeaderboardRow]]:
    """Rank the succeeded jobs and the baselines of each board, best first.

    Args:
        jobs: any jobs; those that did not succeed or were not scored are omitted, and of several jobs of one name
            only the newest counts.

    Returns:
        Title of the board -> rows. A title is the horizon, as `1w`; then the data set, unless it is the default one;
        then, for any but the newest snapshot of the two, `older data` and its first characters. The newest boards
        come first: the default data set, then by name; the shortest horizon first.
    """
    newest: dict[tuple[str, str, str | None, str], JobRow] = {}
    for job in sorted((job for job in jobs if _is_scored(job)), key=lambda job: job.id):
        newest[job.dataset, job.horizon, job.snapshot, job.name] = job
    boards: dict[tuple[str, str, str | None], list[JobRow]] = {}
    for job in newest.values():
        boards.setdefault((job.dataset, job.horizon, job.snapshot), []).append(job)
    latest: dict[tuple[str, str], str | None] = {}
    for dataset, horizon, snapshot in sorted(boards, key=lambda key: max(job.id for job in boards[key])):
        latest[dataset, horizon] = snapshot

    def place(key: tuple[str, str, str | None]) -> tuple[Any, ...]:
        dataset, horizon, snapshot = key
        is_older = latest[dataset, horizon] != snapshot
        order = HORIZONS.index(horizon) if horizon in HORIZONS else len(HORIZONS)
        return is_older, dataset != DEFAULT, dataset, order, -max(job.id for job in boards[key])

    return {
        board_title(*key, is_newest=latest[key[0], key[1]] == key[2]): _ranked(boards[key])
        for key in sorted(boards, key=place)
    }


def board_title(dataset: str, horizon: str, snapshot: str | None, *, is_newest: bool) -> str:
    """Name the board of one horizon and snapshot of a data set."""
    of_dataset = "" if dataset == DEFAULT else f" {dataset}"
    return f"{horizon}{of_dataset}" if is_newest else f"{horizon}{of_dataset} older data {(snapshot or 'unknown')[:8]}"


def may_differ(job: JobRow) -> tuple[str, ...]:
    """Return why an undisturbed run of *job* could have given other numbers; none while it has no result."""
    reasons = (job.metrics or {}).get(MAY_DIFFER)
    return tuple(map(str, reasons)) if isinstance(reasons, list) else ()


def _is_scored(job: JobRow) -> bool:
    return job.state is JobState.SUCCEEDED and "backtest" in (job.metrics or {})


def _ranked(jobs: list[JobRow]) -> list[LeaderboardRow]:
    intact = [job for job in jobs if job.damage is None]
    rows = [_row(job) for job in intact] + _untrained_baselines(intact)
    rows.sort(key=_order)
    first = jobs[0]
    placed = [replace(row, place=n) if row.skill_mase is not None else row for n, row in enumerate(rows, start=1)]
    placed += [_damaged_row(job) for job in jobs if job.damage is not None]
    return [replace(row, horizon=first.horizon, dataset=first.dataset, snapshot=first.snapshot) for row in placed]


def _damaged_row(job: JobRow) -> LeaderboardRow:
    row = _scored_row({}, job_id=job.id, name=job.name, family=job.family, model=job.model, fit_s=None)
    return replace(row, damage=job.damage)


def _order(row: LeaderboardRow) -> tuple[Any, ...]:
    return (
        row.skill_mase is None, -(row.skill_mase or 0.0), row.skill_rmse is None, -(row.skill_rmse or 0.0), row.name
    )  # fmt: skip


def _row(job: JobRow) -> LeaderboardRow:
    metrics = job.metrics or {}
    return _scored_row(
        metrics["backtest"],
        job_id=job.id,
        name=job.name,
        family=job.family,
        model=job.model,
        fit_s=metrics.get("fit_s"),
        may_differ=may_differ(job),
    )


def _untrained_baselines(jobs: list[JobRow]) -> list[LeaderboardRow]:
    trained = {job.model for job in jobs}
    scores = {NAIVE: _naive_score(jobs)}
    return [
        _scored_row(
            scores.get(model, {}), job_id=None, name=model, family=MODELS[model].family, model=model, fit_s=None
        )
        for model in BARS
        if model not in trained
    ]


def _naive_score(jobs: list[JobRow]) -> dict[str, Any]:
    """Take naive's scores from the model that was scored on the most rows; by definition its skill is 0."""
    scores = [score for job in jobs if (score := (job.metrics or {}).get("naive", {}).get("backtest"))]
    if not scores:
        return {}
    longest: dict[str, Any] = max(scores, key=lambda score: score.get("rows") or 0)
    return {**longest, "skill_mae": 0.0, "skill_rmse": 0.0}


def _scored_row(
    score: dict[str, Any],
    *,
    job_id: int | None,
    name: str,
    family: str,
    model: str,
    fit_s: float | None,
    may_differ: tuple[str, ...] = (),
) -> LeaderboardRow:
    return LeaderboardRow(
        place=None,
        job_id=job_id,
        name=name,
        family=family,
        model=model,
        is_bar=model in BARS,
        skill_mase=score.get("skill_mae"),
        skill_rmse=score.get("skill_rmse"),
        mase=score.get("mase"),
        rmse=score.get("rmse"),
        mape_pct=score.get("mape_pct"),
        directional_accuracy=score.get("directional_accuracy"),
        sharpe=score.get("sharpe"),
        rows=score.get("rows"),
        fit_s=fit_s,
        may_differ=may_differ,
    )
