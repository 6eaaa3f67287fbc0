"""The result of one job in words and tables: scores with their intervals, verdicts, coverage, files. Read-only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import open_manifest
from cbi_queue.models.kinds import REGIMES, Family
from cbi_queue.views.board_words import NO_PERCENT, periods
from cbi_queue.views.ensembles import ensemble_lines
from cbi_queue.views.job_words import signed
from cbi_queue.views.leaderboard import DIFFERENCE, SCHEME_WORDS, label_of, scheme_of, verdicts_of
from cbi_queue.views.project_board import figures_of
from cbi_queue.views.regime_board import PERSISTENCE
from cbi_queue.views.stored_values import number_of
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cbi_queue.ledger import JobRow

BLOCKS = ("validation", "backtest")
SCORE_COLUMNS = (
    "block", ">skill", "?>95 % interval", "?>p", "??>DM p", ">MAPE", "?>MASE", "??>RMSE", "??>direction",
    "??>Sharpe", ">n",
)  # fmt: skip
MOST_FIGURES = 20
"""Of a script, that are shown; `cbi-queue results` has all."""


def score_rows(job: JobRow) -> list[tuple[str, ...]]:
    """Return a row for each scored block, and naive's on the same rows; the final block stays closed."""
    metrics = job.metrics or {}
    naive = metrics.get("naive")
    rows = []
    for block in BLOCKS:
        for name, scores in ((block, metrics), ("  naive", naive)):
            if isinstance(scores, dict) and isinstance(found := scores.get(block), dict):
                rows.append(_score(name, found))
    return rows


def _score(name: str, score: dict[str, Any]) -> tuple[str, ...]:
    low, high = number_of(score.get("skill_low")), number_of(score.get("skill_high"))
    interval = UNKNOWN if low is None or high is None else f"{signed(low)} to {signed(high)}"
    return (
        name, signed(number_of(score.get("skill_mae"))), interval, _figure(score, "skill_p_value", ".3f"),
        _figure(score, "skill_dm_p_value", ".3f"), _figure(score, "mape_pct", ".2f", " %"),
        _figure(score, "mase", ".3f"), _figure(score, "rmse", ".3f"), _figure(score, "directional_accuracy", ".2f"),
        _figure(score, "sharpe", "+.2f"), _figure(score, "skill_independent", ".0f"),
    )  # fmt: skip


def _figure(score: dict[str, Any], key: str, form: str, unit: str = "") -> str:
    value = number_of(score.get(key))
    return UNKNOWN if value is None else format(value, form) + unit


def result_lines(job: JobRow) -> Iterator[str]:
    """Yield what the scores mean, how often the intervals held, and each verdict with its evidence."""
    metrics = job.metrics or {}
    yield from _own_score_lines(metrics)
    yield from _regime_lines(metrics)
    if isinstance(package := metrics.get("folder"), str) and job.family == Family.EXPORT:
        yield f"Package: {metrics.get('model_id')}, the model of {metrics.get('job')} (job {metrics.get('job_id')}), in {package}"
    if job.family == Family.SCRIPT and (figures := figures_of(job)):
        shown = [f"{name} {value:.6g}" for name, value in list(figures.items())[:MOST_FIGURES]]
        more = f", and {len(figures) - MOST_FIGURES} more" if len(figures) > MOST_FIGURES else ""
        yield f"Figures: {', '.join(shown)}{more}"
    if isinstance(metrics.get("traded"), str):  # a backtest
        yield from map(str, metrics.get("words", ()))
    if not isinstance(metrics.get("backtest"), dict):
        yield from _verdict_lines(metrics)
        return
    of = periods(0, job.horizon, number_of(metrics["backtest"].get("periods_per_year")))
    yield (
        f"Scheme {SCHEME_WORDS.get(scheme_of(job), scheme_of(job))}; n: independent {of}"
        + (
            f"; forecasts shrunk to {shrinkage:.0%} of their size".replace("%", " %")
            if (shrinkage := number_of(metrics.get("shrinkage"))) is not None and shrinkage < 1
            else ""
        )
    )
    if label_of(job) == DIFFERENCE:
        yield NO_PERCENT
        yield (
            "Sharpe ratio: of the gain of a constant number of units; costs on a value of "
            f"{_figure(metrics, 'notional', '.6g')} each, the mean absolute price of the training block"
        )
    yield from _search_lines(metrics)
    yield from ensemble_lines(metrics)
    if covered := _coverage(metrics):
        yield f"Intervals: {covered}"
    yield from _verdict_lines(metrics)


def _search_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Yield what a search tried, what it chose, and how much better that looked than the plan's own."""
    found, chosen = metrics.get("search"), metrics.get("chosen")
    if not isinstance(found, dict) or not isinstance(chosen, dict):
        return
    values = ", ".join(
        f"{name}={value:.4g}" for name in sorted(chosen) if (value := number_of(chosen[name])) is not None
    )
    yield (
        f"Search: {metrics.get('trials')} parameter sets tried, {found.get('pruned')} of them pruned; chosen {values}; error on "
        f"{found.get('folds')} folds of the training block {_figure(found, 'rmse', '.4g')}, the plan's own "
        f"{_figure(found, 'plan_rmse', '.4g')}"
    )


def _verdict_lines(metrics: dict[str, Any]) -> Iterator[str]:
    for verdict in verdicts_of(metrics):
        yield f"Verdict, {verdict.level}: {verdict.name}: {verdict.evidence}"


def _own_score_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Yield the backtest of a model that forecasts no price: its loss, that of its baseline, and the skill."""
    for key, what, loss, words, baseline, name in (
        ("volatility", "Variance", "qlike", "QLIKE", "ewma", "EWMA"),
        ("regimes", "Regimes", "log_loss", "log loss", PERSISTENCE, PERSISTENCE),
    ):
        blocks = metrics.get(key)
        block = blocks.get("backtest") if isinstance(blocks, dict) else None
        model, bar = (block.get(of) if isinstance(block, dict) else None for of in ("model", baseline))
        if not isinstance(model, dict) or not isinstance(bar, dict):
            continue
        losses = f"{words} {_figure(model, loss, '.3f')} on the backtest, {name} {_figure(bar, loss, '.3f')}"
        low, high = number_of(model.get("skill_low")), number_of(model.get("skill_high"))
        interval = "" if low is None or high is None else f" ({signed(low)} to {signed(high)})"
        yield f"{what}: {losses}; skill against {name} {signed(number_of(model.get('skill')))}{interval}"


def _regime_lines(metrics: dict[str, Any]) -> Iterator[str]:
    """Yield what a run says of regimes: probabilities for the newest day, or the rows that a net learned from."""
    if isinstance(newest := metrics.get("regime_forecast"), dict):
        told = ((name, number_of(newest.get(f"p_{name}"))) for name in REGIMES)
        shares = ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in told if share is not None)
        yield f"Regime on {newest.get('date')}: {newest.get('regime') or UNKNOWN}; on {newest.get('target_date')}: {shares}"
    if isinstance(metrics.get("regime"), str):
        found, total = metrics.get("regime_rows"), metrics.get("of_rows")
        kind = "all rows weigh the same" if metrics.get("falls_back") else "the others weigh less"
        yield f"Regime {metrics['regime']}: {found} of {total} training rows; {kind}"


def _coverage(metrics: dict[str, Any]) -> str:
    found = metrics.get("coverage")
    parts = []
    for percent, of_blocks in sorted(found.items()) if isinstance(found, dict) else ():
        share = number_of(of_blocks.get("backtest")) if isinstance(of_blocks, dict) else None
        if share is not None:
            parts.append(f"{share:.0%}".replace("%", " %") + f" of the backtest inside those of {percent} %")
    return ", ".join(parts)


def run_files(job: JobRow) -> dict[str, int]:
    """Return the files of the run folder as its manifest names them -> size in bytes; none without a manifest."""
    manifest, _ = open_manifest(Path(job.run_dir)) if job.run_dir else (None, "")
    return {} if manifest is None else {name: entry["bytes"] for name, entry in sorted(manifest.files.items())}


def size_words(size: int) -> str:
    """Write the size of a file: `312 B`, `4.1 kB`, `2.3 MB`."""
    return f"{size} B" if size < 1000 else f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
