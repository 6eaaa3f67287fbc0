"""LSTM and GRU over a window of feature rows, one layer or two (PyTorch).

Two layers are two single ones with our own dropout between them: the dropout inside a library's stacked layer draws
masks that depend on how a batch is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from jobs.torch_backend.run import TorchRun  # before torch, whose memory ceilings it sets

# isort: split
import torch
from torch import nn

from jobs.nets.data import load_neural_data
from jobs.nets.recurrent import KINDS
from jobs.nets.regime_weights import weighted
from jobs.nets.run import NetTrainer
from jobs.results.regime_folder import record_regime_net
from jobs.torch_backend.dropout import RowDropout

if TYPE_CHECKING:
    from cbi_queue.models.parameters.neural import RecurrentParams
    from jobs.nets.data import NeuralData
    from jobs.trainer import Task

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentNet(nn.Module):
    """(n, L, F) windows -> (n,) forecasts: recurrent layers, the top one's last hidden state, dropout, one linear."""

    def __init__(self, inputs: int, cell: str, layers: int, hidden_size: int, dropout: float) -> None:
        """Stack *layers* of *cell* (lstm | gru), each of *hidden_size* units."""
        super().__init__()
        widths = [inputs] + [hidden_size] * (layers - 1)
        self.layers = nn.ModuleList(CELLS[cell](width, hidden_size, batch_first=True) for width in widths)
        self.dropouts = nn.ModuleList(RowDropout(dropout) for _ in widths)
        self.head = nn.Linear(hidden_size, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Forecast each window."""
        steps = windows  # (n, L, F)
        for layer, dropout in zip(self.layers[:-1], self.dropouts[:-1], strict=True):
            steps = dropout(layer(steps)[0])  # (n, L, hidden)
        _, last = self.layers[-1](steps)
        hidden = last[0] if isinstance(last, tuple) else last  # an LSTM also returns its cells; (1, n, hidden)
        return self.head(self.dropouts[-1](hidden[0])).squeeze(-1)  # (n,)


class Recurrent(NetTrainer):
    """Trains the recurrent net of one job."""

    make_run = TorchRun

    def run_of(self, task: Task) -> TorchRun:
        """Load the data, build the net, restore a checkpoint if there is one."""
        params = cast("RecurrentParams", task.spec.typed_params)
        cell, layers = KINDS[task.spec.model]
        shape = {"cell": cell, "layers": layers, "hidden_size": params.hidden_size, "dropout": params.dropout}
        return self.make_run(task, RecurrentNet, shape)


class RegimeRun(TorchRun):
    """One run of the net of one regime."""

    record = staticmethod(record_regime_net)

    def _data_of(self, task: Task) -> NeuralData:
        return weighted(task, load_neural_data(task))


class RegimeRecurrent(Recurrent):
    """Trains the net of one regime: the same net, on rows that are weighted by their regime."""

    make_run = RegimeRun
    record = staticmethod(record_regime_net)
