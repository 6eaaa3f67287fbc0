"""What a recurrent model consists of, whatever the library."""

from __future__ import annotations

KINDS = {
    "lstm": ("lstm", 1), "gru": ("gru", 1), "lstm_2_layer": ("lstm", 2), "gru_2_layer": ("gru", 2),
    "regime_lstm": ("lstm", 1), "regime_gru": ("gru", 1),
}  # fmt: skip
"""Model -> cell and layers."""
