"""Random walks that pass 0, through the whole pipeline: what is forecast of differences finds no skill in luck either.

Six walks and small models; `python -m benchmarks.false_discoveries --label difference` measures every family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks.false_discoveries import EVALUATION, FEATURES, most_called, walk_of
from benchmarks.pipeline import Pipeline
from cbi_queue.datasets.description import DataSet
from jobs.data.label import Label
from jobs.data.series import load_frame

if TYPE_CHECKING:
    from jobs.evaluation.scoring import Score

WALKS = 6
MODELS = {
    "drift": {},
    "ets": {"history_rows": 250, "refit_every_rows": 252},
    "lightgbm_dart": {"n_estimators": 30, "num_leaves": 15},
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Score]]:
    """Model -> scores of the backtest, one a walk."""
    scores: dict[str, list[Score]] = {model: [] for model in MODELS}
    for seed in range(WALKS):
        pipeline = Pipeline(tmp_path_factory.mktemp("walk"), "1w")
        pipeline.build(walk_of(seed, "difference"), DataSet(label="difference"), **FEATURES)
        frame = load_frame(pipeline.processed, "1w")
        assert frame.label is Label.DIFFERENCE
        assert (frame.price <= 0).any()
        for model, params in MODELS.items():
            finished = pipeline.train(model, {**EVALUATION, **params})
            scores[model].append(finished.metrics["backtest"])
    return scores


@pytest.mark.parametrize("model", MODELS)
def test_luck_is_no_skill(told: dict[str, list[Score]], model: str) -> None:
    skills = np.array([score["skill_mae"] for score in told[model]])
    better = [
        score
        for score in told[model]
        if score["skill_mae"] > 0 and max(score["skill_p_value"], score["skill_dm_p_value"]) <= 0.05
    ]

    assert abs(skills).max() > 0, "it says something else than naive"
    assert skills.mean() <= 3 * skills.std(ddof=1) / np.sqrt(WALKS)
    assert len(better) <= most_called(WALKS)
