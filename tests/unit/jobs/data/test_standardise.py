"""`jobs.data.standardise`: fitted on the training block alone, and what is missing is told from what is average."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jobs.data.standardise import LIMIT_SD, fit_standardiser

NAN = np.nan


def test_training_columns_get_mean_0_and_spread_1_and_the_label_comes_back():
    rng = np.random.default_rng(0)
    x, y = rng.normal(5, 3, (500, 2)).astype(np.float32), rng.normal(0.01, 0.07, 500)

    fitted = fit_standardiser(x, y)
    z = fitted.features(x)

    assert z.dtype == np.float32
    assert z.mean(axis=0) == pytest.approx([0, 0], abs=1e-5)
    assert z.std(axis=0) == pytest.approx([1, 1], abs=1e-5)
    assert fitted.forecast(fitted.label(y)) == pytest.approx(y, abs=1e-8)


def test_a_missing_value_is_the_mean_and_says_so():
    x = np.array([[NAN, 1], [2, 2], [4, 3]], dtype=np.float32)
    z = fit_standardiser(x, np.arange(3.0)).features(x)
    assert z[:, 0] == pytest.approx([0, -1, 1])
    assert z[:, 2].tolist() == [1, 0, 0]


def test_columns_missing_together_share_an_indicator_that_later_is_their_share():
    x = np.array([[NAN, NAN, NAN, 1], [NAN, NAN, 2, 2], [3, 5, 3, 3], [4, 7, 4, 5]], dtype=np.float32)
    fitted = fit_standardiser(x, np.arange(4.0))
    later = np.array([[NAN, 6, 3, 3]], dtype=np.float32)
    assert [group.tolist() for group in fitted.groups] == [[0, 1], [2]]
    assert fitted.features(later)[0, 4:].tolist() == [0.5, 0.0]


@pytest.mark.parametrize("unlearnable", [7.3, NAN])
def test_a_column_that_taught_nothing_stays_unused(unlearnable):
    x = np.array([[unlearnable, 1], [unlearnable, 2], [unlearnable, 3]], dtype=np.float32)
    fitted = fit_standardiser(x, np.arange(3.0))
    later = np.array([[1e6, 2], [NAN, 2]], dtype=np.float32)
    assert fitted.features(later)[:, 0].tolist() == [0, 0]
    assert np.isfinite(fitted.features(later)).all()


def test_far_out_values_are_moved_to_the_limit():
    x = np.array([[0], [1], [2]], dtype=np.float32)
    z = fit_standardiser(x, np.arange(3.0)).features(np.array([[1e9], [-1e9]], dtype=np.float32))
    assert z[:, 0].tolist() == [LIMIT_SD, -LIMIT_SD]


def test_a_constant_label_is_not_divided_by_nothing():
    fitted = fit_standardiser(np.ones((3, 1), dtype=np.float32), np.full(3, 0.5))
    assert fitted.label(np.array([0.5, 1.5])).tolist() == [0.0, 1.0]


def test_what_was_fitted_is_plain_json():
    x = np.array([[NAN, 1], [2, 2], [4, 3]], dtype=np.float32)
    body = json.loads(json.dumps(fit_standardiser(x, np.arange(3.0)).as_json(("a", "b")), allow_nan=False))
    assert body["indicators"] == [["a"]]
    assert body["features"] == ["a", "b"]
    assert len(body["mean"]) == len(body["scale"]) == 2
