"""The plans that are shipped: correct, within budget, and what their comments promise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.plan_files import M4, SCHEDULES

from cbi_queue import budget
from cbi_queue.hardware import PROFILES
from cbi_queue.lifecycle import JobState
from cbi_queue.models.catalogue import MODELS, models_of
from cbi_queue.models.kinds import BARS, HORIZONS, REPORTING, Family
from cbi_queue.plan import execution_order, read_plans
from cbi_queue.spec import strict_spec

if TYPE_CHECKING:
    from cbi_queue.spec import DayPlan

DAYS = sorted(SCHEDULES.glob("day*.yaml"))
SHIPPED = (DAYS, [SCHEDULES / "quickstart.yaml"])
"""What is enqueued together: the week and the quickstart build the same feature caches, so they are apart."""


NOT_PLANNED = {
    "arima", "theta", "prophet", "quantile_net", "finbert", "vertex_package", "backtest", "daily_forecast",
    "regime_lightgbm", "regime_lstm", "regime_gru", "regime_mixture",
    *models_of("meta"),
}  # fmt: skip
"""The week's ten statistical models are two a horizon, and three more are not among them; FinBERT needs headlines and weights;
the models of regimes, ensembles and exports come with the week's last days."""
NOT_IN_QUICKSTART = {
    Family.ADVANCED_NEURAL, Family.VOLATILITY, Family.REGIME_CLASSIFIER, Family.REGIME_SPECIFIC,
    Family.META, Family.SENTIMENT, *REPORTING,
}  # fmt: skip


def week() -> list[DayPlan]:
    """Every shipped day, read together."""
    return read_plans(DAYS, profile=M4)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_shipped_plans_fit_every_machine(profile: object, tmp_path) -> None:
    assert [len(read_plans(together, profile=profile)) for together in SHIPPED] == [len(DAYS), 1]


def test_a_shipped_job_is_the_one_that_a_full_check_makes_of_it() -> None:
    """The plan checks parameters once; the spec takes them over without a second check."""
    for job in (job for plan in week() for job in plan.jobs):
        assert strict_spec(job.model_dump()) == job
        assert strict_spec(job.model_dump()).canonical_json() == job.canonical_json()


def test_every_shipped_job_names_where_its_input_comes_from(tmp_path) -> None:
    """With exports and nothing else on disk, each job must find features in its needs."""
    for horizon in HORIZONS:
        (tmp_path / f"production_training_data_{horizon}.parquet").touch()
    for together in SHIPPED:
        assert read_plans(together, profile=M4, exports_dir=tmp_path, processed_dir=tmp_path)


def test_every_model_appears_in_a_shipped_plan() -> None:
    """A model that no plan shows is one that nobody finds."""
    plans = [plan for together in SHIPPED for plan in read_plans(together, profile=M4)]
    assert {job.model for plan in plans for job in plan.jobs} == set(MODELS) - NOT_PLANNED


def test_the_quickstart_stands_alone_outside_the_week_and_shows_every_family_but_the_large_nets() -> None:
    (plan,) = read_plans([SCHEDULES / "quickstart.yaml"], profile=M4)
    assert plan.day == 0
    assert 10 <= len(plan.jobs) <= 12
    assert {job.family for job in plan.jobs} == set(Family) - NOT_IN_QUICKSTART
    assert {job.horizon for job in plan.jobs} == {"1w", "1m"}


def test_file_names_say_their_day() -> None:
    assert [(plan.source.rpartition("/")[2], plan.day) for plan in week()] == [
        (f"day{plan.day}.yaml", plan.day) for plan in week()
    ]


def test_the_days_hold_the_planned_trees_statistical_models_and_nets() -> None:
    jobs = [job for plan in week() for job in plan.jobs]
    counts = budget.tally((job.day, job.family, job.model, job.horizon, JobState.QUEUED) for job in jobs)
    by_row = Counter({row.family: row.counts.queued for row in budget.progress(counts).rows})
    assert (by_row["trees"], by_row["statistical"]) == (15, 10)
    assert (by_row["simple_neural"], by_row["advanced_neural"]) == (15, 8)
    for horizon in HORIZONS:
        of_horizon = Counter(job.model for job in jobs if job.horizon == horizon)
        assert (of_horizon["lightgbm_dart"], of_horizon["xgboost_dart"], of_horizon["feature_cache"]) == (2, 1, 1)
        assert all(of_horizon[model] == 1 for model in (*BARS, "auto_arima", "ets", "feed_forward", "lstm", "gru"))


def test_features_run_before_anything_else_on_day_one() -> None:
    order = execution_order([job for plan in week() for job in plan.jobs])
    assert [job.family for job in order[:5]] == ["features"] * 5
    assert {job.model for job in order[5:20]} == set(BARS)
