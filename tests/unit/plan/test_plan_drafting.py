"""Keys, parameters and defaults of a plan: what is accepted, and how a complaint reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.plan_files import accept, jobs, refuse

if TYPE_CHECKING:
    from pathlib import Path

JOB = "day: 0\njobs:\n- {{name: a, family: trees, model: lightgbm_dart, horizon: 1w{}}}\n"


def one(text: str = "") -> str:
    """A plan of one LightGBM job with *text* among its keys."""
    return JOB.format(f", {text}" if text else "")


def test_a_job_takes_the_catalogue_s_defaults(tmp_path: Path) -> None:
    job = jobs(tmp_path, one("params: {num_leaves: 63}"))["a"]
    assert (job.backend, job.priority, job.retries, job.timeout_s, job.needs) == ("native", 0, 1, None, ())
    assert (job.params["num_leaves"], job.params["max_depth"]) == (63, 6)


def test_the_model_may_be_left_out_when_the_family_has_one(tmp_path: Path) -> None:
    read = jobs(tmp_path, "day: 0\njobs:\n- {name: f, family: features, horizon: 1w}\n")
    assert read["f"].model == "feature_cache"


def test_a_family_of_several_models_asks_which(tmp_path: Path) -> None:
    assert refuse(tmp_path, "day: 0\njobs:\n- {name: a, family: trees, horizon: 1w}\n") == [
        "plan.yaml:3: jobs[0]: 'model' is missing; family trees has several: lightgbm_dart, xgboost_dart"
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("params: {num_leave: 31}", "params.num_leave: unknown parameter 'num_leave' (did you mean 'num_leaves'?); allowed: "),
        ("params: {num_leaves: 1}", "params.num_leaves: 1 is not allowed; allowed: a whole number from 2 to 4096"),
        ("params: {num_leaves: 31.0}", "params.num_leaves: 31.0 is not allowed; allowed: a whole number from 2 to 4096"),
        ("params: {num_leaves: '31'}", "params.num_leaves: '31' is not allowed; allowed: a whole number"),
        ("params: {seed: true}", "params.seed: true is not allowed; allowed: a whole number from 0 to 2147483647"),
        ("params: {seed: yes}", "params.seed: 'yes' is not allowed; allowed: a whole number"),
        ("params: {seed: off}", "params.seed: 'off' is not allowed; allowed: a whole number"),
        ("params: {seed: 2024-01-01}", "params.seed: '2024-01-01' is not allowed; allowed: a whole number"),
        ("params: {seed: 010}", "params.seed: '010' is not allowed; allowed: a whole number"),
        ("params: {seed: 99999999999999999999}", "params.seed: 99999999999999999999 is not allowed; allowed: a whole"),
        ("params: {subsample: .nan}", "params.subsample: nan is not allowed; allowed: a number above 0 and at most 1"),
        ("params: {subsample: .inf}", "params.subsample: inf is not allowed; allowed: a number above 0 and at most 1"),
        ("params: {subsample: 1e999}", "params.subsample: inf is not allowed; allowed: a number above 0 and at most 1"),
        ("params: {subsample: 0}", "params.subsample: 0 is not allowed; allowed: a number above 0 and at most 1"),
        ("params: {early_stopping_rounds: 0}", "params.early_stopping_rounds: 0 is not allowed; allowed: a whole number from 1 to 20000 or null"),
        ("params: [1]", "params: the list [1] is not allowed; allowed: a mapping"),
        ("param: {}", "param: unknown key 'param' (did you mean 'params'?); allowed: name, family, "),
        ("params: {n_trials: 9}", "params.n_trials: unknown parameter 'n_trials' (did you mean 'search_trials'?); allowed: "),
        ("priority: high", "priority: 'high' is not allowed; allowed: a whole number from -1000 to 1000"),
        ("retries: -1", "retries: -1 is not allowed; allowed: a whole number from 0 to 20"),
        ("retries: true", "retries: true is not allowed; allowed: a whole number from 0 to 20"),
        ("needs: b", "needs: 'b' is not allowed; allowed: a list of 0 to 50 entries, each text"),
        ("needs: [1]", "needs[0]: 1 is not allowed; allowed: text"),
        ("timeout: 20d", "timeout: '20d' is not allowed; allowed: seconds, or text like 90s, 10m, 2h, 1d; "),
        ("timeout: 0", "timeout: 0 is not allowed; allowed: seconds, or text like"),
        ("timeout: soon", "timeout: 'soon' is not allowed; allowed: seconds, or text like"),
        ("timeout: .inf", "timeout: inf is not allowed; allowed: seconds, or text like"),
        ("timeout: 1:30", "timeout: '1:30' is not allowed; allowed: seconds, or text like"),
        ("backend: nativ", "backend: unknown backend for lightgbm_dart: 'nativ' (did you mean 'native'?); allowed: native"),
        ("backend: torch", "backend: unknown backend for lightgbm_dart: 'torch'; allowed: native"),
    ],
)  # fmt: skip
def test_a_key_in_bad_shape_draws_one_complaint(tmp_path: Path, text: str, complaint: str) -> None:
    """Each names file, line and key, the value seen, and what is allowed."""
    found = refuse(tmp_path, one(text))
    assert len(found) == 1
    assert found[0].startswith(f"plan.yaml:3: jobs[0].{complaint}")


@pytest.mark.parametrize(
    ("job", "complaint"),
    [
        ("name: a, family: tree, horizon: 1w", "family: 'tree' is not allowed (did you mean 'trees'?); allowed: one of features, "),
        ("name: a, family: trees, model: lightgbm, horizon: 1w", "model: unknown model 'lightgbm' (did you mean 'lightgbm_dart'?); allowed: lightgbm_dart, xgboost_dart"),
        ("name: a, family: trees, model: ets, horizon: 1w", "model: 'ets' is of family statistical, not trees"),
        ("name: a, family: features, horizon: 2w", "horizon: '2w' is not allowed"),
        ("name: a, family: features, horizon: 1W", "horizon: '1W' is not allowed (did you mean '1w'?); allowed: "),
        ("name: a, family: features, horizon: 12", "horizon: 12 is not allowed; allowed: one of 1w, 1m, 3m, 6m, 12m"),
        ("name: ../../etc/passwd, family: features, horizon: 1w", "name: '../../etc/passwd' is not allowed; allowed: lower-case"),
        ("name: a/b, family: features, horizon: 1w", "name: 'a/b' is not allowed"),
        ("name: .hidden, family: features, horizon: 1w", "name: '.hidden' is not allowed"),
        ("name: Upper, family: features, horizon: 1w", "name: 'Upper' is not allowed"),
        (f"name: {'a' * 81}, family: features, horizon: 1w", "name: 'aaa"),
        ("name: '{0.__class__}', family: features, horizon: 1w", "name: unknown placeholder '0.__class__'; allowed: horizon, model"),
        ("name: 'a-{horizn}', family: features, horizon: 1w", "name: unknown placeholder 'horizn' (did you mean 'horizon'?)"),
        ("name: a, family: features, horizon: 1w, params: {date_column: ../x}", "params.date_column: '../x' is not allowed; allowed: text like ^[A-Za-z_]"),
        ("name: a, family: features, horizon: 1w, params: {price_column: 'p; drop'}", "params.price_column: 'p; drop' is not allowed"),
        ("name: a, family: features, horizon: 1w, params: {lags: []}", "params.lags: a list of 0 entries is not allowed; allowed: a list of 1 to 32 entries, each a whole number from 1 to 504"),
        ("name: a, family: features, horizon: 1w, params: {lags: [1, 0]}", "params.lags[1]: 0 is not allowed; allowed: a whole number from 1 to 504"),
        ("name: a, family: features, horizon: 1w, needs: ['../b']", "needs[0]: '../b' is not allowed; allowed: lower-case"),
    ],
)  # fmt: skip
def test_names_models_and_columns_are_checked(tmp_path: Path, job: str, complaint: str) -> None:
    """Names become folders and columns reach SQL: neither may climb out or break in."""
    found = refuse(tmp_path, f"day: 0\njobs:\n- {{{job}}}\n")
    assert len(found) == 1
    assert found[0].startswith(f"plan.yaml:3: jobs[0].{complaint}")


@pytest.mark.parametrize(
    ("written", "belongs"),
    [
        ("horizon: 1w, early_stopping: 9", "; parameters of the model go below `params`"),
        ("horizon: [6m, 12m]", "; several go into the matrix, as in `matrix: {horizon: [A, B]}`"),
    ],
)
def test_what_stands_in_the_wrong_place_is_told_its_own(tmp_path: Path, written: str, belongs: str) -> None:
    (found,) = refuse(tmp_path, f"day: 0\njobs:\n- {{name: a, family: simple_neural, model: lstm, {written}}}\n")
    assert found.endswith(belongs)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("jobs: []", "plan.yaml:1: the key 'day' is missing; it takes a whole number from 0 to 366"),
        ("day: 1", "plan.yaml:1: the key 'jobs' is missing; it takes a list of 1 to 500 entries, each a mapping"),
        ("day: 1\njobs: []", "plan.yaml:2: jobs: a list of 0 entries is not allowed; allowed: a list of 1 to 500"),
        ("day: 1\njobs: {}", "plan.yaml:2: jobs: a mapping is not allowed; allowed: a list of 1 to 500 entries"),
        ("day: 1\njobs: [x]", "plan.yaml:2: jobs[0]: 'x' is not allowed; allowed: a mapping"),
        ("dya: 1\njobs: []", "plan.yaml:1: dya: unknown key 'dya' (did you mean 'day'?); allowed: day, title, dataset, evaluation, defaults, jobs"),
        ("day: 400\njobs: []", "plan.yaml:1: day: 400 is not allowed; allowed: a whole number from 0 to 366"),
        ("day: on\njobs: []", "plan.yaml:1: day: 'on' is not allowed; allowed: a whole number from 0 to 366"),
        ("day: 1\ndefaults: {name: x}\njobs: []", "plan.yaml:2: defaults.name: unknown key 'name'; allowed: retries, timeout"),
        ("day: 1\njobs:\n- {}", "plan.yaml:3: jobs[0]: the key 'name' is missing; it takes text"),
        ("day: 1\njobs:\n- {name: a, horizon: 1w}", "plan.yaml:3: jobs[0]: the key 'family' is missing; it takes one of features, "),
        ("day: 1\njobs:\n- {name: a, family: features}", "plan.yaml:3: jobs[0]: 'horizon' is missing, here or in the matrix; allowed: one of 1w"),
    ],
)  # fmt: skip
def test_the_file_s_own_keys_are_checked(tmp_path: Path, text: str, complaint: str) -> None:
    assert any(found.startswith(complaint) for found in refuse(tmp_path, text))


def test_every_complaint_of_every_file_comes_in_one_run(tmp_path: Path) -> None:
    """Mending a plan one complaint a run takes a morning."""
    # Given two files with five mistakes of five kinds, the second also broken as a whole
    first = """\
        day: 1
        titel: x
        defaults: {retries: many}
        jobs:
        - name: F
          family: features
          horizon: 1w
        - name: t
          family: trees
          model: lightgbm_dart
          horizon: 1x
          params: {num_leaves: 1, sed: 3}
        """
    # When they are read
    found = refuse(tmp_path, first, "day: 2\njobs: [a\n")
    # Then all are named, file by file, top to bottom
    places = [text.split(": ")[0] + " " + text.split(": ")[1] for text in found]
    assert places == [
        "plan.yaml:2 titel",
        "plan.yaml:3 defaults.retries",
        "plan.yaml:5 jobs[0].name",
        "plan.yaml:11 jobs[1].horizon",
        "plan.yaml:12 jobs[1].params.num_leaves",
        "plan.yaml:12 jobs[1].params.sed",
        "plan1.yaml:3 column 1",
    ]


def test_a_broken_parameter_does_not_hide_another_one_s_ceiling(tmp_path: Path) -> None:
    text = "day: 0\njobs:\n- {name: n, family: simple_neural, model: feed_forward, horizon: 1w, params: {hidden: [], batch_size: 65}}\n"
    found = refuse(tmp_path, text)
    assert len(found) == 2
    assert any("params.batch_size: 65 is above the ceiling" in text for text in found)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1.5h", 5400), ("null", None)],
)
def test_a_timeout_is_seconds_or_text_with_a_unit(tmp_path: Path, written: str, seconds: float | None) -> None:
    assert jobs(tmp_path, one(f"timeout: {written}"))["a"].timeout_s == seconds


def test_defaults_fill_in_what_a_job_leaves_out(tmp_path: Path) -> None:
    text = """\
        day: 0
        defaults: {retries: 3, timeout: 10m, priority: 5, params: {seed: 7, num_leaves: 15}}
        jobs:
        - {name: a, family: trees, model: lightgbm_dart, horizon: 1w}
        - {name: b, family: trees, model: lightgbm_dart, horizon: 1w, retries: 0, timeout: null, priority: 1, params: {seed: 1}}
        - {name: c, family: statistical, model: naive, horizon: 1w}
        """
    read = jobs(tmp_path, text)
    a, b, c = read["a"], read["b"], read["c"]
    assert (a.retries, a.timeout_s, a.priority, a.params["seed"], a.params["num_leaves"]) == (3, 600, 5, 7, 15)
    assert (b.retries, b.timeout_s, b.priority, b.params["seed"]) == (0, None, 1, 1)
    assert c.params["seed"] == 7, "a default parameter reaches every model that knows it"
    assert "num_leaves" not in c.params, "and no other"


def test_a_default_backend_reaches_the_models_it_can_train(tmp_path: Path) -> None:
    text = """\
        day: 0
        defaults: {backend: torch}
        jobs:
        - {name: n, family: simple_neural, model: lstm, horizon: 1w}
        - {name: f, family: features, horizon: 1w}
        """
    read = jobs(tmp_path, text)
    assert (read["n"].backend, read["f"].backend) == ("torch", "native")


def test_a_default_that_no_job_can_take_is_a_misspelling(tmp_path: Path) -> None:
    text = (
        "day: 0\ndefaults:\n  backend: torch\n  params: {lag: [1]}\njobs:\n- {name: f, family: features, horizon: 1w}\n"
    )
    assert refuse(tmp_path, text) == [
        "plan.yaml:3: defaults.backend: no job of this plan runs on the backend 'torch'; allowed: native",
        "plan.yaml:4: defaults.params.lag: no job of this plan has a parameter 'lag' (did you mean 'lags'?)",
    ]


def test_a_bad_default_is_blamed_once_and_where_it_stands(tmp_path: Path) -> None:
    text = """\
        day: 0
        defaults: {timeout: never, params: {seed: -1}}
        jobs:
        - {name: a, family: statistical, model: naive, horizon: 1w}
        - {name: b, family: statistical, model: naive, horizon: 1m}
        """
    found = refuse(tmp_path, text)
    assert [text.partition(" is not")[0] for text in found] == [
        "plan.yaml:2: defaults.params.seed: -1",
        "plan.yaml:2: defaults.timeout: 'never'",
    ]


def test_a_file_given_twice_is_one_complaint(tmp_path: Path) -> None:
    from support.plan_files import M4, write

    from cbi_queue.errors import PlanError
    from cbi_queue.plan import read_plans

    path = write(tmp_path, one())
    with pytest.raises(PlanError) as caught:
        read_plans([path, path], profile=M4)
    assert caught.value.complaints == (f"{path}: this file is given twice",)


def test_reading_the_same_file_twice_gives_equal_plans(tmp_path: Path) -> None:
    """A job's identity is its content: enqueueing the same plan again must change nothing."""
    assert accept(tmp_path, one()) == accept(tmp_path, one())
