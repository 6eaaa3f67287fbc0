"""Naive and drift as ONNX: the same number for every row, so that a server of models can serve the baseline too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

from jobs.exporting.kinds import ONNX_FILE
from jobs.families.baselines import forecast

if TYPE_CHECKING:
    from pathlib import Path

    from jobs.exporting.finished_run import FinishedRun

OPSET, IR_VERSION = 17, 10


class Constant:
    """A baseline whose forecast does not depend on the row."""

    window_rows = 1

    def __init__(self, run: FinishedRun, _code: str) -> None:
        """Read its parameters."""
        self._model, self._inputs = run.description, len(run.frame.feature_names)
        self._value = float(forecast(self._model, run.frame.price[-1:], run.frame.horizon_days)[0])

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Return the number, once a row."""
        return np.full(len(inputs), self._value)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and model.json."""
        value = numpy_helper.from_array(np.array([self._value], dtype=np.float64))
        one, two = (
            numpy_helper.from_array(np.array([n], dtype=np.int64), name) for n, name in ((0, "zero"), (1, "one"))
        )
        nodes = [
            helper.make_node("Shape", ["features"], ["shape"]),
            helper.make_node("Slice", ["shape", "zero", "one"], ["rows"]),
            helper.make_node("ConstantOfShape", ["rows"], ["move"], value=value),
        ]
        graph = helper.make_graph(
            nodes,
            "constant",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", self._inputs])],
            [helper.make_tensor_value_info("move", TensorProto.DOUBLE, ["n"])],
            [one, two],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        checker.check_model(model)
        save(model, folder / ONNX_FILE)
        (folder / "model.json").write_text(json.dumps(self._model, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return {"exporter": "by hand: one constant", "opset": OPSET}
