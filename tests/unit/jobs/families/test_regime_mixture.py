"""`jobs.families.regime_mixture` and the runs that it reads: what is mixed, what is compared, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from support.fakes import make_task

from cbi_queue.artifacts import Manifest, complete_folder
from cbi_queue.models.kinds import REGIMES
from cbi_queue.models.mixtures import FALLS_BACK, NO_BETTER
from cbi_queue.models.parameters.common import EvaluationParams
from jobs.data.series import load_frame
from jobs.evaluation.splits import split_by
from jobs.families.regime_mixture import RegimeMixture
from jobs.results.regime_folder import PROBABILITIES
from jobs.results.run_folder import block_names
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.data.series import ForecastFrame
    from jobs.trainer import Task

BLOCKS = {"validation_rows": 120, "backtest_rows": 120, "embargo_rows": 5}
HELD = (0.1, 0.2, 0.3, 0.4)
"""Probability of each regime, the same on every row."""


class Parts:
    """Finished runs written by hand, on the real rows."""

    def __init__(self, root: Path, features: Path) -> None:
        self._root, self._features = root, features
        self.frame: ForecastFrame = load_frame(features, "1w")
        self.folders: dict[str, str] = {}

    def add(self, name: str, model: str, columns: dict[str, Any], **metrics: Any) -> None:
        """Write one run as `fill_folder` would."""
        folder = self._root / name
        folder.mkdir()
        evaluation = metrics.pop("evaluation", BLOCKS)
        source = metrics.pop("source", self.frame.source_sha256)
        split = split_by(self.frame, EvaluationParams.model_validate(evaluation))
        blocks = block_names(self.frame, split).tolist()
        table = pl.DataFrame({"date": self.frame.dates, "block": blocks, **columns})
        table.write_parquet(folder / "predictions.parquet")
        told = {"model": model, "horizon": "1w", "params": {"regime": metrics.pop("regime", None)}, **metrics}
        (folder / "metrics.json").write_text(json.dumps(told))
        (folder / "training_hash.txt").write_text(f"code commit x\ndata sha256 {source}\nspec sha256 y\n")
        complete_folder(folder, Manifest("", 1, 1, "", {}, None, 1.0))
        self.folders[name] = str(folder)

    def add_all(self, forecasts: list[np.ndarray], **metrics: Any) -> None:
        """Write the classifier's run and the net of each regime."""
        self.add("cls", "regime_lightgbm", dict(zip(PROBABILITIES, map(self.even, HELD), strict=True)))
        for regime, f in zip(REGIMES, forecasts, strict=True):
            self.add(f"net-{regime}", "regime_gru", {"predicted_return": f}, regime=regime, **metrics)

    def even(self, value: float) -> np.ndarray:
        """Return *value* on every row."""
        return np.full(self.frame.rows, value)

    def task(self, run_dir: Path, **params: Any) -> Task:
        """Return the mixture's task, with these runs as those that it needs."""
        spec = {"family": "regime_specific", "model": "regime_mixture", "horizon": "1w", "params": BLOCKS | params}
        task = make_task(run_dir, spec, self._features, self._features)
        return replace(task, assignment=replace(task.assignment, needed_runs=self.folders))

    def mix(self, run_dir: Path, **params: Any) -> dict[str, Any]:
        """Run the mixture; return its metrics."""
        task, family = self.task(run_dir, **params), RegimeMixture()
        family.prepare(task)
        return family.train(task).metrics


@pytest.fixture
def parts(tmp_path: Path, feature_dir: Path) -> Parts:
    return Parts(tmp_path, feature_dir)


def test_each_forecast_counts_with_the_probability_of_its_regime(parts: Parts, tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    forecasts = [dice.normal(0, 0.01, parts.frame.rows) for _ in REGIMES]
    parts.add_all(forecasts)

    parts.mix(tmp_path / "run", shrink=False)

    told = pl.read_parquet(tmp_path / "run" / "predictions.parquet")["predicted_return"].to_numpy()
    assert told == pytest.approx(sum(p * f for p, f in zip(HELD, forecasts, strict=True)))


def test_a_row_that_one_part_did_not_forecast_is_not_forecast(parts: Parts, tmp_path: Path) -> None:
    forecasts = [parts.even(0.01) for _ in REGIMES]
    forecasts[2][:300] = np.nan
    parts.add_all([np.where(np.isnan(f), np.nan, f) for f in forecasts])

    parts.mix(tmp_path / "run", shrink=False)

    table = pl.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert table["date"].to_numpy().astype("datetime64[D]")[0] == parts.frame.dates[300]


def test_it_says_when_regimes_do_not_help_and_which_part_fell_back(parts: Parts, tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    noise = [dice.normal(0, 0.05, parts.frame.rows) for _ in REGIMES]
    parts.add_all(noise, falls_back=True, regime_rows=37)
    parts.add("plain", "gru", {"predicted_return": parts.even(0.0)})

    metrics = parts.mix(tmp_path / "run", shrink=False)

    by_name = {verdict["name"]: verdict["evidence"] for verdict in metrics["verdicts"]}
    assert "against plain on the same 120 rows" in by_name[NO_BETTER]
    assert "worse beyond luck" in by_name[NO_BETTER]
    assert "net-crisis (37 training rows of its regime)" in by_name[FALLS_BACK]
    assert metrics["without_regimes"]["name"] == "plain"
    assert metrics["without_regimes"]["skill"] < 0


def test_a_mixture_that_is_better_beyond_luck_is_not_said_to_be_useless(parts: Parts, tmp_path: Path) -> None:
    """Half of what really came, as a forecast: only to see that the verdict can stay away."""
    parts.add_all([0.2 * np.nan_to_num(parts.frame.y) for _ in REGIMES])
    parts.add("plain", "gru", {"predicted_return": parts.even(0.0)})

    metrics = parts.mix(tmp_path / "run")

    assert metrics["without_regimes"]["low"] > 0
    assert NO_BETTER not in {verdict["name"] for verdict in metrics["verdicts"]}


def test_two_nets_that_say_the_same_are_called_the_same(parts: Parts, tmp_path: Path) -> None:
    parts.add_all([parts.even(0.0) for _ in REGIMES])
    parts.add("plain", "gru", {"predicted_return": parts.even(0.0)})

    metrics = parts.mix(tmp_path / "run")

    (words,) = [verdict["evidence"] for verdict in metrics["verdicts"] if verdict["name"] == NO_BETTER]
    assert words == "its forecasts are those of plain on all 120 rows"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "regime_lstm"}, "nets of two kinds, regime_gru and regime_lstm"),
        ({"regime": "bull"}, "no net of crisis, a net of bull 2 times"),
        ({"horizon": "1m"}, "net-crisis forecasts 1m and this job 1w"),
        ({"source": "another"}, "net-crisis learned from other data"),
        ({"evaluation": BLOCKS | {"backtest_rows": 100}}, "net-crisis was judged on other rows than this job"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused_by_name(
    parts: Parts, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    parts.add_all([parts.even(0.0) for _ in REGIMES])
    del parts.folders["net-crisis"]
    made = {"model": "regime_gru", "regime": "crisis", **change}
    parts._root = tmp_path / "other"
    parts._root.mkdir()
    parts.add("net-crisis", made.pop("model"), {"predicted_return": parts.even(0.0)}, **made)

    with pytest.raises(BrokenSpec, match=words):
        parts.mix(tmp_path / "run")


def test_a_damaged_part_is_refused_with_the_remedy(parts: Parts, tmp_path: Path) -> None:
    parts.add_all([parts.even(0.0) for _ in REGIMES])
    (tmp_path / "net-bull" / "predictions.parquet").write_bytes(b"PAR1")

    with pytest.raises(
        BrokenSpec, match=r"run of net-bull is damaged: predictions.parquet .*`cbi-queue retry net-bull`"
    ):
        parts.mix(tmp_path / "run")


def test_a_part_whose_folder_is_gone_is_refused(parts: Parts, tmp_path: Path) -> None:
    parts.add_all([parts.even(0.0) for _ in REGIMES])
    parts.folders["net-bull"] = str(tmp_path / "nowhere")

    with pytest.raises(BrokenSpec, match=r"run of net-bull is damaged: the run folder .* is missing"):
        parts.mix(tmp_path / "run")


def test_without_its_parts_it_says_what_it_needs(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(BrokenSpec, match=r"no regime_lightgbm, no net of crisis.*mend the plan"):
        parts.mix(tmp_path / "run")
