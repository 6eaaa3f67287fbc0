"""Boosted trees as ONNX, and the native model as text (LightGBM) or JSON (XGBoost).

The library that converts (onnxmltools) is right about the trees it understands, so the model is first rewritten into one
that forecasts the same and that it understands:

- XGBoost's DART: it ignores the weights of the trees, without a word. Each leaf times its tree's weight, the wrapper taken
  off, is plain gradient boosting.
- LightGBM compares a 32-bit feature with a 64-bit threshold, ONNX with a 32-bit one. A threshold rounded down to 32 bits
  sends every 32-bit number the same way.
- LightGBM sends a missing value to the side of 0 where no value was missing in training; ONNX has one side for a missing
  value. The side of 0 is written into the node.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.boosting.library import importing
from jobs.exporting.kinds import ONNX_FILE, NotExportable

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.exporting.finished_run import FinishedRun

OPSET, CONVERTERS_OPSET = 17, 15
"""What is written, and the newest that the converter writes."""
TREES_A_NODE = 50
"""LightGBM adds up its trees in 64 bits, a node of ONNX in 32: the sums of small nodes are added up in 64 bits."""
_CATEGORICAL, _DEFAULT_LEFT, _MISSING_IS_NAN = 1, 2, 8
"""Bits of LightGBM's `decision_type`; bits 2 and 3 say what counts as missing: 0 nothing, 1 zero, 2 NaN."""


class LightGBM:
    """A LightGBM model, whatever its boosting."""

    window_rows = 1

    def __init__(self, run: FinishedRun, _code: str) -> None:
        """Read model.txt."""
        self._text = (run.folder / "model.txt").read_text(encoding="utf-8")
        with importing("LightGBM"):
            import lightgbm as lgb
        self._booster = lgb.Booster(model_str=self._text)

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Return the (n,) forecasts of (n, F) rows."""
        return np.asarray(self._booster.predict(inputs, num_threads=1), dtype=np.float64).reshape(-1)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and model.txt."""
        convert_lightgbm(self._text, self._booster.num_feature(), folder / ONNX_FILE)
        (folder / "model.txt").write_text(self._text, encoding="utf-8")
        return _facts()


class XGBoost:
    """An XGBoost model, gbtree or dart."""

    window_rows = 1

    def __init__(self, run: FinishedRun, _code: str) -> None:
        """Read model.ubj."""
        with importing("XGBoost"):
            import xgboost as xgb
        self._booster = xgb.Booster({"nthread": 1}, model_file=bytearray((run.folder / "model.ubj").read_bytes()))

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Return the (n,) forecasts of (n, F) rows."""
        import xgboost as xgb

        matrix = xgb.DMatrix(inputs, feature_names=self._booster.feature_names, nthread=1)
        return self._booster.predict(matrix).astype(np.float64).reshape(-1)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and model.json."""
        text = bytes(self._booster.save_raw("json"))
        convert_xgboost(text, folder / ONNX_FILE)
        (folder / "model.json").write_bytes(text)
        return _facts()


def convert_lightgbm(text: str, features: int, path: Path) -> None:
    """Write the LightGBM model *text* of so many *features* to *path* as ONNX."""
    import lightgbm as lgb
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    booster = lgb.Booster(model_str=as_onnx_compares(text))
    inputs = [("features", FloatTensorType([None, features]))]
    split = TREES_A_NODE if booster.num_trees() > TREES_A_NODE else None
    model = onnxmltools.convert_lightgbm(booster, initial_types=inputs, target_opset=CONVERTERS_OPSET, split=split)
    _save(model, path)


def as_onnx_compares(text: str) -> str:
    """Rewrite a LightGBM model so that 32-bit thresholds and one side for missing values forecast the same.

    Raises:
        NotExportable: when it splits by categories or counts zeros as missing, which no model of ours does.
    """
    lines = []
    thresholds = np.empty(0)
    for line in text.splitlines():
        key, found, values = line.partition("=")
        if found and key == "threshold":
            thresholds = _rounded_down(np.array(values.split(), dtype=np.float64))
            lines.append(f"threshold={' '.join(repr(float(value)) for value in thresholds)}")
        elif found and key == "decision_type":  # comes after the thresholds of its tree
            kinds = [_one_side(int(kind), float(at)) for kind, at in zip(values.split(), thresholds, strict=True)]
            lines.append(f"decision_type={' '.join(map(str, kinds))}")
        elif not (found and key == "tree_sizes"):  # sizes of the text as it was; without them it is read in order
            lines.append(line)
    return "\n".join(lines) + "\n"


def _rounded_down(values: np.ndarray) -> np.ndarray:
    near = values.astype(np.float32)
    down = np.where(near.astype(np.float64) > values, np.nextafter(near, np.float32(-np.inf)), near)
    return down.astype(np.float64)


def _one_side(kind: int, threshold: float) -> int:
    missing = (kind >> 2) & 3
    if kind & _CATEGORICAL or missing == 1:
        raise NotExportable(
            "this LightGBM model has categorical splits or counts zero as missing, which is not exported"
        )
    if missing == 0:  # a missing value is taken as 0
        return _MISSING_IS_NAN | (_DEFAULT_LEFT if threshold >= 0 else 0)
    return kind


def convert_xgboost(text: bytes, path: Path) -> None:
    """Write the XGBoost model *text* (JSON) to *path* as ONNX."""
    import onnxmltools
    import xgboost as xgb
    from onnxmltools.convert.common.data_types import FloatTensorType

    told = json.loads(text)
    features = int(told["learner"]["learner_model_param"]["num_feature"])
    told["learner"]["feature_names"] = [f"f{at}" for at in range(features)]  # the only names that the converter takes
    plain = xgb.Booster(model_file=bytearray(json.dumps(without_dart(told)).encode()))
    inputs = [("features", FloatTensorType([None, features]))]
    _save(onnxmltools.convert_xgboost(plain, initial_types=inputs, target_opset=CONVERTERS_OPSET), path)


def without_dart(told: dict[str, Any]) -> dict[str, Any]:
    """Return an XGBoost model, as its JSON has it, with plain gradient boosting in the place of DART: the same forecasts."""
    learner = told["learner"]
    booster = learner["gradient_booster"]
    if booster["name"] != "dart":
        return told
    plain = booster["gbtree"]
    for tree, weight in zip(plain["model"]["trees"], booster["weight_drop"], strict=True):
        tree["split_conditions"] = [
            float(np.float32(value) * np.float32(weight)) if left == -1 else value
            for value, left in zip(tree["split_conditions"], tree["left_children"], strict=True)
        ]
        tree["base_weights"] = [
            value if left != -1 else float(np.float32(value) * np.float32(weight))
            for value, left in zip(tree["base_weights"], tree["left_children"], strict=True)
        ]
    return {**told, "learner": {**learner, "gradient_booster": {"name": "gbtree", "model": plain["model"]}}}


def _save(model: Any, path: Path) -> None:
    from onnx import checker, helper, save, version_converter

    if any(opset.domain == "" for opset in model.opset_import):
        model = version_converter.convert_version(model, OPSET)
    else:  # nothing but trees, which have a set of their own
        model.opset_import.append(helper.make_opsetid("", OPSET))
    checker.check_model(model)
    save(model, path)


def _facts() -> dict[str, Any]:
    import onnxmltools

    return {"exporter": f"onnxmltools {onnxmltools.__version__}", "opset": OPSET}
