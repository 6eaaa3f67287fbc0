"""The volatility models of each board, ranked by how much better than EWMA they forecast variance. Pure: rows in, rows out.

They forecast no price, so they have boards of their own: skill = 1 - QLIKE / EWMA's QLIKE on the same rows of the
backtest, on which nothing was selected. EWMA and the rolling window are always listed, with the scores that the model
judged on the most rows brings along.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.views.leaderboard import board_title, may_differ, scheme_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cbi_queue.ledger import JobRow

BASELINES = {"ewma": "EWMA, 0.94", "rolling": "the last 63 days"}
"""Name in the metrics -> what it is."""
_Key = tuple[str, str, str | None, str]


@dataclass(frozen=True, slots=True)
class VolatilityRow:
    """One model or baseline of one board. Scores are of the backtest block; None where there is no such score."""

    place: int | None
    """1 is best; None without a skill."""
    job_id: int | None
    """None for a baseline."""
    name: str
    model: str
    is_bar: bool
    """True for a baseline."""
    skill: float | None
    """1 - QLIKE / EWMA's QLIKE on the same rows; ranks."""
    skill_low: float | None
    skill_high: float | None
    """The 95 % interval around it."""
    qlike: float | None
    volatility_pct: float | None
    """The volatility that was forecast, annualised, percent."""
    realised_pct: float | None
    """The volatility that came, in the same unit."""
    rows: int | None
    """Trading days that were scored."""
    fit_s: float | None
    """Working seconds of the fits."""
    horizon: str = ""
    dataset: str = DEFAULT
    snapshot: str | None = None
    damage: str | None = None
    """What the last check of its run folder found wrong; it is then not ranked."""
    may_differ: tuple[str, ...] = ()
    """Why an undisturbed run could have given other numbers; empty: it could not."""


def rank_volatility(jobs: Iterable[JobRow]) -> dict[str, list[VolatilityRow]]:
    """Rank the succeeded volatility jobs of each board, best first.

    Args:
        jobs: any jobs; those without volatility scores are omitted, and of several jobs of one name only the newest counts.

    Returns:
        Title of the board -> rows. A title is that of the price board, then `volatility`. Newest data first, then the
        default data set, then by name; the shortest horizon first.
    """
    return {title: _ranked(named) for title, named in boards_with(jobs, "volatility").items()}


def boards_with(jobs: Iterable[JobRow], key: str) -> dict[str, dict[str, JobRow]]:
    """Group the succeeded jobs that have scores under *key* in their metrics into boards.

    Returns:
        Title of the board, which ends in *key*, -> name -> its newest job. In the order of `rank_volatility`.
    """
    boards: dict[_Key, dict[str, JobRow]] = {}
    for job in sorted((job for job in jobs if _is_scored(job, key)), key=lambda job: job.id):
        boards.setdefault((job.dataset, job.horizon, job.snapshot, scheme_of(job)), {})[job.name] = job
    newest = {key: max(job.id for job in named.values()) for key, named in boards.items()}
    latest: dict[tuple[str, str], str | None] = {}
    for dataset, horizon, snapshot, _ in sorted(boards, key=newest.__getitem__):
        latest[dataset, horizon] = snapshot

    def place(board: _Key) -> tuple[Any, ...]:
        dataset, horizon, snapshot, _ = board
        is_older = latest[dataset, horizon] != snapshot
        return is_older, dataset != DEFAULT, dataset, HORIZONS.index(horizon), -newest[board]

    return {
        f"{board_title(*board, is_newest=latest[board[0], board[1]] == board[2])} {key}": boards[board]
        for board in sorted(boards, key=place)
    }


def _is_scored(job: JobRow, key: str) -> bool:
    return (
        job.state is JobState.SUCCEEDED and isinstance((job.metrics or {}).get(key), dict) and job.horizon in HORIZONS
    )


def _ranked(named: dict[str, JobRow]) -> list[VolatilityRow]:
    jobs = list(named.values())
    intact = [job for job in jobs if job.damage is None]
    rows = [_model_row(job) for job in intact] + _baseline_rows(intact)
    rows.sort(key=lambda row: (row.skill is None, -(row.skill or 0.0), row.name))
    placed = [replace(row, place=n) if row.skill is not None else row for n, row in enumerate(rows, start=1)]
    placed += [
        replace(_row({}, name=job.name, model=job.model), job_id=job.id, damage=job.damage)
        for job in jobs
        if job.damage is not None
    ]
    return [replace(row, horizon=jobs[0].horizon, dataset=jobs[0].dataset, snapshot=jobs[0].snapshot) for row in placed]


def _model_row(job: JobRow) -> VolatilityRow:
    row = _row(_backtest(job).get("model", {}), name=job.name, model=job.model)
    return replace(row, job_id=job.id, fit_s=(job.metrics or {}).get("fit_s"), may_differ=may_differ(job))


def _baseline_rows(jobs: list[JobRow]) -> list[VolatilityRow]:
    longest = max(jobs, key=lambda job: _backtest(job).get("model", {}).get("rows") or 0, default=None)
    if longest is None:
        return []
    scores = _backtest(longest)
    bar = scores.get("ewma", {}).get("qlike")
    return [
        replace(_row(score, name=name, model=words), is_bar=True, skill=1.0 - score["qlike"] / bar)
        for name, words in BASELINES.items()
        if bar and (score := scores.get(name, {})).get("qlike") is not None
    ]


def _backtest(job: JobRow) -> dict[str, Any]:
    scores: dict[str, Any] = (job.metrics or {})["volatility"].get("backtest", {})
    return scores


def _row(score: dict[str, Any], *, name: str, model: str) -> VolatilityRow:
    return VolatilityRow(
        place=None,
        job_id=None,
        name=name,
        model=model,
        is_bar=False,
        skill=score.get("skill"),
        skill_low=score.get("skill_low"),
        skill_high=score.get("skill_high"),
        qlike=score.get("qlike"),
        volatility_pct=score.get("volatility_pct"),
        realised_pct=score.get("realised_pct"),
        rows=score.get("rows"),
        fit_s=None,
    )
