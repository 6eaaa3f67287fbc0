"""How much memory a model takes: the formulas of the hardware guide, and the one that each model uses. Pure.

The functions are the guide's arithmetic as printed, in its MB, which are MiB (bytes over 1024²). The sizes in the guide's
own comments ("~800 MB" beside a formula that gives 12) do not follow from them. A feed-forward net has no formula there;
`dense` is ours, in the same manner.

A `MemoryFormula` applies one of them to the parameters of a job, and holds the line from the formula to the memory that a
training really takes, as measured on this project's own trainers: base + factor * formula. `hardware.memory` corrects that
line by what earlier runs took.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cbi_queue.models.kinds import REGIMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


LONGEST_TEXT = 128
"""Tokens of a text that a memory estimate reckons with: the default of `headlines.max_length`."""


def bert(batch_size: int, tokens: int) -> float:
    """Return the MiB of BERT-base that only infers: ours, in the manner of the guide.

    weights = 110 million * 4; activations = batch * tokens * 768 * 4 * 12 (hidden states, queries, keys, values and the
    feed-forward of the layer at work) + batch * 12 heads * tokens² * 4 (its scores).
    """
    weight_memory = 110e6 * 4
    activation_memory = batch_size * tokens * 768 * 4 * 12 + batch_size * 12 * tokens * tokens * 4
    return (weight_memory + activation_memory) / MIB


@dataclass(frozen=True, slots=True)
class Shape:
    """The data of a job."""

    rows: int
    features: int
    source: str
    """Where the two numbers are from, for people."""


@dataclass(frozen=True, slots=True)
class CorrectionLine:
    """Memory over formula: base_mib + factor * formula, in MiB."""

    base_mib: float
    factor: float
    doubt: float
    """Relative doubt about the factor: 0.3 is 30 %."""
    spread_mib: float = 0.0
    """How far runs lie from the line, MiB."""
    samples: int = 0
    """Runs that it was learned from; 0: it is the one that ships."""
    source: str = "as measured on this project's own trainers"


@dataclass(frozen=True, slots=True)
class MemoryFormula:
    """One formula, applied to the parameters of a job."""

    mib: Callable[[Mapping[str, Any], Shape, int], float]
    """Parameters with every default filled in, data, samples that go through a net at once -> MiB, above zero."""
    line: CorrectionLine
    """From the formula to what a training takes, while there are too few runs to learn it from. Those below: torch 2.13,
    LightGBM and XGBoost on one thread of a processor, whole runs, with evaluation, best weights and checkpoints."""


MOST_MEMBERS = 50
"""Forecasts that an ensemble is reckoned to combine: as many as a plan may name."""
MOST_SEARCHED_DEPTH, MOST_SEARCHED_LEAVES = 10, 63
"""The largest trees that a search tries."""


def _tree_depth(params: Mapping[str, Any], rows: int) -> int:
    """Return the depth of a full binary tree that holds what these trees may hold: no leaf is empty."""
    allowed, leaves = params.get("max_depth", -1), params.get("num_leaves", rows)
    if params.get("search_trials"):
        allowed, leaves = max(allowed, MOST_SEARCHED_DEPTH), max(leaves, MOST_SEARCHED_LEAVES)
    leaves = min(leaves, max(rows, 2))
    most = max(1, math.ceil(math.log2(leaves)))
    return most if allowed < 1 else min(allowed, most)


def _recurrent(layers: int) -> MemoryFormula:
    return MemoryFormula(
        lambda p, data, batch: recurrent(p["sequence_length"], batch, p["hidden_size"], layers, data.features),
        CorrectionLine(400.0, 8.5, 0.3),
    )


TABLE = MemoryFormula(
    lambda _, data, __: max(data.rows * data.features * 8 / MIB, 0.01), CorrectionLine(290.0, 4.0, 0.3)
)
"""For models that hold their data and little else."""
PLAIN_TABLE = MemoryFormula(TABLE.mib, CorrectionLine(100.0, 4.0, 0.3))
"""For those of them that load no library to fit with. Their runs also move the lines of models that have none yet."""
DECLARED = MemoryFormula(lambda p, _, __: p.get("memory_mib") or 0.01, CorrectionLine(0.0, 1.0, 0.0))
"""For a command of the user's own: what its job declares; nothing is known of it otherwise until it has run."""
PROPHET = MemoryFormula(TABLE.mib, CorrectionLine(330.0, 4.0, 0.3))
"""Prophet loads pandas beside the rest, and its sampler is a process of its own."""
BOOSTING = MemoryFormula(
    lambda p, data, _: boosting(data.rows, data.features, _tree_depth(p, data.rows), num_trees=p["n_estimators"]),
    CorrectionLine(220.0, 1.0, 0.3),
)
STACKING = MemoryFormula(
    lambda p, data, _: boosting(
        min(p["history_rows"], data.rows), MOST_MEMBERS, _tree_depth(p, data.rows), num_trees=p["n_estimators"]
    ),
    CorrectionLine(280.0, 1.0, 0.3),
)
BOOSTED_REGIMES = MemoryFormula(
    lambda p, data, _: boosting(
        data.rows, data.features, _tree_depth(p, data.rows), num_trees=len(REGIMES) * p["n_estimators"]
    ),
    CorrectionLine(290.0, 1.0, 0.3),
)
"""A tree for each regime and round."""
RECURRENT_1_LAYER, RECURRENT_2_LAYER = _recurrent(1), _recurrent(2)
CONVOLUTIONAL = MemoryFormula(
    lambda p, data, batch: convolutional(
        p["sequence_length"], batch, p["channels"], len(p["dilations"]), data.features
    ),
    CorrectionLine(380.0, 2.8, 0.3),
)
TRANSFORMER = MemoryFormula(
    lambda p, _, batch: transformer(p["sequence_length"], batch, p["d_model"], p["heads"], p["layers"]),
    CorrectionLine(470.0, 2.1, 0.3),
)
PRETRAINED_BERT = MemoryFormula(
    lambda _, __, batch: bert(batch, LONGEST_TEXT),
    CorrectionLine(430.0, 1.0, 0.3),
)
DENSE = MemoryFormula(
    lambda p, data, batch: dense(p["sequence_length"], batch, p["hidden"], data.features),
    CorrectionLine(390.0, 4.5, 0.3),
)
VOLATILITY_INPUTS = 7
"""Columns of the window of the volatility net, `jobs.families.volatility_net`."""
VOLATILITY_NET = MemoryFormula(
    lambda p, _, batch: dense(p["sequence_length"], batch, p["hidden"], VOLATILITY_INPUTS), DENSE.line
)
