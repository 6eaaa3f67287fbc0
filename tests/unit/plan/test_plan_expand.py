"""Matrices and placeholders: one written job becomes the jobs that were meant, in the order written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.call_counting import calls_of
from support.plan_files import jobs, refuse

from cbi_queue.plan.expand import filled, name_safe

if TYPE_CHECKING:
    from pathlib import Path


def plan(job: str, *more: str) -> str:
    """A plan of LightGBM jobs with the keys given in flow style."""
    lines = "".join(f"- {{family: trees, model: lightgbm_dart, {text}}}\n" for text in (job, *more))
    return f"day: 0\njobs:\n{lines}"


def test_a_matrix_makes_one_job_a_combination_in_written_order(tmp_path: Path) -> None:
    text = plan("name: 'l-{horizon}-{num_leaves}', matrix: {horizon: [1m, 1w], params.num_leaves: [63, 31]}")
    read = jobs(tmp_path, text)
    assert list(read) == ["l-1m-63", "l-1m-31", "l-1w-63", "l-1w-31"], "the last key changes fastest"
    assert [(job.horizon, job.params["num_leaves"]) for job in read.values()] == [
        ("1m", 63), ("1m", 31), ("1w", 63), ("1w", 31)
    ]  # fmt: skip


def test_a_matrix_over_models_gives_each_its_own_parameters(tmp_path: Path) -> None:
    text = "day: 0\njobs:\n- {name: 'x-{model}', family: statistical, horizon: 1w, matrix: {model: [naive, ets]}}\n"
    read = jobs(tmp_path, text)
    assert [(name, job.model) for name, job in read.items()] == [("x-naive", "naive"), ("x-ets", "ets")]
    assert "history_rows" in read["x-ets"].params
    assert "history_rows" not in read["x-naive"].params


def test_a_name_without_placeholders_ends_in_the_values(tmp_path: Path) -> None:
    text = plan("name: l, matrix: {horizon: [1w], params.num_leaves: [31], params.learning_rate: [0.05]}")
    assert list(jobs(tmp_path, text)) == ["l-1w-31-0.05"]


def test_a_value_that_the_name_leaves_out_is_appended(tmp_path: Path) -> None:
    """Otherwise its combinations would share a name."""
    text = plan("name: 'l{horizon}', matrix: {horizon: [1w], params.num_leaves: [31, 63]}")
    assert list(jobs(tmp_path, text)) == ["l1w-31", "l1w-63"]


def test_placeholders_in_needs_follow_the_combination(tmp_path: Path) -> None:
    text = """\
        day: 0
        jobs:
        - {name: 'f-{horizon}', family: features, matrix: {horizon: [1w, 1m]}}
        - name: t-{horizon}
          family: trees
          model: lightgbm_dart
          needs: ['f-{horizon}']
          matrix: {horizon: [1w, 1m]}
        """
    read = jobs(tmp_path, text)
    assert (read["t-1w"].needs, read["t-1m"].needs) == (("f-1w",), ("f-1m",))


def test_a_placeholder_may_name_a_written_parameter_or_the_model(tmp_path: Path) -> None:
    assert list(jobs(tmp_path, plan("name: '{model}-{seed}', horizon: 1w, params: {seed: 5}"))) == ["lightgbm_dart-5"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (31, "31"),
        (0.05, "0.05"),
        (1e-05, "1e-05"),
        (True, "true"),
        (None, "none"),
        ([128, 64], "128x64"),
        ("A/b", "a-b"),
    ],
)
def test_values_become_safe_for_names(value: object, text: str) -> None:
    assert name_safe(value) == text


def test_a_placeholder_is_substituted_and_never_evaluated() -> None:
    """`str.format` would follow attributes into whatever the value is."""
    with pytest.raises(ValueError, match="unknown placeholder"):
        filled("{horizon.__class__}", {"horizon": "1w"})
    with pytest.raises(ValueError, match="unknown placeholder"):
        filled("{horizon!r}", {"horizon": "1w"})
    assert filled("{a}-{a}", {"a": "{b}"}) == "-b---b-", "what is filled in is not filled again"


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        ("{horizon: [1w, 1x]}", "jobs[0].matrix.horizon[1]: '1x' is not allowed; allowed: one of 1w, 1m, 3m, 6m, 12m"),
        ("{horizon: [1w, 1w]}", "jobs[0].matrix.horizon[1]: '1w' appears twice in this list"),
        ("{horizon: []}", "jobs[0].matrix.horizon: a list of 0 entries is not allowed; allowed: a list of at least 1"),
        ("{horizon: 1w}", "jobs[0].matrix.horizon: '1w' is not allowed; allowed: a list of at least 1"),
        ("{horizn: [1w]}", "jobs[0].matrix.horizn: unknown matrix key 'horizn' (did you mean 'horizon'?); allowed: horizon, model, dataset, params.NAME"),
        ("{num_leaves: [31], horizon: [1w]}", "jobs[0].matrix.num_leaves: unknown matrix key 'num_leaves'; allowed: horizon"),
        ("{horizon: [1w], params.num_leaves: [1]}", "jobs[0].matrix.params.num_leaves[0]: 1 is not allowed; allowed: a whole number from 2 to 4096"),
        ("{horizon: [1w], params.num_leave: [31]}", "jobs[0].matrix.params.num_leave[0]: unknown parameter 'num_leave' (did you mean 'num_leaves'?)"),
        ("{horizon: [1w], model: [xgboost_dart]}", "jobs[0].matrix.model: 'model' is given twice: here and in the job itself; keep one"),
        ("[1w]", 'jobs[0].matrix: the list ["1w"] is not allowed; allowed: a mapping'),
    ],
)  # fmt: skip
def test_a_bad_matrix_is_blamed_at_the_entry(tmp_path: Path, matrix: str, complaint: str) -> None:
    assert any(
        text.startswith(f"plan.yaml:3: {complaint}") for text in refuse(tmp_path, plan(f"name: l, matrix: {matrix}"))
    )


def test_a_parameter_given_in_both_places_is_refused(tmp_path: Path) -> None:
    text = plan("name: l, horizon: 1w, params: {seed: 1}, matrix: {params.seed: [1, 2]}")
    assert refuse(tmp_path, text) == [
        "plan.yaml:3: jobs[0].matrix.params.seed: 'params.seed' is given twice: here and in the job itself; keep one"
    ]


def test_a_hundred_thousand_jobs_are_refused_with_their_count_before_one_is_made(tmp_path: Path) -> None:
    axes = ", ".join(
        f"params.{name}: [{', '.join(map(str, range(2, 12)))}]"
        for name in ("seed", "num_leaves", "max_depth", "max_bin", "n_estimators")
    )
    assert refuse(tmp_path, plan(f"name: l, horizon: 1w, matrix: {{{axes}}}")) == [
        "plan.yaml:3: jobs[0].matrix: expands to 100000 jobs; a plan may hold 10000; shorten a list or split the plan"
    ]


def test_a_matrix_of_astronomical_size_is_no_more_work_than_it_is_to_read(tmp_path: Path) -> None:
    """Twice the values on each of seven axes are 128 times the jobs, and twice the work."""
    names = ("seed", "num_leaves", "max_depth", "max_bin", "n_estimators", "min_child_samples", "validation_rows")

    def refused(values: int) -> None:
        axes = ", ".join(f"params.{name}: [{', '.join(map(str, range(2, 2 + values)))}]" for name in names)
        (complaint,) = refuse(tmp_path, plan(f"name: l, horizon: 1w, matrix: {{{axes}}}"))
        assert f"expands to {values**7} jobs" in complaint

    assert calls_of(lambda: refused(200)) <= 2.1 * calls_of(lambda: refused(100))


def test_the_limit_counts_the_whole_plan(tmp_path: Path) -> None:
    seeds = ", ".join(map(str, range(6000)))
    text = plan(*(f"name: l{i}, horizon: 1w, matrix: {{params.seed: [{seeds}]}}" for i in range(2)))
    assert refuse(tmp_path, text) == [
        (
            "plan.yaml:4: jobs[1].matrix: expands to 6000 jobs in addition to 6000 before it; a plan may hold 10000; "
            "shorten a list or split the plan"
        )
    ]


def test_ten_thousand_jobs_are_allowed(tmp_path: Path) -> None:
    assert (
        len(
            jobs(
                tmp_path, plan(f"name: l, horizon: 1w, matrix: {{params.seed: [{', '.join(map(str, range(10_000)))}]}}")
            )
        )
        == 10_000
    )


def test_combinations_whose_names_collide_are_refused(tmp_path: Path) -> None:
    text = """\
        day: 0
        jobs:
        - {name: f, family: features, horizon: 1w, matrix: {params.price_column: [zl, ZL]}}
        """
    complaint = (
        "plan.yaml:3: jobs[0].name: two combinations of the matrix are both named 'f-zl'; put every matrix key into "
        "the name"
    )
    assert complaint in refuse(tmp_path, text)


def test_evaluation_is_for_every_model_of_the_plan_and_nearer_values_win(tmp_path: Path) -> None:
    text = (
        "day: 0\n"
        "evaluation: {scheme: walk_forward, windows: 4, refit_every_rows: 21}\n"
        "defaults: {params: {refit_every_rows: 42}}\n"
        "jobs:\n"
        "  - {name: features, family: features, horizon: 1w}\n"
        "  - {name: a, family: statistical, model: drift, horizon: 1w, needs: [features]}\n"
        "  - {name: b, family: statistical, model: naive, horizon: 1w, needs: [features], params: {backtest_rows: 60}}\n"
    )
    features, drift, naive = jobs(tmp_path, text).values()

    assert "scheme" not in features.params
    assert features.params["windows"] == [5, 10, 21, 63, 126], "of the rolling statistics: another thing"
    assert (drift.params["scheme"], drift.params["backtest_rows"], drift.params["refit_every_rows"]) == (
        "walk_forward",
        84,
        42,
    )
    assert naive.params["backtest_rows"] == 60


def test_a_wrong_value_or_key_of_evaluation_is_complained_about_on_its_line(tmp_path: Path) -> None:
    text = "day: 0\nevaluation:\n  scheme: walking\n  windos: 4\njobs:\n  - {name: a, family: statistical, model: drift, horizon: 1w}\n"
    assert refuse(tmp_path, text) == [
        "plan.yaml:3: evaluation.scheme: 'walking' is not allowed; allowed: one of holdout, walk_forward",
        "plan.yaml:4: evaluation.windos: no job of this plan has a parameter 'windos' (did you mean 'windows'?)",
    ]


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("windows: 1, refit_every_rows: 1", "1 windows of 1 trading days make a backtest of 1"),
        ("windows: 200", "200 windows of 63 trading days make a backtest of 12,600"),
    ],
)
def test_windows_that_make_no_allowed_backtest_are_told_as_they_were_written(
    tmp_path: Path, written: str, words: str
) -> None:
    text = (
        f"day: 0\nevaluation: {{{written}}}\njobs:\n  - {{name: a, family: statistical, model: drift, horizon: 1w}}\n"
    )
    assert refuse(tmp_path, text) == [
        f"plan.yaml:2: evaluation.windows: {words}; allowed: a whole number from 30 to 5000"
    ]


def test_windows_of_no_length_are_complained_about_once(tmp_path: Path) -> None:
    text = (
        "day: 0\nevaluation: {windows: 4, refit_every_rows: 0}\n"
        "jobs:\n  - {name: a, family: statistical, model: drift, horizon: 1w}\n"
    )
    (complaint,) = refuse(tmp_path, text)
    assert "refit_every_rows: 0 is not allowed" in complaint
