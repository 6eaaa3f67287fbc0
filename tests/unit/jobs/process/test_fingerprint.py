"""Runs are compared with runs that cost the same: what is in a fingerprint beside what the trainer itself names."""

from __future__ import annotations

import pytest

from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.entry import SAME_COST, SAME_COST_UNLESS_ZERO
from cbi_queue.protocol import Started
from cbi_queue.spec import JobSpec
from jobs.process.fingerprint import with_cost


def fingerprint(model: str, **params: object) -> str:
    """The fingerprint of a job of *model* whose trainer names nothing but the model."""
    family = MODELS[model].family
    spec = JobSpec(day=1, name="j", family=family, model=model, horizon="1m", params=params)
    told = with_cost(Started(10, fingerprint=model), spec).fingerprint
    assert told is not None
    assert told.startswith(f"{model} ")  # the model comes first: people forget baselines by it
    return told


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("attention", {"heads": 4}),
        ("attention", {"gradient_checkpointing": False}),
        ("lstm", {"dropout": 0.0}),
        ("xgboost_dart", {"rate_drop": 0.3}),
        ("lightgbm_dart", {"subsample": 0.5}),
        ("auto_arima", {"max_p": 2}),
    ],
)
def test_variants_of_another_cost_are_not_compared(model: str, params: dict[str, object]) -> None:
    assert fingerprint(model, **params) != fingerprint(model)


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("lstm", {"seed": 7}),
        ("lstm", {"epochs": 3, "patience": 2, "learning_rate": 0.01, "weight_decay": 0.1, "gradient_clip": 5.0}),
        ("lstm", {"dropout": 0.4}),
        ("xgboost_dart", {"n_estimators": 20, "early_stopping_rounds": 5, "learning_rate": 0.3}),
    ],
)
def test_variants_of_the_same_cost_share_a_baseline(model: str, params: dict[str, object]) -> None:
    assert fingerprint(model, **params) == fingerprint(model)


def test_what_costs_nothing_are_parameters_of_models() -> None:
    parameters = set().union(*(entry.params.model_fields for entry in MODELS.values()))
    assert parameters >= SAME_COST | SAME_COST_UNLESS_ZERO


def test_a_trainer_without_a_fingerprint_gets_none() -> None:
    spec = JobSpec(day=1, name="j", family="trees", model="lightgbm_dart", horizon="1m")
    assert with_cost(Started(10), spec).fingerprint is None
