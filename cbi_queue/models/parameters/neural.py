"""Parameters of neural nets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import Field

from cbi_queue.models.parameters.common import EvaluationParams

if TYPE_CHECKING:
    from collections.abc import Mapping


class NeuralParams(EvaluationParams):
    """What every neural model shares."""

    epochs: int = Field(default=100, ge=1, le=10000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    """Effective batch; a downgrade shrinks the micro-batch and accumulates to the same."""
    grain: int | None = Field(default=None, ge=1, le=4096)
    """Most samples whose gradient is computed in one piece: a micro-batch lowered no further changes no bit. null: the
    whole batch."""
    sequence_length: int = Field(default=256, ge=1, le=4096)
    """Trading days that one window looks back."""
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    gradient_clip: float = Field(default=1.0, gt=0, le=1000)
    """Largest gradient norm."""
    patience: int = Field(default=12, ge=1, le=10000)
    """Epochs without a better validation loss before stopping; the best weights are restored."""

    def rows_needed(self, horizon_days: int) -> int:
        """Return the fewest rows of features that leave `MIN_TRAIN_ROWS` with a full window."""
        return super().rows_needed(horizon_days) + self.sequence_length - 1

    def refitted(self, selection: Mapping[str, Any]) -> Self:
        """Train for as many epochs as the selection's best ones took."""
        epochs = selection.get("best_epoch") or self.epochs
        return self.model_copy(update={"epochs": epochs, "patience": epochs})


class PriceNetParams(NeuralParams):
    """What every net that forecasts the price shares."""

    shrink: bool = True
    """Shrink the forecasts towards no change, by the factor that the validation block supports; 0 makes them naive's."""


class FeedForwardParams(PriceNetParams):
    """A feed-forward net over a flattened window."""

    sequence_length: int = Field(default=32, ge=1, le=4096)
    batch_size: int = Field(default=64, ge=1, le=4096)
    hidden: tuple[Annotated[int, Field(ge=1, le=8192)], ...] = Field(default=(128, 64), min_length=1, max_length=8)
    dropout: float = Field(default=0.2, ge=0, lt=1)


class RecurrentParams(PriceNetParams):
    """A recurrent net over a window of feature rows: the last hidden state of the top layer, then one linear."""

    batch_size: int = Field(default=32, ge=1, le=4096)
    hidden_size: int = Field(default=128, ge=1, le=4096)
    """Units of each recurrent layer."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Between the layers (of two-layer nets) and before the last linear."""


class TCNParams(PriceNetParams):
    """A temporal convolutional net: causal residual blocks, one per dilation, no batch statistics."""

    channels: int = Field(default=64, ge=1, le=1024)
    kernel_size: int = Field(default=3, ge=2, le=15)
    dilations: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field(
        default=(1, 2, 4, 8), min_length=1, max_length=10
    )
    dropout: float = Field(default=0.2, ge=0, lt=1)


class AttentionParams(PriceNetParams):
    """A tiny attention encoder over a window of feature rows."""

    batch_size: int = Field(default=16, ge=1, le=4096)
    d_model: int = Field(default=128, ge=8, le=1024)
    heads: int = Field(default=2, ge=1, le=16)
    layers: int = Field(default=2, ge=1, le=8)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    gradient_checkpointing: bool = True
    """Compute each layer again in the backward pass instead of keeping it: less memory, about a third more time."""
