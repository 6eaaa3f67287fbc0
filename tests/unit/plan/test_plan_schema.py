"""The JSON Schema for editors: current, and of one mind with the check."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from support.plan_files import M4, SCHEDULES, write

import cbi_queue
from cbi_queue.errors import PlanError
from cbi_queue.models.catalogue import MODELS
from cbi_queue.plan import read_plans
from cbi_queue.plan.complaints import Complaints
from cbi_queue.plan.document import Defaults, JobEntry, PlanFile
from cbi_queue.plan.schema import plan_schema
from cbi_queue.plan.yaml_source import read_source

COMMITTED = Path(cbi_queue.__file__).parent / "day-plan.schema.json"
SHIPPED = sorted(SCHEDULES.glob("*.yaml"))


def complaints_of_schema(path: Path) -> list[str]:
    """What an editor would underline."""
    source = read_source(path, Complaints())
    assert source is not None
    validator = jsonschema.Draft202012Validator(plan_schema())
    return [error.message for error in validator.iter_errors(source.data)]


def test_the_committed_schema_is_current() -> None:
    """Run `cbi-queue plan schema > cbi_queue/day-plan.schema.json` when this fails."""
    assert json.loads(COMMITTED.read_text(encoding="utf-8")) == plan_schema()


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(plan_schema())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_plans_satisfy_the_schema_and_point_at_it(path: Path) -> None:
    assert complaints_of_schema(path) == []
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../cbi_queue/day-plan.schema.json"
    assert (path.parent / first.partition("=")[2]).resolve() == COMMITTED.resolve()


@pytest.mark.parametrize("model", MODELS)
def test_every_model_s_defaults_satisfy_the_schema(model: str) -> None:
    entry = MODELS[model]
    job = {
        "name": "a",
        "family": entry.family.value,
        "model": model,
        "horizon": "1w",
        "params": entry.params().model_dump(mode="json"),
    }
    jsonschema.validate({"day": 1, "jobs": [job]}, plan_schema())


BASE = "day: 0\njobs:\n- {{name: a, family: trees, model: lightgbm_dart, {}}}\n"


@pytest.mark.parametrize(
    "keys",
    [
        "horizon: 1x", "horizon: 1w, colour: red", "horizon: 1w, params: {num_leaves: 1}", "horizon: 1w, params: {num_leave: 31}",
        "horizon: 1w, params: {seed: 1.5}", "horizon: 1w, priority: 2000", "horizon: 1w, timeout: soon", "horizon: 1w, timeout: -1",
        "horizon: 1w, backend: torch", "horizon: 1w, needs: f", "matrix: {horizon: []}", "matrix: {horizon: [2w]}",
        "matrix: {horizon: [1w], leaves: [1]}", "matrix: {horizon: [1w], params.num_leaves: [1]}", "retries: 1",
    ],
)  # fmt: skip
def test_what_the_schema_underlines_the_check_refuses_too(tmp_path: Path, keys: str) -> None:
    """An editor that shows green for a plan that is refused helps nobody, nor the other way round."""
    path = write(tmp_path, BASE.format(keys))
    assert complaints_of_schema(path)
    with pytest.raises(PlanError):
        read_plans([path], profile=M4)


@pytest.mark.parametrize(
    "job",
    [
        "{name: a, family: trees, horizon: 1w}",
        "{name: a, family: trees, model: ets, horizon: 1w}",
        "{name: a, family: features, horizon: 1w, params: {lag: [1]}}",
        "{name: a, family: simple_neural, horizon: 1w, params: {hidden: []}}",
        "{family: features, horizon: 1w}",
    ],
)
def test_family_and_model_belong_together_in_the_schema(tmp_path: Path, job: str) -> None:
    path = write(tmp_path, f"day: 0\njobs:\n- {job}\n")
    assert complaints_of_schema(path)
    with pytest.raises(PlanError):
        read_plans([path], profile=M4)


@pytest.mark.parametrize(
    "keys",
    ["horizon: 1w, timeout: 90", "horizon: 1w, timeout: 1.5h", "horizon: 1w, timeout: null", "matrix: {horizon: [1w], params.seed: [1, 2]}",
     "horizon: 1w, params: {early_stopping_rounds: null, learning_rate: 1e-2}"],
)  # fmt: skip
def test_what_the_schema_passes_the_check_accepts_too(tmp_path: Path, keys: str) -> None:
    path = write(tmp_path, BASE.format(keys))
    assert complaints_of_schema(path) == []
    assert read_plans([path], profile=M4)


def test_every_key_of_a_plan_is_described() -> None:
    """The sentence is what an editor shows on hover."""
    definitions = plan_schema()["$defs"]
    for properties in (
        plan_schema()["properties"],
        definitions["JobEntry"]["properties"],
        definitions["Defaults"]["properties"],
    ):
        assert all(value.get("description") for value in properties.values())
    assert set(definitions["JobEntry"]["properties"]) == set(JobEntry.model_fields)
    assert set(definitions["Defaults"]["properties"]) == set(Defaults.model_fields)
    assert set(plan_schema()["properties"]) == set(PlanFile.model_fields)


def test_docstrings_of_inherited_parameters_are_found() -> None:
    parameters = plan_schema()["$defs"]["LightGBMDartParams"]["properties"]
    assert parameters["validation_rows"]["description"] == "Trading days of the validation block, which selects."
    assert "refuses early stopping" in parameters["early_stopping_rounds"]["description"]


def test_a_plain_yaml_reader_sees_the_same_shipped_plans() -> None:
    """Our stricter reading must not mean something else than everybody's."""
    for path in SHIPPED:
        source = read_source(path, Complaints())
        assert source is not None
        assert source.data == yaml.safe_load(path.read_text(encoding="utf-8"))
