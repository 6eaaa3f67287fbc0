"""A walk-forward run of LightGBM with eight refits against the same fits made directly with `lightgbm.train`.

Both sides make ten fits on the same rows with the same parameters: the one that selects, with the validation block
scored after every round, eight refits of the length that it chose, and the last one on every known row. Ours is the
whole of `train`: reports, directives, stored fits, forecasts, scores and the run folder. Turn by turn in one process,
one thread, by processor time, which neighbours disturb less. At most 1.1 times as long is what a walk may cost.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import Line, Target, alternate, in_seconds, ratios
from benchmarks.pipeline import Pipeline

TREES = 200
"""Rounds of the fit that selects; its best one, on the sample the first, is the length of the others: with fits so short
what a walk adds weighs most."""
REFITS = 8
EVERY_ROWS = 63
MODEL = "lightgbm_dart"


def lines(rounds: int) -> list[Line]:
    """Measure *rounds* rounds."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(Path(folder), "1w")
        pipeline.build_sample()
        best_rounds: list[int] = []
        ours, direct = alternate(
            lambda: _walked(pipeline, best_rounds), lambda: _direct(pipeline, best_rounds[-1]), rounds
        )
    words = f"LightGBM walked forward with {REFITS} refits / the same ten fits made directly"
    note = f"ours {in_seconds(ours)}, direct {in_seconds(direct)} of processor time, {best_rounds[-1]} trees in a refit"
    return [Line(words, "x", ratios(ours, direct), Target(1.1), note)]


def _params() -> dict[str, Any]:
    return {
        "scheme": "walk_forward",
        "backtest_rows": REFITS * EVERY_ROWS,
        "refit_every_rows": EVERY_ROWS,
        "final_block_rows": 0,
        "n_estimators": TREES,
        "early_stopping_rounds": None,
    }


def _walked(pipeline: Pipeline, best_rounds: list[int]) -> float:
    started_s = time.process_time()
    finished = pipeline.train(MODEL, _params())
    taken_s = time.process_time() - started_s
    best_rounds.append(int(finished.metrics["best_round"]))
    return taken_s


def _direct(pipeline: Pipeline, best_round: int) -> float:
    import lightgbm as lgb

    from cbi_queue.models.parameters.trees import LightGBMDartParams
    from jobs.boosting.run import MemoryLimits
    from jobs.data.series import load_frame
    from jobs.evaluation.splits import split_by
    from jobs.evaluation.walk_forward import refits_of
    from jobs.families.lightgbm_trees import library_params

    p = LightGBMDartParams.model_validate(_params())
    params = library_params(p, MemoryLimits(p.max_bin, threads=1))
    frame = load_frame(pipeline.processed, pipeline.horizon)
    started_s = time.process_time()
    for fit in refits_of(frame, split_by(frame, p), p.refit_every_rows):
        train, validation = fit.split.train, fit.split.validation
        learned = lgb.Dataset(frame.x[train], frame.y[train], params=params)
        watched = [lgb.Dataset(frame.x[validation], frame.y[validation], reference=learned)] if fit.selects else []
        model = lgb.train(params, learned, TREES if fit.selects else best_round, valid_sets=watched)
        model.predict(frame.x[fit.split.backtest], num_threads=1)
    return time.process_time() - started_s
