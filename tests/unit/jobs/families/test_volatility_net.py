"""The volatility net: what its window knows, where it starts, what its loss is."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch

from jobs.evaluation.volatility import QUANTILES, baselines, pinball, qlike
from jobs.families.volatility_net import FIRST_ROW, INPUT_NAMES, QuantileNet, inputs_of, volatility_loss


@pytest.fixture(scope="module")
def price() -> np.ndarray:
    """A random walk."""
    return 50 * np.exp(np.cumsum(0.01 * np.random.default_rng(0).standard_normal(900)))


def test_the_window_knows_only_the_days_up_to_its_own(price: np.ndarray) -> None:
    changed = price.copy()
    changed[601:] *= 2.0

    for before, after in zip(inputs_of(price, 1e-7), inputs_of(changed, 1e-7), strict=True):
        assert np.array_equal(before[:601], after[:601], equal_nan=True)
        assert not np.array_equal(before[601], after[601])


def test_the_inputs_are_the_logs_that_they_are_named_for(price: np.ndarray) -> None:
    level, inputs = inputs_of(price, 1e-12)
    r = np.diff(np.log(price))  # r[i] is the return of row i + 1

    assert level[FIRST_ROW:] == pytest.approx(baselines(price, 1)["ewma"][FIRST_ROW:])
    told = dict(zip(INPUT_NAMES, inputs[700], strict=True))
    assert told["log_ewma"] == pytest.approx(np.log(level[700]))
    assert told["log_mean_21"] == pytest.approx(np.log(np.mean(r[679:700] ** 2) / level[700]))
    assert told["shock"] == pytest.approx(r[699] / np.sqrt(level[699]))
    assert np.isnan(inputs[FIRST_ROW - 1, 0])


def test_a_price_that_stands_still_divides_by_the_floor_and_not_by_nothing(price: np.ndarray) -> None:
    still = price.copy()
    still[400:700] = still[400]

    level, inputs = inputs_of(still, 1e-7)

    assert np.isfinite(inputs[252:]).all()
    assert level[650] == 1e-7


def test_an_untrained_net_forecasts_as_ewma_does_with_normal_quantiles() -> None:
    net = QuantileNet(7, 4, [8], dropout=0.2).eval()

    with torch.no_grad():
        forecast = net(torch.randn(3, 4, 7))

    assert forecast[:, 0].tolist() == [0.0] * 3
    assert forecast[1, 1:].tolist() == pytest.approx([NormalDist().inv_cdf(level) for level in QUANTILES], abs=1e-6)


def test_quantiles_never_cross_and_do_not_move_the_variance() -> None:
    torch.manual_seed(1)
    net = QuantileNet(7, 4, [8], dropout=0.0)
    torch.nn.init.normal_(net.head.weight, std=3.0)
    forecast = net(torch.randn(64, 4, 7))

    assert (forecast[:, 1:].diff(dim=1) >= 0).all(), "two may be one in single precision"
    forecast[:, 1:].sum().backward()
    assert net.head.weight.grad[0].tolist() == [0.0] * 8, "the row of the variance"


def test_the_loss_is_qlike_and_pinball_by_hand() -> None:
    rng = np.random.default_rng(1)
    target = np.column_stack([rng.exponential(size=5), rng.standard_normal(5)])
    predicted = np.column_stack([rng.standard_normal(5), np.sort(rng.standard_normal((5, len(QUANTILES))))])

    loss = volatility_loss(torch.tensor(predicted), torch.tensor(target)).numpy()

    constant = 1 + np.log(target[:, 0])  # of the labels alone
    expected = qlike(target[:, 0], np.exp(predicted[:, 0])) + constant + pinball(target[:, 1], predicted[:, 1:])
    assert loss == pytest.approx(expected)


def test_pinball_is_least_for_the_true_quantiles() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.standard_normal(20_000)
    true = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])

    least = pinball(drawn, np.tile(true, (len(drawn), 1))).mean()

    for other in (1.2 * true, 0.8 * true, true + 0.1):
        assert pinball(drawn, np.tile(other, (len(drawn), 1))).mean() > least
