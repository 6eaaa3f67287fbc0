"""The week's budget: what counts, where it stands, when it is overrun."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cbi_queue import budget
from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import BARS, HORIZONS


def row(progress: budget.BudgetProgress, family: str) -> budget.RowProgress:
    """The row of *family*."""
    return next(row for row in progress.rows if row.family == family)


def test_the_plan_adds_to_65_within_60_to_70_and_the_rows_do_not_contradict_it() -> None:
    """The user's rows add to more than the total allows, so both are held."""
    assert sum(row.planned for row in budget.ROWS) == budget.TOTAL.planned == 65
    assert (budget.TOTAL.minimum, budget.TOTAL.maximum) == (60, 70)
    assert all(row.minimum <= row.planned <= row.maximum for row in budget.ROWS)
    assert {row.family: (row.minimum, row.planned, row.maximum) for row in budget.ROWS} == {
        "trees": (15, 15, 20), "statistical": (10, 10, 12), "simple_neural": (15, 15, 18), "advanced_neural": (8, 8, 10),
        "volatility": (3, 3, 4), "regime_classifier": (1, 1, 1), "regime_specific": (8, 8, 10), "meta": (5, 5, 5),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("family", "model", "counts"),
    [("trees", "lightgbm_dart", True), ("statistical", "ets", True), ("features", "feature_cache", False)]
    + [("statistical", bar, False) for bar in BARS],
)
def test_caches_and_bars_are_no_models(family: str, model: str, counts: bool) -> None:
    assert budget.counts_as_model(family, model) is counts


@pytest.mark.parametrize(
    ("state", "group"),
    [
        ("succeeded", "done"), ("running", "running"), ("paused", "running"), ("queued", "queued"), ("waiting", "queued"),
        ("held", "queued"), ("failed", "failed"), ("vetoed", "failed"), ("cancelled", None),
    ],
)  # fmt: skip
def test_every_state_counts_somewhere_but_cancelled(state: str, group: str | None) -> None:
    """A vetoed model was trained, but nobody may use it: it is not done."""
    counts = row(budget.progress({("trees", "1w", JobState(state)): 2}), "trees").counts
    assert asdict(counts) == {
        **dict.fromkeys(("done", "running", "queued", "failed"), 0),
        **({group: 2} if group else {}),
    }


def test_every_state_of_the_lifecycle_is_covered() -> None:
    """A new state that counts nowhere would make models vanish from the budget."""
    assert {*budget._GROUP_OF, JobState.CANCELLED} == set(JobState)


def test_jobs_are_tallied_by_family_horizon_and_state() -> None:
    jobs = [
        (1, "trees", "lightgbm_dart", "1w", JobState.QUEUED),
        (1, "trees", "xgboost_dart", "1w", JobState.QUEUED),
        (1, "statistical", "naive", "1w", JobState.SUCCEEDED),
        (1, "features", "feature_cache", "1w", JobState.SUCCEEDED),
        (0, "trees", "lightgbm_dart", "1w", JobState.SUCCEEDED),
    ]
    assert budget.tally(jobs) == {("trees", "1w", JobState.QUEUED): 2}


def test_a_row_says_what_remains_and_what_nobody_has_planned_yet() -> None:
    progress = budget.progress(
        {
            ("trees", "1w", JobState.SUCCEEDED): 4,
            ("trees", "1m", JobState.RUNNING): 1,
            ("trees", "1m", JobState.QUEUED): 3,
        }
    )
    trees = row(progress, "trees")
    assert (trees.remaining, trees.unscheduled, trees.at_risk) == (11, 7, 0)
    assert trees.by_horizon["1w"].done == 4
    assert list(trees.by_horizon) == list(HORIZONS)
    assert (progress.total.counts.done, progress.total.remaining) == (4, 61)
    assert progress.total.by_horizon["1m"].alive == 4


@pytest.mark.parametrize(("done", "failed", "at_risk"), [(15, 3, 0), (14, 3, 1), (12, 2, 2), (0, 0, 0), (15, 0, 0)])
def test_failures_are_a_risk_once_the_minimum_needs_them(done: int, failed: int, at_risk: int) -> None:
    counts = {("trees", "1w", JobState.SUCCEEDED): done, ("trees", "1w", JobState.FAILED): failed}
    assert row(budget.progress(counts), "trees").at_risk == at_risk


def test_progress_is_plain_enough_for_json() -> None:
    text = json.dumps(asdict(budget.progress({("meta", "12m", JobState.SUCCEEDED): 1})))
    assert json.loads(text)["rows"][-1]["by_horizon"]["12m"]["done"] == 1


def test_the_first_model_too_many_is_found() -> None:
    families = ["meta"] * 3 + ["trees"] + ["meta"] * 3
    assert budget.first_over(families) == [
        (6, "the week's budget is 5 meta-learners models; these plans hold 6; this is the first one too many")
    ]


def test_the_total_is_a_limit_of_its_own() -> None:
    """Every row can be within its range and the week still too long."""
    families = [row.family for row in budget.ROWS for _ in range(row.maximum)]
    assert len(families) == 80
    assert [place for place, _ in budget.first_over(families)] == [70]


def test_shortfalls_name_each_row_and_the_total_last() -> None:
    families = [row.family for row in budget.ROWS for _ in range(row.planned)]
    assert budget.shortfalls(families) == []
    short = budget.shortfalls(families[1:])
    assert [(row.family, count) for row, count in short] == [("trees", 14)]
    assert budget.shortfalls([])[-1] == (budget.TOTAL, 0)


def test_the_week_is_days_one_to_seven() -> None:
    assert [day for day in range(10) if budget.is_in_week(day)] == [1, 2, 3, 4, 5, 6, 7]
    assert not budget.is_in_week(None)
    assert budget.is_whole_week({0, 1, 2, 3, 4, 5, 6, 7})
    assert not budget.is_whole_week({1, 2, 3, 4, 5, 6})


@given(
    st.dictionaries(
        st.tuples(
            st.sampled_from([row.family for row in budget.ROWS] + ["features"]),
            st.sampled_from(HORIZONS),
            st.sampled_from(sorted(set(JobState) - {JobState.CANCELLED})),
        ),
        st.integers(0, 40),
    )
)
def test_no_model_is_lost_between_rows_horizons_and_total(counts: dict[tuple[str, str, JobState], int]) -> None:
    progress = budget.progress(counts)
    expected = sum(count for (family, _, _), count in counts.items() if family != "features")
    for standings in (
        [row.counts for row in progress.rows],
        [standing for row in progress.rows for standing in row.by_horizon.values()],
        list(progress.total.by_horizon.values()),
        [progress.total.counts],
    ):
        assert sum(standing.alive + standing.failed for standing in standings) == expected
