"""`python -m benchmarks leaks`: columns that know the future, planted and honest, on real stock prices.

Each of the first stocks of skfolio's 20 (the last 5,000 days) is the price in turn. Planted are ways to look h rows
ahead, none with a gap at its end or a name that tells; honest are the other stocks and what a forecaster makes of past
prices. A round is a stock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.measuring import Line, Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

HORIZON_DAYS = (5, 21, 63, 126, 252)
ROWS = 5000


def lines(rounds: int) -> list[Line]:
    """Count what `jobs.data.leaks` suspects, with *rounds* of the stocks as the price."""
    from skfolio.datasets import load_sp500_dataset

    stocks = {name: series.to_numpy()[-ROWS:] for name, series in load_sp500_dataset().items()}
    missed: dict[int, list[str]] = {h: [] for h in HORIZON_DAYS}
    planted, accused, honest = dict.fromkeys(HORIZON_DAYS, 0), [], 0
    for seed, name in enumerate(list(stocks)[:rounds]):
        past = {other: series for other, series in stocks.items() if other != name} | made_of_the_past(
            stocks[name], seed
        )
        accused += [f"{name}: {column}" for column in _suspected(stocks[name], past, HORIZON_DAYS)]
        honest += len(past)
        for h in HORIZON_DAYS:
            ahead = looking_ahead(stocks[name], h, seed)
            missed[h] += sorted(set(ahead) - _suspected(stocks[name], ahead, (h,)))
            planted[h] += len(ahead)
    found = [
        Line(
            f"planted columns found, h = {h}", "%", (100.0 * (1 - len(missed[h]) / planted[h]),), note=_note(missed[h])
        )
        for h in HORIZON_DAYS
    ]
    return [*found, Line(f"of {honest} honest columns suspected", "%", (100.0 * len(accused) / honest,), Target(0.0),
                         "; ".join(accused))]  # fmt: skip


def _note(missed: list[str]) -> str:
    return "missed: " + ", ".join(f"{name} ({missed.count(name)})" for name in sorted(set(missed))) if missed else ""


def _suspected(price: np.ndarray, columns: Mapping[str, np.ndarray], horizons: tuple[int, ...]) -> set[str]:
    from jobs.data.leaks import suspicions

    return {suspicion.column for suspicion in suspicions(price, columns, horizons)}


def looking_ahead(price: np.ndarray, h: int, seed: int) -> dict[str, np.ndarray]:
    """Return columns made from later prices, by name: (rows,) float64 each."""
    import numpy as np

    rng = np.random.default_rng(seed)
    log_price = np.log(price)
    y = _later(log_price, h) - log_price
    spread = float(y.std())
    return {
        "label": y,
        "label, half noise": y + 0.5 * spread * rng.standard_normal(len(y)),
        "label, all noise": y + spread * rng.standard_normal(len(y)),
        "label as ranks": y.argsort().argsort().astype(float),
        "sign of the label": np.sign(y),
        "label, bent": np.exp(3 * y / spread),
        "later price": _later(price, h),
        "later price, other unit": 7 - 2 * _later(price, h),
        "later price, inverted": 1 / _later(price, h),
        "later price, noise": _later(price, h) * np.exp(0.01 * rng.standard_normal(len(y))),
        "later price, mixed": 0.7 * np.roll(price, 3) + 0.3 * _later(price, h),
        "highest price": np.array([price[t + 1 : t + 1 + h].max(initial=price[t]) for t in range(len(price))]),
        "price of tomorrow": _later(price, 1),
        "label, twice the horizon": _later(log_price, 2 * h) - log_price,
        "average around today": np.convolve(np.pad(price, h, mode="edge"), np.ones(2 * h + 1) / (2 * h + 1), "valid"),
    }


def made_of_the_past(price: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Return columns that a forecaster makes of past prices, and noise, by name: (rows,) float64 each."""
    import numpy as np

    rng = np.random.default_rng(1000 + seed)
    log_price, rows = np.log(price), len(price)
    returns = np.diff(log_price, prepend=log_price[0])
    return {
        "momentum": log_price - np.roll(log_price, 21),
        "volatility": np.array([returns[max(0, t - 20) : t + 1].std() for t in range(rows)]),
        "direction": np.convolve(np.sign(returns), np.ones(14) / 14)[:rows],
        "twice the price": 2 * price,
        "price of yesterday": np.roll(price, 1),
        "average": np.convolve(price, np.ones(200) / 200)[:rows],
        "time": np.arange(rows) * 1.0,
        "day of the week": np.arange(rows) % 5 * 1.0,
        "noise": rng.standard_normal(rows),
        "random walk": rng.standard_normal(rows).cumsum(),
    }


def _later(values: np.ndarray, rows: int) -> np.ndarray:
    """Return what *values* are *rows* rows later; the last one repeats, so that no gap gives it away."""
    import numpy as np

    return np.concatenate([values[rows:], np.full(rows, values[-1])])
