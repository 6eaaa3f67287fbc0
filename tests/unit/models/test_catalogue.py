"""The catalogue: every model is complete, pure, and trained by something."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cbi_queue.budget import ROWS
from cbi_queue.hardware import PROFILES
from cbi_queue.models.catalogue import MODELS, entry_for, models_of
from cbi_queue.models.kinds import BARS, HORIZON_DAYS, HORIZONS, Family


def test_horizons_are_counted_in_trading_days() -> None:
    assert tuple(HORIZON_DAYS) == HORIZONS
    assert HORIZON_DAYS == {"1w": 5, "1m": 21, "3m": 63, "6m": 126, "12m": 252}


@pytest.mark.parametrize("model", MODELS)
def test_every_model_names_code_that_exists(model: str) -> None:
    """A plan that passes its check must not fail for want of code. Libraries may be absent here, so nothing is imported."""
    for trainer in MODELS[model].trainers.values():
        module, _, name = trainer.partition(":")
        spec = find_spec(module)
        assert spec is not None, trainer
        assert spec.origin is not None
        classes = [
            node.name for node in ast.parse(Path(spec.origin).read_text()).body if isinstance(node, ast.ClassDef)
        ]
        assert name in classes, trainer


def test_the_catalogue_is_cheap_to_import() -> None:
    """The daemon and the everyday verbs read it: pydantic is loaded with the parameter classes, and not before."""
    code = (
        "import sys, cbi_queue.models.catalogue; print(*sorted({'pydantic', 'importlib.metadata'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_family_has_a_model_and_is_in_the_budget_or_the_features() -> None:
    assert all(models_of(family) for family in Family)
    assert {family.value for family in Family} - {row.family for row in ROWS} == {
        "features",
        "sentiment",
        "export",
        "backtest",
        "forecast",
        "script",
    }


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_has_a_default_within_its_range_and_survives_json(model: str) -> None:
    params = MODELS[model].params
    defaults = params()
    assert params.model_validate_json(defaults.model_dump_json(), strict=True) == defaults


@pytest.mark.parametrize("model", MODELS)
def test_every_numeric_parameter_is_bounded_on_both_sides(model: str) -> None:
    """Without an upper bound, a slip of the finger trains for a month."""
    for name, schema in MODELS[model].params.model_json_schema()["properties"].items():
        choices = schema.get("anyOf", [schema])
        for choice in choices:
            if choice.get("type") in {"integer", "number"}:
                assert {"minimum", "exclusiveMinimum"} & set(choice), name
                assert {"maximum", "exclusiveMaximum"} & set(choice), name


@pytest.mark.parametrize("model", [model for model, entry in MODELS.items() if entry.batch_kind])
def test_default_batches_and_sequences_fit_every_profile(model: str) -> None:
    """A job that names no parameter must pass its own check."""
    entry = MODELS[model]
    defaults = entry.params().model_dump()
    for profile in PROFILES.values():
        assert defaults["batch_size"] <= profile.batch_ceiling_for(entry.batch_kind)
        assert defaults.get("sequence_length", 0) <= profile.sequence_ceiling


def test_a_model_is_found_only_under_its_own_family() -> None:
    assert entry_for("trees", "lightgbm_dart") is MODELS["lightgbm_dart"]
    assert entry_for("statistical", "lightgbm_dart") is None
    assert entry_for("trees", None) is None
    assert entry_for(None, ["lightgbm_dart"]) is None


def test_bars_are_statistical_models() -> None:
    assert set(BARS) < set(models_of("statistical"))


def test_the_default_backend_is_the_first() -> None:
    assert MODELS["feed_forward"].default_backend == "torch"
