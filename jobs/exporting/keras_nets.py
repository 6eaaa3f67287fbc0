"""A net trained by TensorFlow: asked on its own Python, and as ONNX through the same net in torch.

Keras writes ONNX only with a further library that holds back TensorFlow's version. Its layers are those of torch with the
gates in another order, so the weights are put into the torch net, which is exported as any other. Whether that was
right is not taken on trust: the parity check compares the ONNX model with Keras itself.

Gates: LSTM input, forget, cell, output in both; GRU update, reset, new in Keras (`reset_after`), reset, update, new in torch.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.exporting.kinds import ONNX_FILE, NotExportable
from jobs.keras_answers import as_npy, from_npy, read_frame, write_frame
from jobs.nets.recurrent import KINDS
from jobs.nets.run import ARCHITECTURE

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from jobs.exporting.finished_run import FinishedRun

MODEL = "model.keras"
LIMIT_S = 240.0
"""Seconds that importing TensorFlow or one batch of forecasts may take; usually 5, or a tenth."""
LONGEST_COMPLAINT = 300
GRU_GATES = (1, 0, 2)
"""Place of torch's reset, update, new among Keras' gates."""


class KerasNet:
    """A net as Keras runs it, in a process of its own that ends with this object."""

    def __init__(self, run: FinishedRun, _code: str) -> None:
        """Start the process and read the weights.

        Raises:
            NotExportable: when there is no Python with TensorFlow, or it does not read the net.
        """
        self._run, told = run, run.description
        self.window_rows, self._inputs = int(told["window_rows"]), int(told["inputs"])
        command = [run.interpreter, "-P", "-m", "jobs.keras_answers", str(run.folder / MODEL)]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        try:
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, env=env
            )
        except OSError as exc:
            raise NotExportable(self._words(f"{run.interpreter} cannot be started: {exc.strerror}")) from exc
        told_weights = np.load(io.BytesIO(self._answer()), allow_pickle=False)
        layers = 1 + max(int(name.partition(".")[0]) for name in told_weights.files)
        self._weights = [
            [told_weights[f"{at}.{n}"] for n in range(sum(name.startswith(f"{at}.") for name in told_weights.files))]
            for at in range(layers)
        ]

    def __del__(self) -> None:
        """End the process and close what it said."""
        child, said = getattr(self, "_child", None), getattr(self, "_said", None)
        if child is not None:
            child.kill()
            child.communicate()
        if said is not None:
            said.close()

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Return the (n,) standardised forecasts of (n, L, I) windows."""
        if self._child.stdin is None:
            raise NotExportable(self._words("it takes no input"))
        try:
            write_frame(self._child.stdin, as_npy(np.ascontiguousarray(inputs, dtype=np.float32)))
        except OSError as exc:
            raise NotExportable(self._ending()) from exc
        return from_npy(self._answer()).astype(np.float64)

    def write(self, folder: Path) -> dict[str, Any]:
        """Write model.onnx, the net as Keras wrote it, and how it is built."""
        from jobs.exporting.nets import write_onnx

        opset = write_onnx(self._as_torch(), (2, self.window_rows, self._inputs), folder / ONNX_FILE)
        for name in (MODEL, ARCHITECTURE):
            shutil.copyfile(self._run.folder / name, folder / name)
        return {"exporter": "torch, tracing, with the weights of Keras", "opset": opset}

    def _as_torch(self) -> nn.Module:
        """Return the same net in torch."""
        from jobs.families.feed_forward import FeedForwardNet
        from jobs.families.recurrent import RecurrentNet  # before torch, whose memory ceilings it sets

        # isort: split
        import torch

        kind = self._run.model
        *below, (head, head_bias) = self._weights
        state: dict[str, np.ndarray] = {}
        if kind == "feed_forward":
            hidden = [bias.shape[0] for _, bias in below]
            net: nn.Module = FeedForwardNet(self._inputs, self.window_rows, hidden, 0.0)
            for at, (kernel, bias) in enumerate([*below, (head, head_bias)]):
                place = 1 + 3 * at  # after flattening; linear, ReLU, dropout
                state |= {f"layers.{place}.weight": kernel.T, f"layers.{place}.bias": bias}
        else:
            cell, layers = KINDS[kind]
            net = RecurrentNet(self._inputs, cell, layers, below[0][1].shape[0], 0.0)
            for at, (kernel, recurrent, bias) in enumerate(below):
                both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])  # an LSTM has one of them
                arrays = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": both[0], "bias_hh": both[1]}
                state |= {f"layers.{at}.{name}_l0": _torch_gates(value, cell) for name, value in arrays.items()}
            state |= {"head.weight": head.T, "head.bias": head_bias}
        net.load_state_dict({name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()})
        return net.eval()

    def _answer(self) -> bytes:
        """Return the next array of the process, which is ended when none comes."""
        timer = threading.Timer(LIMIT_S, self._child.kill)
        timer.start()
        try:
            content = read_frame(self._child.stdout) if self._child.stdout else None
        finally:
            timer.cancel()
        if content is None:
            raise NotExportable(self._ending())
        return content

    def _ending(self) -> str:
        self._child.wait(timeout=LIMIT_S)
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return self._words(lines[-1][:LONGEST_COMPLAINT] if lines else f"it ended with {self._child.returncode}")

    def _words(self, why: str) -> str:
        return (
            f"the {self._run.model} trained by TensorFlow cannot be asked on {self._run.interpreter}: {why}; "
            "`cbi-queue runtime check` tries that Python, `cbi-queue runtime install tensorflow` makes it"
        )


def _torch_gates(value: np.ndarray, cell: str) -> np.ndarray:
    """Return weights or biases of one layer, gates along the first axis, in torch's order."""
    if cell != "gru":
        return value
    gates = np.split(value, 3)
    return np.concatenate([gates[place] for place in GRU_GATES])
