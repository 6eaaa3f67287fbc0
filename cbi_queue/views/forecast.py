"""The newest forecast of a trained model, and those that were made last of a data set, in words. Read-only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.regular_files import LARGE, read_whole
from cbi_queue.views.leaderboard import DIFFERENCE
from cbi_queue.views.stored_values import number_of, object_of, whole_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

COVERAGES = ("80", "95")
_MEASURES = {"mape_pct": ("MAPE", " %"), "mae": ("MAE", ""), "qlike": ("QLIKE", "")}
"""What a monitor compares -> its name and unit in words."""
FOLDER, LATEST = "forecasts", "latest.json"
VOLATILITY, REGIMES = BESIDE = ("volatility", "regimes")
"""What is forecast beside the price, by its name in `latest.json`."""


@dataclass(frozen=True, slots=True)
class Flag:
    """Why a model that forecasts should be trained again."""

    dataset: str
    horizon: str
    job: str
    job_id: int
    kind: str
    """What shows it: `errors` or `features`."""
    why: str
    what: str = ""
    """What it forecasts beside the price; empty for the price."""

    @property
    def words(self) -> str:
        """The flag as a sentence."""
        of = "" if self.dataset == DEFAULT else f" of {self.dataset}"
        what = f" {self.what}" if self.what else ""
        return f"{self.job} ({self.horizon}{what}{of}) should be trained again: {self.why}"


def what_is_forecast(each: Mapping[str, Any]) -> str:
    """Name what one forecast or refusal is of: `1w`, or `1w volatility` where it is not the price."""
    return f"{each['horizon']} {each.get('what', '')}".rstrip()


def folder_of(logs: Path, dataset: str) -> Path:
    """Return the folder of the forecasts of *dataset*."""
    return logs / FOLDER if dataset == DEFAULT else logs / FOLDER / dataset


def read_latest(logs: Path, dataset: str) -> dict[str, Any] | None:
    """Return the latest forecasts of *dataset* as they were written; None when there are none that can be read."""
    try:
        body = json.loads(read_whole(folder_of(logs, dataset) / LATEST, LARGE))
    except (OSError, ValueError, RecursionError):
        return None
    if not (isinstance(body, dict) and isinstance(body.get("forecasts"), list)):
        return None
    return {**body, **{kind: told if isinstance(told := body.get(kind), list) else [] for kind in BESIDE}}


def all_flags(logs: Path) -> list[Flag]:
    """Return what the latest forecasts of every data set flag."""
    try:
        named = sorted(path.parent.name for path in (logs / FOLDER).glob(f"*/{LATEST}"))
    except OSError:
        named = []
    return [flag for dataset in (DEFAULT, *named) for flag in flags_of(read_latest(logs, dataset), dataset)]


def flags_of(latest: Mapping[str, Any] | None, dataset: str) -> list[Flag]:
    """Return why models of *dataset* should be trained again, by the latest forecasts: errors first, then drift."""
    said, found = latest or {}, []
    all_told = [("", told) for told in said.get("forecasts", ())]
    all_told += [(kind, told) for kind in BESIDE for told in said.get(kind, ())]
    known = [(what, told) for what, told in all_told if isinstance(told, dict) and told.get("horizon") in HORIZONS]
    for what, told in sorted(known, key=lambda one: HORIZONS.index(one[1]["horizon"])):
        horizon = told["horizon"]
        monitor = object_of(told.get("monitor") if what else object_of(said.get("monitor")).get(horizon))
        drift = {} if what else object_of(object_of(said.get("drift")).get(horizon))
        whose = dataset, horizon, str(told.get("job")), whole_of(told.get("job_id")) or 0
        if monitor.get("retrain") is True:
            found.append(Flag(*whose, "errors", monitor_words(monitor), what))
        if gone := [each["name"] for each in drift.get("features", ()) if each.get("quarantined")]:
            found.append(Flag(*whose, "features", drift_words(gone, len(drift["features"]))))
    return found


def monitor_words(monitor: Mapping[str, Any]) -> str:
    """Write how the errors since the training compare with the backtest's."""
    (measure, unit), bar = _MEASURES.get(str(monitor.get("measure")), ("MAE", "")), ""
    now, target, limit, simple = (number_of(monitor.get(name)) for name in ("rolling", "backtest", "limit", "simple"))
    least_rows = whole_of(monitor.get("least_rows"))
    count = f"{monitor.get('realised', 0)} forecasts of the last {least_rows or 30} rows of data"
    if now is None:
        return "no forecast has come to its target yet"
    if monitor.get("measure") == "log_loss":
        return _regimes_came(monitor, count)
    if simple is not None:
        bar = f", EWMA's {simple:.3g} on the same days"
    if target is None or limit is None:
        return f"{measure} {now:.3g}{unit} over {count}{bar}; the backtest has none to compare with"
    about = (
        f"{measure} {now:.3g}{unit} over {count} ({monitor.get('independent')} independent){bar}, "
        f"{target:.3g}{unit} in the backtest"
    )
    if monitor.get("retrain") is None:
        until = f"once they span {least_rows} rows" if least_rows else f"from {monitor.get('least')} forecasts on"
        return f"{about}; {until} it is judged"
    if monitor["retrain"] or now <= limit:
        return f"{about}, {'above' if monitor['retrain'] else 'within'} 1.5 times that"
    return f"{about}: above 1.5 times that, but no worse than EWMA"


def _regimes_came(monitor: Mapping[str, Any], count: str) -> str:
    own, stays, now, simple = (
        number_of(monitor.get(name)) for name in ("right", "persistence_right", "rolling", "simple")
    )
    if None in (own, stays, now, simple):
        return "what came of it is not known"
    return (
        f"the likeliest regime came in {own:.0%}".replace("%", " %")
        + f" of {count} ({monitor.get('independent')} independent), persistence's in {stays:.0%}".replace("%", " %")
        + f"; log loss {now:.3g}, persistence's {simple:.3g}"
    )


def drift_words(gone: list[str], of: int) -> str:
    """Write which features drifted."""
    more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
    return f"{len(gone)} of {of} features drifted: {', '.join(gone[:3])}{more}"


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
