"""What a mixture over regimes is made of. Pure: plans are checked by it, and the runs before they are mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.models.kinds import MIXTURE, REGIMES

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSIFIER = "regime_lightgbm"
NETS = {"regime_lstm": "lstm", "regime_gru": "gru"}
"""A net of one regime -> the same net without regimes."""
FALLS_BACK, NO_BETTER = "falls back to all rows", "regimes do not help"
"""Verdicts on a net whose regime has too few rows, and on a mixture that is not better than one net without regimes."""


def wrong_parts(parts: Sequence[tuple[str, object]]) -> str | None:
    """Return in words what a mixture lacks, or has too much of; None when it is whole.

    Args:
        parts: model and regime of each job that it needs; models that are no parts are ignored.
    """
    nets = [(model, regime) for model, regime in parts if model in NETS]
    counts = {f"a {CLASSIFIER}": sum(model == CLASSIFIER for model, _ in parts)}
    counts |= {f"a net of {name}": sum(regime == name for _, regime in nets) for name in REGIMES}
    kinds = sorted({model for model, _ in nets})
    wrong = [f"{what} {count} times" if count else f"no {what[2:]}" for what, count in counts.items() if count != 1]
    if not wrong and len(kinds) > 1:
        wrong = [f"nets of two kinds, {' and '.join(kinds)}"]
    if not wrong:
        return None
    return (
        f"a {MIXTURE} mixes one {CLASSIFIER} and one net of each regime ({', '.join(REGIMES)}), all regime_lstm or all "
        f"regime_gru; `needs` has {', '.join(wrong)}"
    )
