"""Hidden layers of dense nets."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from jobs.torch_backend.dropout import RowDropout

if TYPE_CHECKING:
    from collections.abc import Sequence


def hidden_layers(inputs: int, hidden: Sequence[int], dropout: float) -> list[nn.Module]:
    """Make linear, ReLU and dropout for each width in *hidden*: (n, inputs) -> (n, hidden[-1])."""
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise((inputs, *hidden)):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(), RowDropout(dropout)]
    return layers
