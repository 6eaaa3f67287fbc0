"""A torch net as ONNX, and its weights as safetensors.

Two exporters: the older one traces, takes seconds and is exact for recurrent and convolutional nets; the newer one
(`dynamo`) is for attention, where tracing fixes shapes, and takes minutes for an LSTM. Which one wrote a net does not
matter to the package: the parity check decides about the result.
"""

from __future__ import annotations

import contextlib
import inspect
import shutil
import warnings
from typing import TYPE_CHECKING, Any

from jobs.torch_backend.run import WEIGHTS  # before torch, whose memory ceilings it sets

# isort: split
import numpy as np
import torch
from safetensors.torch import load_file

from cbi_queue.models.entry import imported
from jobs.exporting.kinds import ONNX_FILE
from jobs.nets.run import ARCHITECTURE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn

    from jobs.exporting.finished_run import FinishedRun

LEGACY_OPSET, DYNAMO_OPSET = 17, 18
BY_DYNAMO = frozenset({"attention"})
"""Models whose net the newer exporter writes."""
_KNOWN_WARNINGS = (
    "You are using the legacy TorchScript-based ONNX export",
    "The feature will be removed",
    "Converting a tensor to a Python boolean might cause the trace to be incorrect",
    "Exporting a model to ONNX with a batch_size other than 1",
    "Constant folding - Only steps=1 can be constant folded",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    "_check_is_size will be removed",
)
"""Beginnings of what both exporters say about themselves on every run; any other warning is shown."""


class TorchNet:
    """A net, on the CPU, in single precision."""

    def __init__(self, run: FinishedRun, code: str) -> None:
        """Build the net again and load its weights."""
        self._told, self._folder = run.description, run.folder
        net_class = imported(code)
        shape = {name: self._told[name] for name in inspect.signature(net_class).parameters if name in self._told}
        if "gradient_checkpointing" in shape:
            shape["gradient_checkpointing"] = False  # computes the same, and cannot be traced
        self._net: nn.Module = net_class(**shape)
        weights = load_file(run.folder / self._told["weights"])
        self._net.load_state_dict({name: value.float() for name, value in weights.items()})
        self._net.eval()
        self._kind = run.model
        self.window_rows = int(self._told["window_rows"])

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Return the (n,) standardised forecasts of (n, L, I) windows."""
        with torch.no_grad():
            forecast: torch.Tensor = self._net(torch.from_numpy(inputs))
        return np.asarray(forecast.numpy(), dtype=np.float64).reshape(-1)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx, the weights as safetensors, and how the net is built."""
        shape = (2, self.window_rows, int(self._told["inputs"]))  # one window alone would become the shape
        is_dynamo = self._kind in BY_DYNAMO
        opset = write_onnx(self._net, shape, folder / ONNX_FILE, by_dynamo=is_dynamo)
        for name in (WEIGHTS, ARCHITECTURE):
            shutil.copyfile(self._folder / name, folder / name)
        return {"exporter": f"torch {torch.__version__}, {'dynamo' if is_dynamo else 'tracing'}", "opset": opset}


def write_onnx(net: nn.Module, shape: tuple[int, ...], path: Path, *, by_dynamo: bool = False) -> int:
    """Write *net* as ONNX for windows of *shape* (2, L, I), by torch's newer exporter or by tracing; return the opset."""
    opset = LEGACY_OPSET
    more: dict[str, Any] = {"dynamic_axes": {"windows": {0: "n"}, "move": {0: "n"}}}
    if by_dynamo:  # one file, as an upload of model.onnx alone would be broken
        opset, more = (
            DYNAMO_OPSET,
            {"dynamic_shapes": ({0: torch.export.Dim("n")},), "external_data": False, "verbose": False},
        )
    with _quiet():
        torch.onnx.export(
            net, (torch.zeros(shape),), str(path), input_names=["windows"], output_names=["move"],
            opset_version=opset, dynamo=by_dynamo, **more,
        )  # fmt: skip
    return opset


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        for words in _KNOWN_WARNINGS:
            warnings.filterwarnings("ignore", message=words)
        yield
