"""Permutation importance: what carries news is found, what does not is told apart from luck."""

from __future__ import annotations

import numpy as np
import pytest

from cbi_queue.models.parameters.features import FeatureParams
from jobs.data.feature_names import Series, feature_names
from jobs.evaluation.importance import CALENDAR, by_source, permutation_importance, source_of

ROWS = 400


def linear(weights):
    return lambda x: x @ np.asarray(weights, dtype=float)


def noise(seed, columns=4):
    return np.random.default_rng(seed).normal(size=(ROWS, columns))


def test_every_engineered_feature_is_traced_to_the_column_it_was_made_from():
    """Names of columns may themselves contain what an ending looks like."""
    series = [Series("price", is_log=True), Series("us_10y", is_log=False), Series("corn_mean", is_log=True)]
    names = feature_names(series, FeatureParams(), as_is=("news_sentiment",))
    groups = by_source(names)
    assert set(groups) == {"price", "us_10y", "corn_mean", CALENDAR, "news_sentiment"}
    assert sum(map(len, groups.values())) == len(names)
    assert all(names[at].startswith("corn_mean_") for at in groups["corn_mean"])
    assert source_of("price") == "price"


def test_a_column_that_carries_the_news_is_told_apart_and_noise_is_not():
    x = noise(1)
    y = x[:, 0] + 0.5 * np.random.default_rng(2).normal(size=ROWS)
    groups = {"news": [0], "unread": [1], "misread": [2, 3]}
    found = permutation_importance(linear([1, 0, 0.1, 0.1]), x, y, groups, horizon_rows=5, seed=3)
    told = {each.column: each.told_apart for each in found}
    assert told == {"news": True, "unread": False, "misread": False}
    assert found[0].column == "news"
    assert 0.4 < found[0].importance < 0.8
    assert 0 < found[0].se_repeats < 0.05
    unread = next(each for each in found if each.column == "unread")
    assert (unread.importance, unread.p_value) == (0.0, 1.0)


def test_columns_made_from_one_are_shuffled_together():
    """Alone, each of two twins looks half as useful: the other still carries the news."""
    news = noise(4, columns=1)
    x, y = np.hstack([news, news]), news[:, 0] + 0.3 * noise(5, columns=1)[:, 0]
    groups = {"both": [0, 1], "one": [0]}
    found = permutation_importance(linear([0.5, 0.5]), x, y, groups, horizon_rows=1, seed=0)
    both, one = ({each.column: each.importance for each in found}[name] for name in groups)
    assert both > one + 0.1


def test_the_same_seed_gives_the_same_numbers_and_the_inputs_stay_as_they_are():
    x = noise(6)
    before, y = x.copy(), x[:, 1]
    first = permutation_importance(linear([0, 1, 1, 0]), x, y, {"a": [1], "b": [2]}, horizon_rows=2, seed=7)
    again = permutation_importance(linear([0, 1, 1, 0]), x, y, {"a": [1], "b": [2]}, horizon_rows=2, seed=7)
    other = permutation_importance(linear([0, 1, 1, 0]), x, y, {"a": [1], "b": [2]}, horizon_rows=2, seed=8)
    assert first == again != other
    assert (x == before).all()


def test_windows_are_shuffled_whole():
    """A net's sample gets the whole window of another sample, so that a series stays a series."""
    windows = noise(8, columns=12).reshape(ROWS, 6, 2)
    seen = []

    def predict(x):
        seen.append(x)
        return x[:, -1, 0]

    permutation_importance(predict, windows, windows[:, -1, 0], {"a": [0]}, horizon_rows=1, seed=0)
    rows = {row.tobytes() for row in windows[:, :, 0]}
    assert all({row.tobytes() for row in np.ascontiguousarray(x[:, :, 0])} == rows for x in seen)
    assert all((x[:, :, 1] == windows[:, :, 1]).all() for x in seen)


def test_a_handful_of_independent_rows_says_nothing():
    x = noise(9)[:40]
    found = permutation_importance(linear([1, 0, 0, 0]), x, x[:, 0] + x[:, 3], {"a": [0]}, horizon_rows=20, seed=0)[0]
    assert (found.told_apart, found.low, found.p_value) == (None, None, None)
    assert found.importance > 0


@pytest.mark.slow
def test_of_many_models_that_learnt_noise_hardly_any_has_a_column_that_is_told_apart():
    """Luck is never skill: 60 models with random weights and labels that have nothing to do with their inputs."""
    called = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(ROWS, 8)), np.convolve(rng.normal(size=ROWS + 4), np.ones(5), "valid")
        groups = {f"c{at}": [at] for at in range(8)}
        found = permutation_importance(linear(0.3 * rng.normal(size=8)), x, y, groups, horizon_rows=5, seed=seed)
        called += any(each.told_apart for each in found)
    assert called <= 10
