"""The files of the runs that know regimes: the classifier's, and that of the net of one regime.

Neither has a place among the forecasts of the price. The classifier's scores stand under `regimes` in the metrics. A net
of one regime is right only as far as its regime comes, so it has no scores: the mixture of all four is judged.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from cbi_queue.artifacts import atomic_file
from cbi_queue.models.kinds import REGIMES
from cbi_queue.models.mixtures import FALLS_BACK
from jobs.evaluation.guardrails import Verdict
from jobs.evaluation.regimes import (
    frequencies,
    later,
    mixed,
    persistence,
    regimes_of,
    score_regimes,
    share_of,
    short_words,
)
from jobs.results.run_folder import (
    PREDICTIONS,
    block_names,
    feature_schema,
    fill_folder,
    record_run,
    target_dates,
    write_predictions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cbi_queue.models.parameters.regimes import RegimeClassifierParams, RegimeNetParams
    from cbi_queue.protocol import Finished
    from jobs.data.series import ForecastFrame
    from jobs.evaluation.splits import Split
    from jobs.trainer import Task

MOST_SKILL = 0.60
"""Skill over persistence above which a classifier is beyond belief: the last h of 126 days are open."""
PROBABILITIES = tuple(f"p_{regime}" for regime in REGIMES)
"""Columns of the classifier's predictions."""


def _fill_regimes(
    task: Task,
    frame: ForecastFrame,
    split: Split,
    predicted: np.ndarray,
    *,
    model_files: Mapping[str, bytes | Callable[[Path], object]],
    preproc: dict[str, Any],
    details: dict[str, Any],
) -> Finished:
    """Score (rows, regimes) probabilities against persistence and class frequencies, and fill the folder."""
    params, h = cast("RegimeClassifierParams", task.spec.typed_params), frame.horizon_days
    regime, rule = regimes_of(frame, params)
    persisting, came = persistence(regime, h), later(regime, h)
    share = share_of(predicted, persisting, came, split.validation, h) if params.shrink else 1.0
    told = mixed(predicted, persisting, share)
    forecasts = {"model": told, "persistence": persisting, "frequencies": frequencies(regime)}
    scores = {name: score_regimes(forecasts, came, rows, h) for name, rows in split.blocks().items() if name != "train"}
    final = scores.pop("final", None)
    _write_probabilities(task.run_dir / PREDICTIONS, frame, split, told, regime)
    kept = np.flatnonzero(np.isfinite(told).all(axis=1))
    return fill_folder(
        task,
        frame,
        split,
        {
            "regimes": scores,
            "regime_share": share,
            "regime_rows": _counts(regime, split),
            "regime_forecast": _latest(frame, told, regime, int(kept[-1])) if len(kept) else None,
            **details,
        },
        found=_verdicts(split, told, scores["backtest"]["model"], share),
        final={"final": final} if final else None,
        model_files=model_files,
        schema={**feature_schema(frame), "target": {"name": f"regime_{h}d", "classes": list(REGIMES)}},
        preproc={**preproc, "rule": asdict(rule), "share": share},
    )


def _fill_regime_net(
    task: Task,
    frame: ForecastFrame,
    split: Split,
    predicted: np.ndarray,
    *,
    model_files: Mapping[str, bytes | Callable[[Path], object]],
    preproc: dict[str, Any],
    details: dict[str, Any],
) -> Finished:
    """Fill the folder of the net of one regime: its forecasts of every row, for the mixture."""
    params = cast("RegimeNetParams", task.spec.typed_params)
    _, rule = regimes_of(frame, params)
    write_predictions(task.run_dir / PREDICTIONS, frame, split, predicted, {})
    found = []
    if details["falls_back"]:
        words = short_words(params.regime, details["regime_rows"], details["of_rows"], params.least_rows)
        found.append(Verdict(FALLS_BACK, "warn", words))
    missing = int((~np.isfinite(predicted[split.backtest])).sum())
    if missing:
        words = f"{missing} of {len(split.backtest)} backtest rows have no finite forecast"
        found.append(Verdict("missing forecasts", "veto", words))
    return fill_folder(
        task,
        frame,
        split,
        details,
        found=found,
        final=None,
        model_files=model_files,
        schema=feature_schema(frame),
        preproc={**preproc, "forecast_factor": 1.0, "rule": asdict(rule)},
    )


record_regimes = partial(record_run, fill=_fill_regimes)
"""Like `record_run`, for (rows, regimes) probabilities."""
record_regime_net = partial(record_run, fill=_fill_regime_net)
"""Like `record_run`, for the net of one regime."""


def _verdicts(split: Split, told: np.ndarray, backtest: Mapping[str, Any], share: float) -> list[Verdict]:
    found, rows = [], split.backtest
    missing = int((~np.isfinite(told[rows]).all(axis=1)).sum())
    if missing:
        words = f"{missing} of {len(rows)} backtest rows have no probabilities"
        found.append(Verdict("missing forecasts", "veto", words))
    skill, low, high = backtest["skill"], backtest["skill_low"], backtest["skill_high"]
    if isinstance(skill, float) and skill > MOST_SKILL:
        words = f"skill {skill:+.2f} over persistence on the backtest is beyond belief (above {MOST_SKILL:g}): look for a column that knows the future"
        found.append(Verdict("too good to be true", "veto", words))
    if share == 0:
        words = "no share of it had skill on the validation block, so its probabilities are those of persistence"
        found.append(Verdict("equals persistence", "warn", words))
    elif isinstance(high, float) and high < 0:
        words = f"its skill lies between {low:+.3f} and {high:+.3f}: persistence is better"
        found.append(Verdict("worse than persistence", "warn", words))
    return found


def _counts(regime: np.ndarray, split: Split) -> dict[str, dict[str, int]]:
    """Return how many rows of each block are in each regime."""
    return {
        block: {name: int((regime[rows] == place).sum()) for place, name in enumerate(REGIMES)}
        for block, rows in split.blocks().items()
        if block != "final"
    }


def _latest(frame: ForecastFrame, told: np.ndarray, regime: np.ndarray, row: int) -> dict[str, Any]:
    return {
        "date": str(frame.dates[row]),
        "target_date": str(target_dates(frame)[row]),
        "regime": REGIMES[regime[row]] if regime[row] >= 0 else None,
        **{name: float(value) for name, value in zip(PROBABILITIES, told[row], strict=True)},
    }


def _write_probabilities(path: Path, frame: ForecastFrame, split: Split, told: np.ndarray, regime: np.ndarray) -> None:
    """Write one row a forecast: date, target_date, block, the present regime, probabilities, the regime that came.

    Null: not known.
    """
    import polars as pl

    names = np.array([*REGIMES, None], dtype=object)  # -1 is the last
    kept = np.flatnonzero(np.isfinite(told).all(axis=1))
    table = pl.DataFrame(
        {
            "date": frame.dates[kept],
            "target_date": target_dates(frame)[kept],
            "block": block_names(frame, split)[kept].tolist(),
            "regime": pl.Series(names[regime[kept]].tolist(), dtype=pl.String),
            **{name: told[kept, column] for column, name in enumerate(PROBABILITIES)},
            "actual_regime": pl.Series(names[later(regime, frame.horizon_days)[kept]].tolist(), dtype=pl.String),
        }
    )
    with atomic_file(path) as part:
        table.write_parquet(part)
