"""How each model is exported: one row a model. A model without a row is refused in words.

A row names the class that writes it, as "module:Class" (imported only when it is asked for), and what that class needs to
know. Adding a model is adding a row; `tests/conformance/test_exported_models.py` then trains, exports and reloads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cbi_queue.models.entry import imported
from cbi_queue.models.not_exported import NOT_EXPORTED

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from jobs.exporting.finished_run import FinishedRun

MODEL_FOLDER, ONNX_FILE = "model", "model.onnx"


class NotExportable(Exception):
    """The model cannot be exported, or what was exported is wrong; the words say why and what to do."""


class NoExporter(NotExportable):
    """Nothing here writes such a model; another one may be exported instead."""


class NativeModel(Protocol):
    """A trained model, read again with its own library."""

    window_rows: int
    """L: rows that it looks at."""

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Return the (n,) float64 outputs, not yet scaled, for what the ONNX model takes."""
        ...

    def write(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx and the native files into *folder*; return facts for metrics.json (exporter, opset)."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """How one model is exported."""

    native: str
    """Class of the `NativeModel`, as "module:Class"; takes the run and *code*."""
    code: str = ""
    """Of a net: its class, as "module:Class"."""


def _net(code: str) -> Row:
    return Row("jobs.exporting.nets:TorchNet", f"jobs.families.{code}")


_RECURRENT = _net("recurrent:RecurrentNet")
EXPORTED: dict[str, Row] = {
    "lightgbm_dart": Row("jobs.exporting.trees:LightGBM"),
    "xgboost_dart": Row("jobs.exporting.trees:XGBoost"),
    "naive": Row("jobs.exporting.constants:Constant"),
    "drift": Row("jobs.exporting.constants:Constant"),
    "feed_forward": _net("feed_forward:FeedForwardNet"),
    "lstm": _RECURRENT,
    "gru": _RECURRENT,
    "lstm_2_layer": _RECURRENT,
    "gru_2_layer": _RECURRENT,
    "tcn": _net("temporal_convolution:TemporalConvolutionNet"),
    "attention": _net("attention:AttentionNet"),
}
BY_KERAS = Row("jobs.exporting.keras_nets:KerasNet")
"""Nets that TensorFlow trained."""


def row_of(model: str, backend: str) -> Row:
    """Return how *model*, trained on *backend*, is exported.

    Raises:
        NoExporter: when nothing here can.
    """
    if backend == "tensorflow":
        return BY_KERAS
    if model in EXPORTED:
        return EXPORTED[model]
    why = NOT_EXPORTED.get(model, "no exporter knows this model (jobs/exporting/kinds.py has one row for each)")
    raise NoExporter(f"{model} is not exportable: {why}")


def native_model(run: FinishedRun) -> NativeModel:
    """Read the trained model of *run* with its own library.

    Raises:
        NoExporter: when its model has no row.
    """
    row = row_of(run.model, run.backend)
    model: NativeModel = imported(row.native)(run, row.code)
    return model
