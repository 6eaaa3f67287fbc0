"""The memory formulas of the hardware guide, exactly as printed there. Pure.

Each returns MB as the guide prints them: bytes over 1024², so MiB. They are the guide's arithmetic and nothing more; the
sizes in the guide's own comments ("~800 MB" beside a formula that gives 12) are not theirs. What a training really
takes is learned on top, in `memory`. A feed-forward net has no formula there; `dense` is ours, in the same manner.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1024**2
FOUNDATION_MODELS: dict[str, float] = {
    "chronos-small": 20e6, "chronos-base": 200e6, "chronos-large": 710e6, "timesfm": 200e6,
}  # fmt: skip
"""Weights of each pretrained model, as the guide counts them."""


def boosting(n_samples: int, n_features: int, max_depth: int = 6, *, num_trees: int = 1000) -> float:
    """Return the MiB of boosted trees.

    data = samples * features * 8; trees = num_trees * 2^depth * 64; gradients = samples * 8 * 2. The guide fixes
    `num_trees` at its typical 1,000.
    """
    data_memory = n_samples * n_features * 8
    tree_memory = num_trees * int(2**max_depth) * 64
    gradient_memory = n_samples * 8 * 2
    return (data_memory + tree_memory + gradient_memory) / MIB


def recurrent(seq_len: int, batch_size: int, hidden_size: int, num_layers: int, n_features: int) -> float:
    """Return the MiB of an LSTM or GRU.

    1.3 * (input + hidden states + weights + gradients + head), with input = batch * seq * features * 4, hidden states
    = batch * seq * hidden * 4 a layer, weights = (inputs + hidden) * hidden * 4 gates * 4, gradients = weights,
    head = hidden * 3 classes * 4.
    """
    input_memory = batch_size * seq_len * n_features * 4
    hidden_memory = batch_size * seq_len * hidden_size * 4 * num_layers
    first_layer = (n_features + hidden_size) * hidden_size * 4 * 4
    other_layers = (hidden_size + hidden_size) * hidden_size * 4 * 4 * (num_layers - 1)
    weight_memory = first_layer + other_layers
    classifier_memory = hidden_size * 3 * 4
    return (input_memory + hidden_memory + 2 * weight_memory + classifier_memory) / MIB * 1.3


def transformer(seq_len: int, batch_size: int, d_model: int, nhead: int, num_layers: int) -> float:
    """Return the MiB of a transformer.

    1.5 * (input + layers + weights + gradients), with input = batch * seq * d * 4, a layer = batch * seq * d * 3 * 4
    (query, key, value) + batch * heads * seq² * 4 (scores) + batch * seq * d * 4 * 4 (feed-forward), weights =
    layers * d² * 12 * 4, gradients = weights.
    """
    input_memory = batch_size * seq_len * d_model * 4
    qkv_memory = batch_size * seq_len * d_model * 3 * 4
    attention_memory = batch_size * nhead * seq_len * seq_len * 4
    ff_memory = batch_size * seq_len * d_model * 4 * 4
    layer_memory = (qkv_memory + attention_memory + ff_memory) * num_layers
    weight_memory = num_layers * d_model * d_model * 12 * 4
    return (input_memory + layer_memory + 2 * weight_memory) / MIB * 1.5


def convolutional(seq_len: int, batch_size: int, num_filters: int, num_blocks: int, n_features: int) -> float:
    """Return the MiB of a convolutional net.

    1.3 * (input + convolutions + bottlenecks + head + weights + gradients), with convolutions = batch * seq * filters *
    5 kernels * 4 a block, bottlenecks = batch * seq * (filters // 4) * blocks * 4, head = batch * filters * 4, weights
    = blocks * filters * features * 23 * 4, gradients = weights.
    """
    input_memory = batch_size * seq_len * n_features * 4
    conv_memory = batch_size * seq_len * num_filters * 5 * 4 * num_blocks
    bottleneck_memory = batch_size * seq_len * (num_filters // 4) * num_blocks * 4
    classifier_memory = batch_size * num_filters * 4
    weight_memory = num_blocks * num_filters * n_features * 23 * 4
    return (input_memory + conv_memory + bottleneck_memory + classifier_memory + 2 * weight_memory) / MIB * 1.3


def foundation(model_name: str, batch_size: int = 1) -> float:
    """Return the MiB of a pretrained model that only infers; one that is not known counts as 200 million weights.

    weights * 4 + batch * 512 * 1024 * 4 (activations) + batch * 512 * 1024 * 2 * 12 (keys and values of 12 layers).
    """
    weight_memory = FOUNDATION_MODELS.get(model_name, 200e6) * 4
    activation_memory = batch_size * 512 * 1024 * 4
    kv_cache_memory = batch_size * 512 * 1024 * 2 * 12
    return (weight_memory + activation_memory + kv_cache_memory) / MIB


def dense(seq_len: int, batch_size: int, hidden: Sequence[int], n_features: int) -> float:
    """Return the MiB of a feed-forward net over a flattened window: ours, in the manner of the guide.

    1.3 * (input + activations + weights + gradients), with input = batch * seq * features * 4, activations =
    batch * units * 4 a layer, weights = inputs * units * 4 a layer, gradients = weights.
    """
    widths = (seq_len * n_features, *hidden, 1)
    input_memory = batch_size * widths[0] * 4
    activation_memory = batch_size * sum(widths[1:]) * 4
    weight_memory = sum(inputs * units for inputs, units in pairwise(widths)) * 4
    return (input_memory + activation_memory + 2 * weight_memory) / MIB * 1.3
