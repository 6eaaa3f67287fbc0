"""The 65 jobs of the week: how long each takes on a cold machine, what it draws, what its trainer obeys.

Counts are the budget's (`cbi_queue.budget.ROWS`). Lengths are the measured anchors per horizon on two cores (LightGBM
30 trials x 5 folds 8 min, XGBoost 83 min, LSTM 8 min, attention 39, Inception 31, TFT 44), scaled so that a cold week
takes about five days; the proportions between families are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

from cbi_queue.budget import ROWS

COLD_WEEK_H = 118.0
NET = frozenset({"pace", "micro_batch", "probe", "checkpoint"})
TREES = frozenset({"pace", "probe", "checkpoint"})


@dataclass(frozen=True, slots=True)
class Job:
    """One model to be trained."""

    name: str
    fingerprint: str
    cold_s: float
    """Seconds of work on the cold machine."""
    epoch_s: float
    """Seconds of work between two reports."""
    power_w: float
    """Drawn above idle, at full clock."""
    can: frozenset[str]
    one_shot: bool = False
    micro_batch: int | None = None


_SHAPES: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "trees": (("lightgbm", 8, 10, 30), ("xgboost", 83, 30, 30), ("lightgbm_q", 8, 10, 30)),
    "statistical": (("arima", 1, 60, 12), ("garch", 0.5, 30, 12)),
    "simple_neural": (("feed_forward", 4, 5, 22), ("lstm", 8, 20, 24), ("gru", 8, 20, 24)),
    "advanced_neural": (
        ("tft", 44, 60, 26),
        ("inception", 31, 45, 30),
        ("attention", 39, 60, 26),
        ("patch", 60, 120, 26),
    ),
    "volatility": (("garch_net", 8, 15, 22),),
    "regime_classifier": (("classifier", 12, 15, 30),),
    "regime_specific": (("regime_lgb", 8, 10, 30), ("regime_lstm", 8, 20, 24)),
    "meta": (("stack", 15, 20, 34),),
}
"""Family -> (model, minutes, seconds of one epoch, watts above idle), in turn."""


def week() -> list[Job]:
    """Return the 65 jobs in plan order."""
    drafts = [
        (row.family, number, *_SHAPES[row.family][number % len(_SHAPES[row.family])])
        for row in ROWS
        for number in range(row.planned)
    ]
    scale = COLD_WEEK_H * 3600 / sum(minutes * 60 for _, _, _, minutes, _, _ in drafts)
    return [
        _job(family, number, model, minutes * 60 * scale, epoch_s, watts)
        for family, number, model, minutes, epoch_s, watts in drafts
    ]


def _job(family: str, number: int, model: str, cold_s: float, epoch_s: float, watts: float) -> Job:
    one_shot = family == "statistical"
    batches = "neural" in family or "lstm" in model or family == "volatility"
    can = frozenset[str]() if one_shot else NET if batches else TREES
    epoch_s = cold_s if one_shot else min(epoch_s, cold_s / 20)
    return Job(f"{model}_{number}", model, cold_s, epoch_s, watts, can, one_shot, 32 if batches else None)
