"""What `cbi-queue forecast` says of the model that it took."""

from __future__ import annotations

import pytest

from cbi_queue.cli import forecast_table
from cbi_queue.views.leaderboard import BETTER, NO, TOO_FEW, WORSE


@pytest.mark.parametrize(
    ("told_apart", "ending"),
    [
        (BETTER, "board."),
        (WORSE, "Naive, that the price stays, is better."),
        (NO, "is as good as far as is known."),
        (TOO_FEW, "is as good as far as is known."),
        (None, "is as good as far as is known."),
    ],
)
def test_naive_is_as_good_only_where_the_model_is_not_worse(told_apart: str | None, ending: str) -> None:
    told = {"job": "net-1m", "model": "lstm", "of": 2, "words": [], "told_apart": told_apart}
    assert forecast_table._why(told).endswith(ending)


@pytest.mark.parametrize(
    ("of", "what", "words"),
    [
        (1, "regimes", "is the only model of its board. Persistence is as good"),
        (3, "regimes", "ranks first of 3 models on its board. Persistence is as good"),
        (3, "volatility", "ranks first of 3 models on its board. EWMA is as good"),
    ],
)
def test_what_is_beside_the_price_is_held_against_its_own_baseline(of: int, what: str, words: str) -> None:
    told = {"job": "one", "model": "a", "of": of, "words": [], "told_apart": None, "what": what}
    assert words in forecast_table._why(told)
