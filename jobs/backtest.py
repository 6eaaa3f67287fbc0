"""Trades the forecasts of a few runs of one board: `python -m jobs.backtest`, JSON on standard input and output.

Every position is that of `jobs.evaluation.scoring`: each day's direction is held for h days with 1/h of the money, and
changing it costs. Only the backtest block is traded, which selected nothing; the final block stays closed. Gains are
added up and not reinvested: 0.1 is a tenth of the money.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cbi_queue.regular_files import plain_words
from jobs.data.label import Label
from jobs.evaluation.scoring import changes, sharpe, staggered_positions
from jobs.evaluation.significance import LEVEL, cosine_variance, deflated_sharpe, t_quantile
from jobs.results.stored_forecasts import Unreadable, read_forecasts

if TYPE_CHECKING:
    from collections.abc import Mapping

LONG = "always long"


def traded(run: Mapping[str, Any], horizon_days: int) -> dict[str, np.ndarray]:
    """Return the days on which a run has a position, with what came of each.

    Args:
        run: {"path", "sha256", "label", "notional", "cost"}.
        horizon_days: h.

    Returns:
        {"date": (days,) the day t at whose close the position is taken, "held": -1 to 1, "move": the return from t to
        the next day, "pnl": what the position made of it, after costs}.

    Raises:
        Unreadable: when its forecasts cannot be read, or are too few.
    """
    import polars as pl

    table = read_forecasts(Path(run["path"]), run["sha256"]).sort("date")
    block = table.filter(pl.col("block") == "backtest")
    if len(block) < horizon_days:
        raise Unreadable(f"{len(block)} forecasts in the backtest block; at least {horizon_days} make a position")
    known = pl.concat(
        [table.select("date", "price"), table.select(date="target_date", price="actual_price")]
    ).drop_nulls().unique("date", keep="first").sort("date")  # fmt: skip
    days, price = known["date"].to_numpy(), known["price"].to_numpy()
    first, last = np.searchsorted(days, block["date"].to_numpy()[[0, -1]])
    at = np.searchsorted(days, block["date"].to_numpy())
    forecast = np.full(len(days), np.nan)
    forecast[at] = block["predicted_return"].to_numpy()
    rows = np.arange(first, min(last, len(days) - 2) + 1)
    label = Label(run["label"])
    held = staggered_positions(forecast[rows], horizon_days)
    rows = rows[horizon_days - 1 :]
    move = label.change(price[rows], price[rows + 1]) / run["notional"]
    pnl = held * move - run["cost"] * changes(held)
    kept = np.isfinite(pnl)
    return {"date": days[rows][kept], "held": held[kept], "move": move[kept], "pnl": pnl[kept]}


def summary(pnl: np.ndarray, held: np.ndarray, year: float, against: np.ndarray | None = None) -> dict[str, Any]:
    """Return what a daily P&L comes to: Sharpe ratio with its interval, drawdown, turnover, lead over another P&L.

    The interval is that of the mean, by the test of the skills (`cosine_variance`), in units of the ratio.
    """
    equity = np.cumsum(pnl)
    drawdown = np.maximum.accumulate(np.concatenate([[0.0], equity])) - np.concatenate([[0.0], equity])
    found: dict[str, Any] = {
        "days": len(pnl),
        "sharpe": sharpe(pnl, year),
        "gain": float(equity[-1]) if len(equity) else 0.0,
        "worst_drawdown": float(drawdown.max()),
        "turnover": float(year * changes(held).mean()) if len(held) else None,
    }
    found["sharpe_low"], found["sharpe_high"] = _interval(pnl, year)
    lead = None if against is None else pnl - against
    found["lead_low"], found["lead_high"] = (None, None) if lead is None else _interval(lead, year)
    return found


def _interval(pnl: np.ndarray, year: float) -> tuple[float | None, float | None]:
    """Return the ends of the 95 % interval of mean / sd, annualised; None where there is nothing to say."""
    deviation = float(pnl.std(ddof=1)) if len(pnl) > 1 else 0.0
    if deviation <= 1e-12 or len(pnl) < 30:
        return None, None
    variance, freedom = cosine_variance(pnl, 1)
    half = t_quantile(LEVEL, freedom) * math.sqrt(variance / len(pnl))
    scale = math.sqrt(year) / deviation
    return float((pnl.mean() - half) * scale), float((pnl.mean() + half) * scale)


def backtest(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Trade the runs and compare them.

    Args:
        asked: {"horizon_days", "periods_per_year", "runs": as for `traded` with "name", the chosen first, then drift if
            it is there, "tried": daily Sharpe ratios of all that was tried on the board, "to": folder or null}.

    Returns:
        {"rows": summaries with names, "dates", "curves": name -> equity, "left_out": name -> why}.
    """
    books, left_out = {}, {}
    for run in asked["runs"]:
        try:
            books[run["name"]] = traded(run, asked["horizon_days"])
        except Unreadable as exc:
            left_out[run["name"]] = str(exc)
    if not books:
        return {"rows": [], "dates": [], "curves": {}, "left_out": left_out}
    dates = sorted(set.intersection(*(set(book["date"].tolist()) for book in books.values())))
    cut = {name: _on(book, dates) for name, book in books.items()}
    move = next(iter(cut.values()))["move"]
    ones, cost = np.ones(len(dates)), asked["runs"][0]["cost"]
    cut[LONG] = {"held": ones, "pnl": ones * move - cost * changes(ones), "move": move}
    tried, year = np.array(asked["tried"]), asked["periods_per_year"]
    rows = []
    for name, book in cut.items():
        row = {"name": name, **summary(book["pnl"], book["held"], year, None if name == LONG else cut[LONG]["pnl"])}
        row["deflated_sharpe"] = None if name == LONG else _deflated(book["pnl"], tried)
        row["days_left_out"] = 0 if name == LONG else len(books[name]["date"]) - len(dates)
        rows.append(row)
    if asked["to"]:
        _write(Path(asked["to"]), dates, cut)
    curves = {name: np.cumsum(book["pnl"]).tolist() for name, book in cut.items()}
    return {"rows": rows, "dates": [str(day) for day in dates], "curves": curves, "left_out": left_out}


def _on(book: Mapping[str, np.ndarray], dates: list[Any]) -> dict[str, np.ndarray]:
    kept = np.isin(book["date"], np.array(dates, dtype=book["date"].dtype))
    return {name: values[kept] for name, values in book.items()}


def _deflated(pnl: np.ndarray, tried: np.ndarray) -> float | None:
    deviation = float(pnl.std()) if len(pnl) > 1 else 0.0
    if deviation <= 1e-12:
        return None
    z = (pnl - pnl.mean()) / deviation
    daily = float(pnl.mean() / pnl.std(ddof=1))
    return deflated_sharpe(daily, len(pnl), float((z**3).mean()), float((z**4).mean()), tried)


def _write(folder: Path, dates: list[Any], books: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write equity.parquet: a row for each day and book."""
    import polars as pl

    from cbi_queue.artifacts import atomic_file

    tables = [
        pl.DataFrame(
            {"book": name, "date": dates, "position": book["held"], "move": book["move"], "pnl": book["pnl"],
             "equity": np.cumsum(book["pnl"])}
        )
        for name, book in books.items()
    ]  # fmt: skip
    with atomic_file(folder / "equity.parquet") as part:
        pl.concat(tables).write_parquet(part)


def main() -> None:
    """Answer what stands on standard input."""
    os.nice(5)  # a training may run beside it
    asked = json.load(sys.stdin)
    try:
        said = backtest(asked)
    except OSError as exc:  # above all a full disk
        said = {"refused": f"cannot write the equity curves: {plain_words(exc, Path(asked['to'] or '.'))}"}
    json.dump(said, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    main()
