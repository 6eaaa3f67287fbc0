"""`cbi_queue.models.mixtures`: what a mixture over regimes is made of."""

from __future__ import annotations

import pytest

from cbi_queue.models.kinds import REGIMES
from cbi_queue.models.mixtures import CLASSIFIER, wrong_parts

CLASSIFIERS = [(CLASSIFIER, None)]
NETS = [("regime_gru", regime) for regime in REGIMES]


def test_a_classifier_and_a_net_of_each_regime_are_a_mixture_whatever_else_is_needed() -> None:
    assert wrong_parts([("feature_cache", None), *CLASSIFIERS, *NETS, ("gru", None)]) is None


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (NETS, "`needs` has no regime_lightgbm"),
        (CLASSIFIERS + NETS[1:], "`needs` has no net of crisis"),
        (CLASSIFIERS * 2 + NETS, "a regime_lightgbm 2 times"),
        (CLASSIFIERS + NETS + NETS[:1], "a net of crisis 2 times"),
        (CLASSIFIERS + NETS[:3] + [("regime_lstm", "normal")], "nets of two kinds, regime_gru and regime_lstm"),
        ([], "no regime_lightgbm, no net of crisis, no net of bull, no net of bear, no net of normal"),
    ],
)
def test_what_is_missing_or_too_much_is_named(parts: list[tuple[str, object]], words: str) -> None:
    assert words in (wrong_parts(parts) or "")
