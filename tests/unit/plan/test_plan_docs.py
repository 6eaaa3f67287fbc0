"""`docs/day-plans.md` says everything, and says it as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.plan_files import M4

from cbi_queue import budget
from cbi_queue.errors import PlanError
from cbi_queue.hardware import PROFILES
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.models.parameters.common import EvaluationParams, ModelParams
from cbi_queue.models.parameters.meta import LearnedEnsembleParams
from cbi_queue.models.parameters.neural import NeuralParams, PriceNetParams
from cbi_queue.models.parameters.statistical import RollingFitParams, SeasonalFitParams
from cbi_queue.models.parameters.trees import BoostedParams
from cbi_queue.plan import read_plans
from cbi_queue.plan.document import Defaults, JobEntry, PlanFile
from cbi_queue.plan.expand import MAX_JOBS
from cbi_queue.plan.yaml_source import MAX_BYTES, MAX_DEPTH, MAX_NODES
from cbi_queue.values.words import words_for

TEXT = (Path(__file__).parents[3] / "docs" / "day-plans.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:yaml|text)\n(.*?)```", TEXT, flags=re.DOTALL)


def section(heading: str) -> str:
    """The text below the heading that starts so."""
    _, _, after = TEXT.partition(f"\n{heading}")
    return re.split(r"\n#{2,3} ", after)[0]


@pytest.mark.parametrize(("heading", "model"), [("## The file", PlanFile), ("## A job", JobEntry)])
def test_every_key_has_its_row(heading: str, model: type[PlanFile | JobEntry]) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section(heading), flags=re.MULTILINE)
    assert rows == list(model.model_fields)


def test_every_default_is_named() -> None:
    sentence = section("## A job")
    assert all(f"`{key}`" in sentence for key in Defaults.model_fields)


def parameter_rows(heading: str) -> list[str]:
    """The rows of the table in that section, without their last column."""
    return [row.rsplit(" | ", 1)[0] for row in section(heading).splitlines() if row.startswith("| `")]


def expected_rows(params: type, names: list[str]) -> list[str]:
    """The same rows from the catalogue: name, default, range."""
    properties = params.model_json_schema()["properties"]
    return [
        f"| `{name}` | `{json.dumps(properties[name]['default']).strip(chr(34))}` | {words_for(properties[name])}"
        for name in names
    ]


SHARED = {
    EvaluationParams: "## Models",
    BoostedParams: "### Every boosted model",
    RollingFitParams: "### Every model that is refitted",
    SeasonalFitParams: "### Refitted models with a season",
    LearnedEnsembleParams: "### Every ensemble that learns",
    NeuralParams: "### Every net",
    PriceNetParams: "### Nets that forecast the price",
}
"""What several models share -> where it is listed, once."""


def names_of(params: type[ModelParams]) -> list[str]:
    """The parameters that no shared table lists as they are: new ones, and those with another default or range."""
    listed = {
        row
        for shared in SHARED
        if shared in params.__mro__[1:]
        for row in expected_rows(shared, list(shared.model_fields))
    }
    return [name for name in params.model_fields if not listed.issuperset(expected_rows(params, [name]))]


@pytest.mark.parametrize("params", SHARED)
def test_what_models_share_is_listed_once_with_range_and_default(params: type[ModelParams]) -> None:
    assert parameter_rows(SHARED[params]) == expected_rows(params, names_of(params))


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_of_every_model_is_listed_with_range_and_default(model: str) -> None:
    entry = MODELS[model]
    heading = next(line for line in TEXT.splitlines() if line.startswith("### ") and f"`{model}`" in line)
    assert parameter_rows(heading) == expected_rows(entry.params, names_of(entry.params))
    assert f"family `{entry.family}`, backend `{'`, `'.join(entry.backends)}`" in heading


def test_the_complaints_shown_are_the_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, answer = BLOCKS[-2:]
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text(bad, encoding="utf-8")
    with pytest.raises(PlanError) as caught:
        read_plans([Path("plan.yaml")], profile=M4)
    assert answer.strip() == f"Error: {caught.value.message}"


def test_the_example_expands_to_the_jobs_it_says(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(BLOCKS[0], encoding="utf-8")
    (plan,) = read_plans([path], profile=M4)
    assert "Six jobs: " + ", ".join(f"`{job.name}`" for job in plan.jobs) + "." in TEXT


def test_limits_and_numbers_are_the_real_ones() -> None:
    assert f"A plan may hold {MAX_JOBS}\njobs" in TEXT
    assert f"more than {MAX_BYTES // 1024} KiB, more than {MAX_NODES} keys and values or {MAX_DEPTH} levels" in TEXT
    assert ", ".join(map(str, HORIZON_DAYS.values())) + " trading days" in TEXT
    for profile in PROFILES.values():
        assert f"`{profile.name}`" in TEXT
    for profile in (M4, PROFILES["linux-cpu"]):
        assert (profile.sequence_ceiling, profile.hero_sequence_ceiling) == (256, 512)
        assert profile.batch_ceilings == {
            "feed_forward": 64, "recurrent_1_layer": 64, "recurrent_2_layer": 32, "tcn": 32, "attention": 16,
            "finbert": 16,
        }  # fmt: skip


def test_the_budget_shown_is_the_real_one() -> None:
    for row in (*budget.ROWS, budget.TOTAL):
        assert f"| {row.words} | {row.minimum} | {row.planned} | {row.maximum} |" in TEXT
