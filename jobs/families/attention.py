"""A small attention encoder over a window of feature rows (PyTorch).

Every step of a window is past, so attention goes both ways; the forecast is read from the last step. Each layer may be
computed again in the backward pass instead of kept (gradient checkpointing). Dropout applies to what each part adds and
not to the attention weights: those masks would be drawn inside the library's kernel, which cannot be cut into
micro-batches.

Letters: n windows, L steps, d the model's width, h heads.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from jobs.torch_backend.run import TorchRun  # before torch, whose memory ceilings it sets

# isort: split
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from jobs.nets.run import NetTrainer
from jobs.torch_backend.compiler import load_the_compiler
from jobs.torch_backend.dropout import RowDropout, same_masks_again
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.models.parameters.neural import AttentionParams
    from jobs.trainer import Task

POSITION_SD = 0.02
"""Spread of the positions' first values, where inputs have spread 1."""


class EncoderLayer(nn.Module):
    """(n, L, d) -> (n, Q, d): norm, attention of the last Q steps to all, add; norm, two linears, add."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        """Attend with *heads* heads of d_model / heads numbers each."""
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(d_model), nn.LayerNorm(d_model)])
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.joined = nn.Linear(d_model, d_model)
        self.widened = nn.Sequential(nn.Linear(d_model, 2 * d_model), nn.GELU(), nn.Linear(2 * d_model, d_model))
        self.dropouts = nn.ModuleList([RowDropout(dropout), RowDropout(dropout)])

    def forward(self, steps: torch.Tensor, queries: int) -> torch.Tensor:
        """Transform the last *queries* steps."""
        asking = steps[:, -queries:]  # (n, Q, d)
        asking = asking + self.dropouts[0](self._attended(self.norms[0](steps), queries))
        return asking + self.dropouts[1](self.widened(self.norms[1](asking)))

    def _attended(self, steps: torch.Tensor, queries: int) -> torch.Tensor:
        query = self._split(self.query(steps[:, -queries:]))  # (n, h, Q, d/h)
        key, value = (self._split(half) for half in self.key_value(steps).chunk(2, dim=-1))  # (n, h, L, d/h)
        attended = functional.scaled_dot_product_attention(query, key, value)  # (n, h, Q, d/h)
        return self.joined(attended.transpose(1, 2).flatten(2))  # (n, Q, d)

    def _split(self, steps: torch.Tensor) -> torch.Tensor:
        return steps.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AttentionNet(nn.Module):
    """(n, L, F) windows -> (n,) forecasts: one linear and a position per step, encoder layers, norm, one linear."""

    def __init__(
        self,
        inputs: int,
        window_rows: int,
        d_model: int,
        heads: int,
        layers: int,
        dropout: float,
        gradient_checkpointing: bool,
    ) -> None:
        """Encode windows of *window_rows* steps; each layer is computed again when *gradient_checkpointing*."""
        super().__init__()
        self.entry = nn.Linear(inputs, d_model)
        self.positions = nn.Parameter(torch.randn(window_rows, d_model) * POSITION_SD)
        self.layers = nn.ModuleList(EncoderLayer(d_model, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, 1)
        self._compute_again = gradient_checkpointing

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Forecast each window. Only the last step is read, so only that one goes through the last layer."""
        steps = self.entry(windows) + self.positions  # (n, L, d)
        for layer in self.layers[:-1]:
            steps = self._through(layer, steps, steps.shape[1])
        last = self._through(self.layers[-1], steps, 1)[:, 0]  # (n, d)
        return self.head(self.norm(last)).squeeze(-1)  # (n,)

    def _through(self, layer: nn.Module, steps: torch.Tensor, queries: int) -> torch.Tensor:
        if not (self._compute_again and torch.is_grad_enabled()):
            return layer(steps, queries)
        return checkpoint(
            layer,
            steps,
            queries,
            use_reentrant=False,
            preserve_rng_state=False,  # dropout draws from its own generators
            context_fn=partial(same_masks_again, layer),
        )


class Attention(NetTrainer):
    """Trains the attention encoder of one job."""

    def run_of(self, task: Task) -> TorchRun:
        """Load the data, build the net, restore a checkpoint if there is one."""
        params = cast("AttentionParams", task.spec.typed_params)
        if params.d_model % params.heads:
            msg = (
                f"d_model is {params.d_model} and heads is {params.heads}: d_model must be a multiple of heads; "
                "change one of them"
            )
            raise BrokenSpec(msg)
        shape = {
            "window_rows": params.sequence_length,
            "d_model": params.d_model,
            "heads": params.heads,
            "layers": params.layers,
            "dropout": params.dropout,
            "gradient_checkpointing": params.gradient_checkpointing,
        }
        if params.gradient_checkpointing:
            load_the_compiler()  # `checkpoint` reads its settings at each call
        return TorchRun(task, AttentionNet, shape)
