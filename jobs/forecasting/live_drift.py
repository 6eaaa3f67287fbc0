"""Whether the rows that came after a training still look like those it was trained on: PSI of each of its features. Pure.

Reference are the rows that the stored model was trained on, current the latest rows after those that it knew, at most
`RECENT_ROWS`. With few rows every PSI is large; so what is expected without drift is reckoned for as many rows, see
`jobs.evaluation.drift`, and a feature is in quarantine only above both limits. It leaves by itself when it is no longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.evaluation.drift import LEAST_RATIO, RECENT_ROWS, stability

if TYPE_CHECKING:
    from jobs.exporting.finished_run import FinishedRun

LIMIT = 0.25
"""PSI above which a feature has drifted, as the first documents have it."""
LEAST_ROWS = 63
"""Rows since the training below which nothing is said: a quarter of a year."""


def drift_of(run: FinishedRun, last: int) -> dict[str, Any]:
    """Compare the rows after *last*, the newest row that the run knew, with its training rows; return JSON values."""
    frame = run.frame
    if run.metrics.get("scheme") == "walk_forward":
        until = last
    else:
        until = int(np.searchsorted(frame.dates, np.datetime64(run.metrics["split"]["blocks"]["train"]["last"])))
    current = frame.x[last + 1 :][-RECENT_ROWS:]
    said: dict[str, Any] = {
        "reference_rows": until + 1,
        "live_rows": frame.rows - 1 - last,
        "compared_rows": len(current) if len(current) >= LEAST_ROWS else 0,
        "limit": LIMIT,
        "least_ratio": LEAST_RATIO,
        "features": [],
    }
    if run.preproc.get("features") == [] or not said["compared_rows"]:
        return said | {"uses_features": bool(run.preproc.get("features"))}
    for column, name in enumerate(frame.feature_names):
        reference = frame.x[: until + 1, column]
        start = int(np.isfinite(reference).argmax())
        found = stability(reference[start:], current[:, column], LEAST_ROWS)
        if found is not None:
            said["features"].append(
                {
                    "name": name,
                    "psi": round(found.psi, 4),
                    "expected": round(found.expected, 4),
                    "quarantined": found.is_above(LIMIT),
                }
            )
    said["features"].sort(key=lambda each: (not each["quarantined"], -each["psi"]))
    return said | {"uses_features": True}
