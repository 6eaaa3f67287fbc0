"""`jobs.families.regime_classifier`: no look-ahead, and data from which no regime can be learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from support.fakes import make_task

from cbi_queue.artifacts import sha256_of
from cbi_queue.models.kinds import REGIMES
from jobs.data.feature_store import cache_files
from jobs.data.series import load_frame
from jobs.evaluation.regimes import later, regimes_of
from jobs.families.regime_classifier import RegimeLightGBM
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobs.trainer import Task

SMALL = {"validation_rows": 250, "backtest_rows": 250, "embargo_rows": 5, "n_estimators": 40, "seed": 0}
Change = "Callable[[pl.DataFrame], pl.DataFrame]"


@pytest.fixture
def cache(tmp_path: Path, feature_dir: Path) -> Callable[[Any], Path]:
    """Makes a feature cache of the real one, changed."""

    def made(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
        folder = tmp_path / "cache"
        folder.mkdir(exist_ok=True)
        whole, other = cache_files(feature_dir, "1w"), cache_files(folder, "1w")
        change(pl.read_parquet(whole.parquet)).write_parquet(other.parquet)
        other.write_manifest({**(whole.read_manifest() or {}), "output_sha256": sha256_of(other.parquet)})
        return folder

    return made


def task_of(run_dir: Path, features: Path, **params: Any) -> Task:
    spec = {
        "family": "regime_classifier", "model": "regime_lightgbm", "horizon": "1w", "params": SMALL | params,
    }  # fmt: skip
    return make_task(run_dir, spec, features, features)


def run(task: Task) -> Any:
    family = RegimeLightGBM()
    family.prepare(task)
    return family.train(task)


def forecast(task: Task) -> pl.DataFrame:
    return pl.read_parquet(task.run_dir / "predictions.parquet")


def test_what_comes_after_the_gap_changes_no_probability_before_the_backtest(
    tmp_path: Path, feature_dir: Path, cache: Callable[[Any], Path]
) -> None:
    """Prices and features of the backtest in another world: training, validation and their forecasts stay as they were."""
    task = task_of(tmp_path / "one", feature_dir)
    run(task)
    table = forecast(task)
    start = table.filter(pl.col("block") == "backtest")["date"][0]

    def other_world(features: pl.DataFrame) -> pl.DataFrame:
        late = pl.col("date") >= start
        return features.with_columns(
            pl.when(late).then(pl.col("price") * 3).otherwise(pl.col("price")).alias("price"),
            *(
                pl.when(late).then(-pl.col(name)).otherwise(pl.col(name)).alias(name)
                for name in features.columns[2:]
                if features[name].dtype.is_float()
            ),
        )

    changed = task_of(tmp_path / "two", cache(other_world))
    run(changed)

    columns = ["date", "block", "regime", *(f"p_{name}" for name in REGIMES)]
    before = pl.col("date") < start
    assert forecast(changed).filter(before).select(columns).equals(table.filter(before).select(columns))
    assert not forecast(changed).filter(~before).select(columns).equals(table.filter(~before).select(columns))


def test_probabilities_are_some_and_one_in_all(tmp_path: Path, feature_dir: Path) -> None:
    task = task_of(tmp_path / "run", feature_dir)
    metrics = run(task).metrics

    told = forecast(task).select(f"p_{name}" for name in REGIMES).to_numpy()
    assert told.sum(axis=1) == pytest.approx(np.ones(len(told)))
    assert (told > 0).all()
    scores = metrics["regimes"]["backtest"]
    assert scores["model"]["rows"] == scores["persistence"]["rows"] == 250
    assert scores["model"]["log_loss"] < scores["frequencies"]["log_loss"]
    assert set(metrics["regime_forecast"]) >= {"date", "target_date", "regime", "p_crisis"}


def test_a_column_that_knows_the_regime_to_come_is_vetoed(
    tmp_path: Path, feature_dir: Path, cache: Callable[[Any], Path]
) -> None:
    frame, params = load_frame(feature_dir, "1w"), task_of(tmp_path / "x", feature_dir).spec.typed_params
    known = later(regimes_of(frame, params)[0], 5).astype(np.float32)

    finished = run(
        task_of(
            tmp_path / "run",
            cache(lambda table: table.with_columns(oracle=pl.Series(known))),
            n_estimators=200,
            shrink=False,
        )
    )

    assert "beyond belief" in (finished.veto or "")


@pytest.mark.parametrize("quarantine_psi", [None, 0.25])
def test_features_that_are_mostly_missing_are_no_obstacle(
    tmp_path: Path, cache: Callable[[Any], Path], quarantine_psi: float | None
) -> None:
    """Nine in ten values missing: trees take them as they are."""
    dice = np.random.default_rng(0)

    def holes(table: pl.DataFrame) -> pl.DataFrame:
        return table.with_columns(
            pl.when(pl.Series(dice.random(len(table)) < 0.1)).then(pl.col(name)).otherwise(None).alias(name)
            for name in table.columns[2:]
        )

    metrics = run(task_of(tmp_path / "run", cache(holes), quarantine_psi=quarantine_psi)).metrics

    assert metrics["regimes"]["backtest"]["model"]["rows"] == 250


def test_a_price_that_stands_still_is_refused_with_the_column_and_the_remedy(
    tmp_path: Path, cache: Callable[[Any], Path]
) -> None:
    still = cache(lambda table: table.with_columns(price=pl.lit(50.0)))

    with pytest.raises(BrokenSpec, match=r"column 'price' does not move there.*look at the export's price"):
        run(task_of(tmp_path / "run", still))


def test_a_training_block_with_one_regime_has_nothing_to_tell_apart(
    tmp_path: Path, cache: Callable[[Any], Path]
) -> None:
    """Up and down by the same every day, which is as wild as it ever gets, after one calm month."""

    def restless(table: pl.DataFrame) -> pl.DataFrame:
        daily = 0.01 * (-1.0) ** np.arange(len(table))
        daily[30:60] = 0.0
        return table.with_columns(price=pl.Series(np.exp(np.cumsum(daily))))

    quick = cache(restless)
    with pytest.raises(BrokenSpec, match=r"have only crisis: there is nothing to tell apart; use a longer series"):
        run(task_of(tmp_path / "run", quick))
