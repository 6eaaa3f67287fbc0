"""The chosen model of a horizon: the first of its newest board, never a baseline, and what may be believed of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.board_jobs import make_job

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import Refused
from cbi_queue.lifecycle import JobState
from cbi_queue.models.catalogue import MODELS
from cbi_queue.views.leaderboard import TOO_FEW, WORSE
from cbi_queue.views.winner import chosen_by_name, ranked_models
from cbi_queue.views.winner_beside import chosen_beside

if TYPE_CHECKING:
    from cbi_queue.ledger import JobRow


def names(jobs, **keys) -> list[str]:
    return [chosen.job.name for chosen in ranked_models(jobs, "1w", **keys)]


def test_the_best_of_the_validation_block_comes_first_and_a_baseline_never() -> None:
    jobs = [
        make_job(1, "lightgbm_dart", 0.01),
        make_job(2, "xgboost_dart", 0.03),
        make_job(3, "drift", 0.05),
        make_job(4, "lstm", 0.02, horizon="1m"),
    ]
    assert names(jobs) == ["xgboost-dart-1w", "lightgbm-dart-1w"]
    first = ranked_models(jobs, "1w")[0]
    assert "Ranked above it on the validation block: drift-1w." in first.words
    assert first.board == "1w"


def test_a_vetoed_or_damaged_run_is_not_chosen() -> None:
    jobs = [
        make_job(1, "lightgbm_dart", 0.01),
        make_job(2, "xgboost_dart", 0.03, state=JobState.VETOED, veto="too good"),
        make_job(3, "lstm", 0.04, damage="model.onnx is missing"),
    ]
    assert names(jobs) == ["lightgbm-dart-1w"]


def test_walk_forward_comes_before_holdout_and_newer_data_before_older() -> None:
    walked = make_job(1, "lightgbm_dart", 0.01, name="walked")
    walked.metrics["scheme"] = "walk_forward"
    held = make_job(2, "lightgbm_dart", 0.09, name="held")
    assert names([held, walked]) == ["walked"]
    older = make_job(1, "lightgbm_dart", 0.09, name="old", spec={"snapshot": "a" * 64})
    newer = make_job(2, "lightgbm_dart", 0.01, name="new", spec={"snapshot": "b" * 64})
    assert names([older, newer]) == ["new"]


def test_without_a_ranked_model_the_refusal_says_why() -> None:
    with pytest.raises(Refused, match="no model of 1w of the data set default is") as refusal:
        ranked_models([make_job(1, "lstm", 0.1, state=JobState.VETOED)], "1w")
    assert "a guardrail vetoed lstm-1w" in str(refusal.value.hint)
    with pytest.raises(Refused, match="no model of 1w of the data set wti") as elsewhere:
        ranked_models([make_job(1, "lstm", 0.1)], "1w", "wti")
    assert elsewhere.value.hint == "models of 1w were trained on 1 data set: default; --dataset names one"


def test_a_named_job_must_have_a_result_that_counts() -> None:
    good = make_job(1, "lstm", 0.1)
    assert chosen_by_name(good, [good]).row.place == 1
    for state, damage, words in (
        (JobState.VETOED, None, "was vetoed"),
        (JobState.SUCCEEDED, "gone", "is damaged: gone"),
        (JobState.RUNNING, None, "is running; only a job that succeeded"),
    ):
        job = make_job(2, "gru", 0.1, state=state, damage=damage)
        with pytest.raises(Refused, match=words):
            chosen_by_name(job, [good, job])


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("quantile_net", "a variance"),
        ("regime_lightgbm", "probabilities of regimes"),
        ("regime_gru", "for one regime only, which its mixture weighs,"),
    ],
)
def test_what_forecasts_no_price_is_refused_with_where_its_forecast_is(model: str, what: str) -> None:
    job = replace(make_job(3, "lstm", None, name="special"), model=model, family=str(MODELS[model].family))
    with pytest.raises(Refused, match=f"forecasts {what} and no price") as named:
        chosen_by_name(job, [job])
    with pytest.raises(Refused, match="no model of 1w of the data set default is ranked") as of_the_horizon:
        ranked_models([job], "1w")
    for refusal in (named, of_the_horizon):
        where = "predictions.parquet ends with" if model == "regime_gru" else "`cbi-queue forecast` tells"
        assert where in str(refusal.value.hint)
        assert job.name in str(refusal.value.hint)


def test_luck_is_said_in_words() -> None:
    shrunk = make_job(1, "lstm", 0.0)
    shrunk.metrics["shrinkage"] = 0.0
    (chosen,) = ranked_models([shrunk], "1w")
    assert any("told apart" in sentence for sentence in chosen.words)
    assert any("it forecasts that the price stays" in sentence for sentence in chosen.words)


def test_beside_the_price_the_validation_block_chooses_and_the_baseline_is_named() -> None:
    def judged(number: int, family: str, validation: float, backtest: float, **changes: Any) -> JobRow:
        key, bar = ("volatility", "ewma") if family == "volatility" else ("regimes", "persistence")
        block = {bar: {"qlike": 0.5, "log_loss": 0.5}}
        sure = {"skill_independent": 9.0, "skill_p_value": 0.001, "skill_dm_p_value": 0.001}
        metrics = {
            key: {
                name: {**block, "model": {"skill": skill, **sure}}
                for name, skill in (("validation", validation), ("backtest", backtest))
            }
        }
        job = make_job(number, "lstm", None, name=f"{family}-{number}")
        return replace(job, model=family, family=family, metrics=metrics, **changes)

    jobs = [
        judged(1, "volatility", 0.1, 0.9),
        judged(2, "volatility", -0.2, 0.95),
        judged(3, "regime_classifier", 0.3, -0.5),
        judged(4, "regime_classifier", 0.2, 0.9),
        judged(5, "regime_classifier", 0.9, 0.9, damage="gone"),
    ]
    turmoil, regimes = chosen_beside(jobs, "1w", DEFAULT)
    assert (turmoil.what, turmoil.job.name, turmoil.of) == ("volatility", "volatility-1", 2)
    assert "EWMA" in turmoil.words[0]
    assert (regimes.what, regimes.job.name, regimes.of, regimes.told_apart) == (
        "regimes",
        "regime_classifier-3",
        2,
        WORSE,
    )
    short = judged(6, "regime_classifier", 0.3, 0.1)
    short.metrics["regimes"]["backtest"]["model"]["skill_independent"] = 3.0
    assert chosen_beside([short], "1w", DEFAULT)[0].told_apart == TOO_FEW, "too few rows to test it"
    (beaten,) = chosen_beside(jobs[1:2], "1w", DEFAULT)
    assert beaten.words[-1] == "Ranked above it on the validation block: ewma."
    assert chosen_beside(jobs, "1m", DEFAULT) == []
