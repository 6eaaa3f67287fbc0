"""Features and label prepared for a net: mean 0, spread 1, nothing missing; fitted on the training block only.

A missing value becomes 0, the training mean, and an indicator column marks it: a series that starts late then differs
from an average day. Columns that are missing on the same training rows share one indicator, as one each would double
the input for a few warm-up rows; on later rows it is the share of them that is missing. A column that is constant or
has too few values in training (`least_rows`) is 0 throughout and has no indicator: what a net learns from a series that
starts near the end of its training is mostly noise (feed-forward, 1w, sample: skill -0.217 with VIX, which starts late,
+0.014 without it). Values
beyond LIMIT_SD are set to it: a net extrapolates without bound, and a series that started in a calm month reaches 70
deviations later. Everything fitted is plain JSON for preproc.json.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_ROWS, LEAST_SHARE = 252, 0.20
"""Training rows with a value that a column needs: a year, and a fifth of them."""
LIMIT_SD = 5.0
"""Standard deviations of the training block; of the sample data 0.1 % of values are beyond it present, 2 % later."""


@dataclass(frozen=True, slots=True)
class Standardiser:
    """What was fitted: z = (x - mean) * scale, cut off at +-LIMIT_SD, for features; z = (y - y_mean) / y_sd for the label."""

    mean: np.ndarray
    """(features,) float64."""
    scale: np.ndarray
    """(features,) float64: 1 / sd in the training block; 0 for columns that are not used."""
    groups: tuple[np.ndarray, ...]
    """One per indicator: the (columns,) int64 that are missing on the same training rows."""
    y_mean: float
    y_sd: float
    sparse: np.ndarray
    """(columns,) int64: not used, because too few training rows have a value."""

    def features(self, x: np.ndarray) -> np.ndarray:
        """Map (rows, features) with NaN to (rows, features + indicators) float32 without."""
        z = np.clip((x - self.mean) * self.scale, -LIMIT_SD, LIMIT_SD)  # (rows, features) float64
        missing = [np.isnan(x[:, columns]).mean(axis=1, keepdims=True) for columns in self.groups]  # (rows, 1) each
        whole = np.nan_to_num(z, nan=0.0)
        return np.hstack([whole, *missing]).astype(np.float32)  # (rows, features + indicators)

    def label(self, y: np.ndarray) -> np.ndarray:
        """Map (rows,) labels to (rows,) float32; NaN stays."""
        return ((y - self.y_mean) / self.y_sd).astype(np.float32)

    def forecast(self, z: np.ndarray) -> np.ndarray:
        """Map (rows,) standardised forecasts back to (rows,) float64 on the label's own scale."""
        return z.astype(np.float64) * self.y_sd + self.y_mean

    def as_json(self, feature_names: tuple[str, ...]) -> dict[str, Any]:
        """Return all that is needed to do the same with new rows."""
        return {
            "kind": "standardised",
            "features": list(feature_names),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "limit_sd": LIMIT_SD,
            "missing": "0 after standardising; then one column per list in indicators: the share of its names missing",
            "unused": [feature_names[column] for column in self.sparse],
            "indicators": [[feature_names[column] for column in columns] for columns in self.groups],
            "target_mean": self.y_mean,
            "target_sd": self.y_sd,
        }


def fit_standardiser(x: np.ndarray, y: np.ndarray) -> Standardiser:
    """Fit on the training block: *x* (rows, features) with NaN, *y* (rows,) finite."""
    present = np.isfinite(x)  # (rows, features)
    mean, sd = _moments(x, present)
    sparse = present.sum(axis=0) < least_rows(len(x))
    unused = sparse | (sd <= 1e-6 * np.abs(mean))  # a constant column of float32 leaves rounding, not spread
    scale = np.where(unused, 0.0, 1.0 / np.where(unused, 1.0, sd))  # (features,)
    y_sd = float(y.std())
    return Standardiser(
        mean,
        scale,
        _missing_together(present, ~sparse),
        y_mean=float(y.mean()),
        y_sd=y_sd if y_sd > 0 else 1.0,
        sparse=np.flatnonzero(sparse),
    )


def least_rows(training_rows: int) -> int:
    """Return how many of *training_rows* must have a value for a column to be used; of a short block half will do."""
    return max(min(LEAST_ROWS, training_rows // 2), math.ceil(LEAST_SHARE * training_rows))


def _moments(x: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation, (features,) float64 each, over what is *present*; 0 and 0 where nothing is."""
    count = np.maximum(present.sum(axis=0), 1)  # (features,)
    values = np.where(present, x, 0.0).astype(np.float64)  # (rows, features)
    mean = values.sum(axis=0) / count  # (features,)
    deviation = np.where(present, values - mean, 0.0)  # (rows, features)
    return mean, np.sqrt((deviation**2).sum(axis=0) / count)


def _missing_together(present: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, ...]:
    """Group the *used* columns that are missing on the same training rows. (rows, features), (features,) bool."""
    groups: dict[bytes, list[int]] = {}
    for column in np.flatnonzero(used & ~present.all(axis=0)):
        groups.setdefault(present[:, column].tobytes(), []).append(int(column))
    return tuple(np.array(columns) for columns in groups.values())
