"""Two runs beside each other: what `jobs.pair` is asked about them, and whether they can be told apart, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cbi_queue.models.kinds import HORIZON_DAYS
from cbi_queue.views.backtest import run_to_trade, tried_ratios
from cbi_queue.views.board_words import periods
from cbi_queue.views.ensembles import LEAST_INDEPENDENT, LEVEL
from cbi_queue.views.stored_values import number_of, object_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.ledger import JobRow

_MARGIN_WORDS = {"price": "absolute error", "volatility": "QLIKE"}


def asked_of(
    pair: Sequence[JobRow], board: Sequence[JobRow], files: Sequence[dict[str, Any]], of: str
) -> dict[str, Any]:
    """Return what `jobs.pair` needs.

    Args:
        pair: the two runs.
        board: the runs of their board whose scores count: everything that was tried.
        files: where the forecasts of each are, in the order of *pair* (`results.forecast_files`).
        of: price | volatility.
    """
    year = number_of(object_of((pair[0].metrics or {}).get("backtest")).get("periods_per_year"))
    return {
        "of": of,
        "horizon_days": HORIZON_DAYS[pair[0].horizon],
        "periods_per_year": year or 252.0,
        "runs": [{**run_to_trade(job), **file} for job, file in zip(pair, files, strict=True)],
        "tried": list(tried_ratios(board)) if of == "price" else [],
        "to": None,
    }


def verdict(found: Mapping[str, Any], pair: Sequence[JobRow], models: int, of: str) -> tuple[str, str]:
    """Return whether the first run is told apart from the second (better | worse | no), and a sentence that says so.

    Both p-values must be at most `LEVEL` by the pairs of the board: of many pairs of equals one always looks apart.

    Args:
        found: what `jobs.pair` answered.
        pair: the two runs.
        models: of their board.
        of: price | volatility.
    """
    first, second = (job.name for job in pair)
    test, rows, skill = found["test"], found["rows"], found["skill"]
    if found["same"]:
        return "no", f"Not told apart: {first} and {second} forecast the same on all {rows:,} rows that both have."
    if rows == 0:
        return "no", f"Not told apart: {first} and {second} share no row of the backtest."
    if test["independent"] < LEAST_INDEPENDENT:
        year = number_of(object_of((pair[0].metrics or {}).get("backtest")).get("periods_per_year"))
        count = round(test["independent"])
        return "no", (
            f"Not told apart: too little to say, {rows:,} shared rows are {count} independent "
            f"{periods(count, pair[0].horizon, year)}; {LEAST_INDEPENDENT:.0f} are needed."
        )
    p = _larger(test["p_value"], test["dm_p_value"])
    pairs = max(math.comb(models, 2), 1)
    limit = LEVEL / pairs
    lead = _lead(first, second, skill, test, of) + f" on {rows:,} shared rows"
    if p is None:
        return "no", f"Not told apart: {lead}, and its variance cannot be estimated."
    if p <= limit:
        side = "better" if skill > 0 else "worse"
        return side, f"Told apart: {first} is {side} than {second} beyond luck: {lead}, p {_p(p)}."
    because = f"p {_p(p)}, and at most {limit:.2g} is needed among the {pairs} pairs of their board"
    alone = " As the only pair it would count; picked from many it may be luck." if p <= LEVEL else ""
    return "no", f"Not told apart: {lead}; {because}.{alone}"


def _larger(*p_values: float | None) -> float | None:
    known = [p for p in p_values if p is not None]
    return max(known) if len(known) == len(p_values) else None


def _lead(first: str, second: str, skill: float | None, test: Mapping[str, Any], of: str) -> str:
    if skill is None:
        return f"the {_MARGIN_WORDS[of]} of {second} is 0"
    side = "lower" if skill > 0 else "higher"
    low, high = test["low"], test["high"]
    interval = (
        "" if low is None or high is None else f" (95 % interval of the lead {_percent(low)} to {_percent(high)})"
    )
    return f"the {_MARGIN_WORDS[of]} of {first} is {abs(skill) * 100:.1f} % {side} than that of {second}{interval}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def _percent(value: float) -> str:
    return f"{value * 100:+.1f} %"
