"""Boosted trees as ONNX forecast what the library does: DART's weights, 64-bit thresholds, missing values of any kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pytest
import xgboost as xgb

from jobs.exporting import __main__ as exporting
from jobs.exporting import trees
from jobs.exporting.kinds import NotExportable

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
ROWS, FEATURES = 1500, 8


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    """Columns on a grid, so that thresholds lie between equal neighbours; one with gaps, the others whole."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    x[:, 2] = np.round(x[:, 2] * 4) / np.float32(3)
    x[: ROWS // 4, 1] = np.nan
    y = 0.5 * np.nan_to_num(x[:, 1]) + np.sin(2 * x[:, 0]) + 0.2 * x[:, 2] + 0.1 * rng.normal(size=ROWS)
    return x, y


def asked(x: np.ndarray) -> list[np.ndarray]:
    """The rows themselves, and with gaps in columns that had none in training."""
    gaps = np.random.default_rng(0).random(x.shape) < 0.3
    return [x, np.where(gaps, np.float32(np.nan), x)]


def worst(path: Path, predict: Any, x: np.ndarray, sd: float) -> float:
    session = ort.InferenceSession(str(path))
    return max(
        float(np.abs(session.run(None, {"features": rows})[0].reshape(-1) - predict(rows)).max()) / sd
        for rows in asked(x)
    )


@pytest.mark.parametrize("boosting", ["gbdt", "dart"])
@pytest.mark.parametrize("rounds", [1, 40, 120])
def test_lightgbm(data: tuple[np.ndarray, np.ndarray], tmp_path: Path, boosting: str, rounds: int) -> None:
    x, y = data
    params = {"boosting": boosting, "drop_rate": 0.4, "verbosity": -1, "num_threads": 1, "seed": 1, "num_leaves": 15}
    model = lgb.train(params, lgb.Dataset(x, y), rounds)
    trees.convert_lightgbm(model.model_to_string(), FEATURES, tmp_path / "model.onnx")
    assert worst(tmp_path / "model.onnx", lambda rows: model.predict(rows, num_threads=1), x, y.std()) < 5e-6


def test_the_rewritten_lightgbm_model_is_the_same_to_the_library(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    model = lgb.train({"verbosity": -1, "num_threads": 1}, lgb.Dataset(x, y), 30)
    again = lgb.Booster(model_str=trees.as_onnx_compares(model.model_to_string()))
    for rows in asked(x):
        assert (again.predict(rows, num_threads=1) == model.predict(rows, num_threads=1)).all()


def test_zero_as_missing_is_refused(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    model = lgb.train({"verbosity": -1, "num_threads": 1, "zero_as_missing": True}, lgb.Dataset(x, y), 2)
    with pytest.raises(NotExportable, match="counts zero as missing"):
        trees.as_onnx_compares(model.model_to_string())


def boosted(data: tuple[np.ndarray, np.ndarray], booster: str) -> xgb.Booster:
    x, y = data
    dropping = {"rate_drop": 0.5, "skip_drop": 0.0} if booster == "dart" else {}
    params = {"booster": booster, "max_depth": 4, "nthread": 1, "seed": 1, **dropping}
    return xgb.train(params, xgb.DMatrix(x, y, feature_names=[f"price_ret_{at}" for at in range(FEATURES)]), 30)


@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_xgboost(data: tuple[np.ndarray, np.ndarray], tmp_path: Path, booster: str) -> None:
    model, (x, y) = boosted(data, booster), data
    trees.convert_xgboost(bytes(model.save_raw("json")), tmp_path / "model.onnx")

    def predict(rows: np.ndarray) -> np.ndarray:
        return model.predict(xgb.DMatrix(rows, feature_names=model.feature_names))

    assert worst(tmp_path / "model.onnx", predict, x, y.std()) < 5e-6


def test_dart_without_its_weights_would_be_wrong(data: tuple[np.ndarray, np.ndarray]) -> None:
    """What a converter does that takes the trees of DART as they are: the reason for the rewrite."""
    model, (x, _) = boosted(data, "dart"), data
    told = json.loads(bytes(model.save_raw("json")))
    right = xgb.Booster(model_file=bytearray(json.dumps(trees.without_dart(json.loads(json.dumps(told)))).encode()))
    plain = told["learner"]["gradient_booster"]["gbtree"]["model"]
    told["learner"]["gradient_booster"] = {"name": "gbtree", "model": plain}
    wrong = xgb.Booster(model_file=bytearray(json.dumps(told).encode()))
    rows = xgb.DMatrix(x, feature_names=model.feature_names)
    assert np.abs(right.predict(rows) - model.predict(rows)).max() < 1e-5
    assert np.abs(wrong.predict(rows) - model.predict(rows)).max() > 0.1


def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own words, `Module onnx is not installed!`, named no remedy, and looked like a fault of the model."""
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name.startswith("onnxr") else name)
    said = exporting._export({}, tmp_path)
    assert "lacks onnxruntime, which an export needs: pip install 'cbi-queue[train,export]'" in str(said["refused"])
