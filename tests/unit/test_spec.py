"""A job's spec: validated, complete, and equal exactly when its content is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cbi_queue.identity import MAX_TIMEOUT_S, identity_of
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.plan.document import JobEntry
from cbi_queue.spec import DayPlan, JobSpec

BASE = {"day": 1, "name": "a", "family": "trees", "model": "lightgbm_dart", "horizon": "1w"}


def spec(**changes: object) -> JobSpec:
    """A LightGBM job with *changes*."""
    return JobSpec.model_validate({**BASE, **changes})


def test_every_default_is_filled_in() -> None:
    """What runs must not depend on which version of the defaults is installed when it runs."""
    assert spec().params == MODELS["lightgbm_dart"].params().model_dump(mode="json")
    assert spec().backend == "native"


def test_a_default_written_out_is_the_same_job() -> None:
    assert spec().canonical_json() == spec(params={"num_leaves": 31}, backend="native").canonical_json()


@pytest.mark.parametrize(
    "change",
    [{"day": 2}, {"name": "b"}, {"horizon": "1m"}, {"params": {"seed": 1}}, {"needs": ["f"]}, {"priority": 1}, {"retries": 2}, {"timeout_s": 9}],
)  # fmt: skip
def test_any_change_of_content_is_another_job(change: dict[str, object]) -> None:
    assert identity_of(spec(**change).canonical_json()) != identity_of(spec().canonical_json())


def test_a_job_without_a_quarantine_is_the_job_that_it_was_before_there_was_one() -> None:
    assert "quarantine" not in spec().canonical_json()
    assert spec(params={"quarantine_psi": None}).canonical_json() == spec().canonical_json()
    assert spec(params={"quarantine_psi": 0.25}).canonical_json() != spec().canonical_json()


def test_the_canonical_text_reads_back_to_the_same_spec() -> None:
    job = spec(params={"learning_rate": 0.1}, needs=["f"], timeout_s=60)
    again = JobSpec.model_validate_json(job.canonical_json())
    assert again == job
    assert again.canonical_json() == job.canonical_json()
    assert " " not in job.canonical_json(), "sorted keys, no spaces: the hash must not depend on layout"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../a"}, {"name": ""}, {"name": "a b"}, {"name": "A"}, {"name": "a" * 81}, {"name": "a\n"}, {"horizon": "2w"},
        {"family": "oaks"}, {"model": "ets"}, {"model": "nothing"}, {"backend": "torch"}, {"day": -1}, {"day": 367},
        {"priority": 1001}, {"retries": 21}, {"timeout_s": 0}, {"timeout_s": 15 * 86400}, {"timeout_s": float("nan")},
        {"needs": ["../b"]}, {"params": {"num_leaves": 1}}, {"params": {"seeds": 1}}, {"params": {"subsample": float("inf")}},
        {"colour": "red"},
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        spec(**change)


def test_a_bad_parameter_is_located_below_params() -> None:
    with pytest.raises(ValidationError) as caught:
        spec(params={"num_leaves": 1})
    assert caught.value.errors()[0]["loc"] == ("params", "num_leaves")


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        spec().name = "b"  # type: ignore[misc]


def test_typed_params_are_the_model_s_own_class() -> None:
    assert isinstance(spec().typed_params, MODELS["lightgbm_dart"].params)


def test_a_day_plan_keeps_its_order_and_refuses_unknown_keys() -> None:
    plan = DayPlan(day=1, source="x.yaml", jobs=(spec(), spec(name="b")))
    assert [job.name for job in plan.jobs] == ["a", "b"]
    with pytest.raises(ValidationError):
        DayPlan.model_validate({"day": 1, "source": "x", "jobs": [], "extra": 1})


def test_the_plan_file_allows_exactly_the_ranges_of_the_spec() -> None:
    """Two places state them, because the file's models also make the schema for editors."""
    written, meant = JobEntry.model_json_schema()["properties"], JobSpec.model_json_schema()["properties"]
    for key in ("priority", "retries"):
        assert {k: v for k, v in written[key].items() if k != "description"} == meant[key]
    assert meant["timeout_s"]["anyOf"][0]["maximum"] == MAX_TIMEOUT_S


@given(model=st.sampled_from(sorted(MODELS)), horizon=st.sampled_from(HORIZONS), day=st.integers(0, 366))
def test_every_model_makes_a_spec_that_survives_json(model: str, horizon: str, day: int) -> None:
    job = JobSpec.model_validate(
        {"day": day, "name": "a", "family": MODELS[model].family, "model": model, "horizon": horizon}
    )
    assert JobSpec.model_validate(json.loads(job.canonical_json())) == job


@pytest.mark.parametrize("model", sorted(MODELS))
def test_the_canonical_text_is_the_whole_spec(model: str) -> None:
    """It is written without pydantic's dump, which copies every value: the text, and so the identity, must be the same."""
    job = spec(
        family=MODELS[model].family, model=model, needs=["f", "g"], timeout_s=90, snapshot="0" * 64, dataset="own",
        after=["h"], combines=["7.1"],
    )  # fmt: skip
    body = job.model_dump(mode="json")
    for name in ("quarantine_psi", "project", "rank_by", "mlflow"):
        if not body["params"].get(name, 1):
            del body["params"][name]
    assert job.canonical_json() == json.dumps(body, sort_keys=True, separators=(",", ":"))
