"""The plans that are shipped: correct, within budget, and what their comments promise."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.plan_files import M4, SCHEDULES

from cbi_queue import budget
from cbi_queue.cli.arguments import days_in
from cbi_queue.hardware import PROFILES
from cbi_queue.lifecycle import JobState
from cbi_queue.models.catalogue import MODELS, models_of
from cbi_queue.models.kinds import BARS, HORIZONS, REPORTING, Family
from cbi_queue.plan import execution_order, read_plans
from cbi_queue.plan.checks import SPLIT_KEYS
from cbi_queue.spec import strict_spec

if TYPE_CHECKING:
    from cbi_queue.spec import DayPlan, JobSpec

DAYS = days_in(SCHEDULES)
MINI_DAYS = days_in(SCHEDULES / "mini-week")
SHIPPED = (DAYS, MINI_DAYS, [SCHEDULES / "quickstart.yaml"])
"""What is enqueued together: the weeks have the same names, the quickstart builds the same feature caches."""

NOT_PLANNED = {"arima", "theta", "prophet", "gjr_garch", "finbert"}
"""The week's ten statistical models are two a horizon, its three of volatility one of each kind, and others are not among
them; FinBERT has a plan of its own."""
NOT_IN_QUICKSTART = {
    Family.ADVANCED_NEURAL, Family.VOLATILITY, Family.REGIME_CLASSIFIER, Family.REGIME_SPECIFIC,
    Family.META, Family.SENTIMENT, Family.SCRIPT, *REPORTING,
}  # fmt: skip


def week() -> list[DayPlan]:
    """Every shipped day, read together."""
    return read_plans(DAYS, profile=M4)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_shipped_plans_fit_every_machine(profile: object, tmp_path) -> None:
    assert [len(read_plans(together, profile=profile)) for together in SHIPPED] == [7, 7, 1]


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
    assert {job.model for plan in plans for job in plan.jobs} == set(MODELS) - {"command"} - NOT_PLANNED


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


def test_the_week_holds_exactly_what_the_budget_plans() -> None:
    jobs = [job for plan in week() for job in plan.jobs]
    counts = budget.tally((job.day, job.family, job.model, job.horizon, JobState.QUEUED) for job in jobs)
    progress = budget.progress(counts)
    assert [(row.family, row.counts.queued) for row in progress.rows] == [(r.family, r.planned) for r in budget.ROWS]
    assert progress.total.counts.queued == 65
    for horizon in HORIZONS:
        of_horizon = Counter(job.model for job in jobs if job.horizon == horizon)
        assert (of_horizon["lightgbm_dart"], of_horizon["xgboost_dart"], of_horizon["feature_cache"]) == (2, 1, 1)
        assert all(of_horizon[model] == 1 for model in (*BARS, "auto_arima", "ets", "feed_forward", "lstm", "gru"))
        assert all(of_horizon[model] == 1 for model in (*models_of("meta"), "vertex_package", "backtest"))


def test_features_run_before_anything_else_on_day_one() -> None:
    order = execution_order([job for plan in week() for job in plan.jobs])
    assert [job.family for job in order[:5]] == ["features"] * 5
    assert {job.model for job in order[5:20]} == set(BARS)


def test_each_horizon_s_trees_are_tuned_with_as_many_trials_as_the_user_wrote() -> None:
    trials = Counter[str]()
    for job in (job for plan in week() for job in plan.jobs):
        trials[job.horizon] += job.params.get("search_trials", 0)
    assert all(20 <= trials[horizon] <= 30 for horizon in HORIZONS)


def test_models_of_a_horizon_are_judged_on_the_same_rows_all_week() -> None:
    """An ensemble combines forecasts of the same rows, whatever the day of its members."""
    models = [job for plan in week() for job in plan.jobs if budget.counts_as_model(job.family, job.model)]
    assert {tuple(job.params[key] for key in SPLIT_KEYS) for job in models} == {("walk_forward", 504, 504, 21, 252)}


def test_an_ensemble_comes_after_every_model_of_the_price_of_its_horizon() -> None:
    """One that is missing from a list is left out in silence."""
    jobs = [job for plan in week() for job in plan.jobs]
    no_members = {Family.FEATURES, Family.VOLATILITY, Family.REGIME_CLASSIFIER, Family.META, *REPORTING}
    nets_of_one_regime = {"regime_lstm", "regime_gru"}
    for ensemble in (job for job in jobs if job.family == Family.META):
        members = {
            job.name
            for job in jobs
            if job.horizon == ensemble.horizon
            and job.family not in no_members
            and job.model not in {*BARS, *nets_of_one_regime}
        }
        assert set(ensemble.after) == members, ensemble.name


def test_regimes_come_after_their_classifier_and_exports_last() -> None:
    order = [job.model for job in execution_order([job for plan in week() for job in plan.jobs])]
    assert order.index("regime_lightgbm") < order.index("regime_lstm") < order.index("regime_mixture")
    assert order[-11:] == ["vertex_package"] * 5 + ["backtest"] * 5 + ["daily_forecast"]


def test_the_mini_week_is_the_week_with_other_parameters() -> None:
    """What `make week` shows of order, needs and failures holds for the real week."""
    pairs = list(zip(week(), read_plans(MINI_DAYS, profile=M4), strict=True))
    assert [mini.day for _, mini in pairs] == list(range(1, 8))
    for real, mini in pairs:
        assert [_but_its_size(job) for job in mini.jobs] == [_but_its_size(job) for job in real.jobs]


def _but_its_size(job: JobSpec) -> dict[str, object]:
    return {
        **job.model_dump(exclude={"params", "timeout_s"}),
        "regime": job.params.get("regime"),
        "scheme": job.params.get("scheme"),
        "searches": job.params.get("search_trials", 0) > 0,
    }


def test_a_job_of_the_mini_week_is_smaller() -> None:
    """At least a third of the week's epochs, rounds and trials are gone in every job that has some."""
    real = {job.name: job.params for plan in week() for job in plan.jobs}
    for job in (job for plan in read_plans(MINI_DAYS, profile=M4) for job in plan.jobs):
        for key in ("epochs", "n_estimators", "search_trials", "backtest_rows"):
            wanted = real[job.name].get(key, 0)
            assert job.params.get(key, 0) <= wanted * 2 / 3, (job.name, key)


def test_headlines_are_scored_by_a_plan_outside_the_week() -> None:
    """Who has none runs the week without it; who has some gives both, and features wait for no missing job."""
    text, *days = read_plans([SCHEDULES / "text.yaml", *DAYS], profile=M4)
    (job,) = text.jobs
    assert (text.day, job.model, len(days)) == (0, "finbert", 7)
    assert execution_order([*text.jobs, *days[0].jobs])[0] == job
