"""Which covariates stay when there would be too many features: the best covered first, near copies last.

A model holds its features twice while it loads them, as the table of the cache and as the array that it trains on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jobs.data.feature_names import feature_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.models.parameters.features import FeatureParams
    from jobs.data.export_file import Export

MODEL_LIMIT_MIB = 1536
"""Most memory that the features of one horizon may take in a model."""
NEAR_COPY = 0.98
"""Correlation of the daily changes from which a covariate counts as a copy of one that is already in."""


def features_of(export: Export, params: FeatureParams) -> int:
    """Count the features of *export*."""
    return len(feature_names(export.series, params, export.as_is))


def memory_mib(rows: int, features: int) -> float:
    """Estimate what a model takes to hold the features: two float32 a value."""
    return rows * features * 8 / 2**20


def most_features(rows: int) -> int:
    """Return how many features of *rows* rows fit into the limit."""
    return int(MODEL_LIMIT_MIB * 2**20 // (rows * 8))


def too_many(export: Export, params: FeatureParams) -> str | None:
    """Return the words for features that would not fit into memory, None when they fit."""
    features = features_of(export, params)
    needed = memory_mib(export.rows, features)
    if needed <= MODEL_LIMIT_MIB:
        return None
    return (
        f"{len(export.series) - 1 + len(export.as_is):,} columns would become {features:,} features: with {export.rows:,} "
        f"rows a model needs about {needed:,.0f} MiB for them, {MODEL_LIMIT_MIB} are allowed; cap them with `cbi-queue "
        f"data edit max_features={most_features(export.rows)}` or less, or give columns the role as_is or ignore"
    )


def capped(export: Export, params: FeatureParams, most: int | None, coverage: Mapping[str, float]) -> Export:
    """Leave out covariates until *export* makes at most *most* features; None: none is left out."""
    if most is None or features_of(export, params) <= most:
        return export
    price, room = export.series[0], most - len(feature_names(export.series[:1], params))
    costs = {
        s.name: len(feature_names([price, s], params)) - len(feature_names([price], params)) for s in export.series[1:]
    }
    costs |= dict.fromkeys(export.as_is, 1)
    kept: set[str] = set()
    for name in _by_merit(export, sorted(costs, key=lambda name: -coverage.get(name, 0.0))):
        if costs[name] <= room:
            kept.add(name)
            room -= costs[name]
    left_out = [name for name in costs if name not in kept]
    shown = ", ".join(left_out[:8]) + (f" and {len(left_out) - 8} more" if len(left_out) > 8 else "")
    note = f"max_features {most}: {len(left_out)} of {len(costs)} columns are left out, the least covered and copies: {shown}"
    return replace(
        export,
        series=(price, *(s for s in export.series[1:] if s.name in kept)),
        as_is=tuple(name for name in export.as_is if name in kept),
        notes=(*export.notes, note),
    )


def _by_merit(export: Export, names: Sequence[str]) -> list[str]:
    """Return *names* in their order, those last whose changes copy those of one before."""
    from jobs.data.export_file import read_arrays

    parts = [
        np.column_stack([values[name] for name in names]).astype(np.float32)
        for _, values in read_arrays(export.path, export.columns, list(names), 1 << 16)
    ]
    changes = np.diff(np.concatenate(parts), axis=0)  # (rows - 1, names)
    there = np.isfinite(changes)
    z = np.where(there, changes - np.nanmean(np.where(there.any(axis=0), changes, 0.0), axis=0), 0.0)
    norm = np.sqrt((z**2).sum(axis=0))
    z /= np.where(norm > 0, norm, 1.0)
    alike = np.abs(z.T @ z) >= NEAR_COPY  # (names, names)
    first, copies = [], []
    taken: list[int] = []
    for i, name in enumerate(names):
        if taken and alike[i, taken].any():
            copies.append(name)
        else:
            taken.append(i)
            first.append(name)
    return first + copies
