"""The plain process that `lightgbm_direct` compares with: load the features, call `lightgbm.train`, print the seconds.

Run as a file, `python lightgbm_plain.py PROCESSED_DIR SPEC_JSON THREADS`; imports nothing of the queue's slot.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import lightgbm as lgb

from cbi_queue.spec import JobSpec
from jobs.boosting.run import MemoryLimits
from jobs.data.series import load_frame
from jobs.evaluation.splits import holdout_split
from jobs.families.lightgbm_trees import library_params

if TYPE_CHECKING:
    from cbi_queue.models.parameters.trees import LightGBMDartParams


def fit_s(processed_dir: Path, spec: JobSpec, threads: int) -> float:
    """Train; return the seconds from before the first round to after the last."""
    p = cast("LightGBMDartParams", spec.typed_params)
    params = library_params(p, MemoryLimits(p.max_bin, threads))
    frame = load_frame(processed_dir, spec.horizon)
    split = holdout_split(frame, p.validation_rows, p.backtest_rows, p.embargo_rows)
    learned = lgb.Dataset(frame.x[split.train], frame.y[split.train], params=params).construct()
    watched = lgb.Dataset(frame.x[split.validation], frame.y[split.validation], reference=learned, params=params)
    begun: list[float] = []

    def note_begin(_env: object) -> None:
        if not begun:
            begun.append(time.monotonic())

    note_begin.before_iteration = True  # type: ignore[attr-defined] # how LightGBM tells its callbacks apart
    lgb.train(params, learned, p.n_estimators, valid_sets=[watched], callbacks=[note_begin])
    return time.monotonic() - begun[0]


if __name__ == "__main__":
    print(fit_s(Path(sys.argv[1]), JobSpec.model_validate_json(sys.argv[2]), int(sys.argv[3])))
