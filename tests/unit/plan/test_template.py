"""The plan that `plan new` writes is valid at once, whatever the data set is called."""

from __future__ import annotations

import re

import pytest
from support.plan_files import accept, refuse

from cbi_queue.datasets.inspection import Inspection
from cbi_queue.models.kinds import HORIZON_DAYS, HORIZONS
from cbi_queue.models.parameters.neural import FeedForwardParams
from cbi_queue.plan.template import plan_text


@pytest.mark.parametrize("dataset", ["zl", "2024", "on", "1.5", "a" * 80])
def test_the_plan_of_any_data_set_is_valid_at_once(tmp_path, dataset):
    (plan,) = accept(tmp_path, plan_text(dataset, HORIZONS))

    assert {job.dataset for job in plan.jobs} == {dataset}
    assert {job.horizon for job in plan.jobs} == set(HORIZONS)
    assert len(plan.jobs) == 7 * len(HORIZONS)
    judged = [job.params for job in plan.jobs if job.family != "features"]
    assert {params["scheme"] for params in judged} == {"walk_forward"}
    assert {(params["backtest_rows"], params["final_block_rows"]) for params in judged} == {(504, 252)}
    assert {params["refit_every_rows"] for params in judged} == {63}


def test_a_history_too_short_is_one_complaint_a_horizon_that_names_what_to_shorten(tmp_path):
    (tmp_path / "datasets" / "zl" / "exports").mkdir(parents=True)
    (tmp_path / "datasets" / "zl" / "exports" / "production_training_data.parquet").touch()

    found = refuse(
        tmp_path,
        plan_text("zl", ["1w", "1m"]),
        exports_dir=tmp_path / "exports",
        inspect=lambda wanted: [Inspection(str(request.path), (), rows=1073) for request in wanted],
    )

    assert len(found) == 2
    for horizon, needed in (("1w", "1,474"), ("1m", "1,538")):
        (complaint,) = [text for text in found if f"too few for {horizon}" in text]
        assert (
            f"final block 252, embargo 21, the horizon and 100 rows to train on with windows of 32 need {needed}"
            in complaint
        )
        assert "(so 5 more jobs of this plan)" in complaint
        fit = re.search(
            r"validation_rows: (\d+), backtest_rows: (\d+) in place of windows, and final_block_rows: 0", complaint
        )
        validation, backtest = map(int, fit.groups())
        shorter = FeedForwardParams(
            scheme="walk_forward", validation_rows=validation, backtest_rows=backtest, final_block_rows=0
        )
        assert 1071 <= shorter.rows_needed(HORIZON_DAYS[horizon]) <= 1073
