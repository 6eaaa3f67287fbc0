"""A lead that was not corrected for how many were tried never reads as skill, wherever it is told."""

from __future__ import annotations

from support.api_installation import scores

from cbi_queue.tracking.runs import skill_words
from cbi_queue.views.ensembles import ensemble_lines


def test_mlflow_is_told_that_a_lead_is_one_models_own() -> None:
    assert skill_words(scores(0.3, se=0.01)).endswith("better than naive, taken alone")
    assert skill_words(scores(-0.3, se=0.01)).endswith("worse than naive")
    assert skill_words(scores(0.0, se=0.01)).endswith("not told apart from naive")


def test_the_page_of_an_ensemble_knows_no_others_and_says_so() -> None:
    best = {"name": "net-1m", "skill": 0.3, "p_value": 0.04, "dm_p_value": 0.04, "independent": 20.0}
    assert list(ensemble_lines({"members": [], "against_best": best}))[-1].endswith("beats it beyond luck, taken alone")
