"""The newest forecast of a trained model, in words. Read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cbi_queue.views.leaderboard import DIFFERENCE
from cbi_queue.views.stored_values import number_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COVERAGES = ("80", "95")


def forecast_lines(metrics: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what the model forecasts from the last day of its data, and the intervals around it.

    Args:
        metrics: as stored with the job; runs of an earlier version have no forecast in them, and nothing is yielded.
    """
    found = (metrics or {}).get("forecast")
    if not isinstance(found, dict):
        return
    price, predicted = number_of(found.get("price")), number_of(found.get("predicted_price"))
    date, target = found.get("date"), found.get("target_date")
    if price is None or predicted is None or not isinstance(date, str) or not isinstance(target, str):
        return
    if (metrics or {}).get("label") == DIFFERENCE:
        moved = f"{predicted - price:+.4g}"
    else:
        moved = f"{predicted / price - 1 if price else 0.0:+.1%}".replace("%", " %")
    yield f"Forecast for {target}: {figure(predicted)} ({moved} from {figure(price)} on {date})"
    for percent in COVERAGES:
        low, high = number_of(found.get(f"lower_{percent}")), number_of(found.get(f"upper_{percent}"))
        if low is not None and high is not None:
            yield f"  {percent} % interval: {figure(low)} to {figure(high)}"


def figure(price: float) -> str:
    """Write a price: two decimals, more below 1, none from 10,000 on."""
    size = abs(price)
    return f"{price:,.0f}" if size >= 10_000 else f"{price:,.2f}" if size >= 1 else f"{price:.4g}"
