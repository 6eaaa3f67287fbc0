"""What is known of a data set: its exports as they were opened, its snapshots, its newest forecasts and their drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.inspection import Request, inspect_exports
from cbi_queue.datasets.place import exports_in, of_dataset
from cbi_queue.datasets.snapshots import look
from cbi_queue.models.kinds import HORIZONS, REGIMES
from cbi_queue.views.forecast import BESIDE, VOLATILITY
from cbi_queue.views.stored_values import number_of, object_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cbi_queue.settings import Settings


_TEXTS = ("horizon", "job", "date", "target_date")
_FIGURES = ("price", "predicted_price", "lower_95", "upper_95")


def looked_into(settings: Settings, dataset: str) -> dict[str, Any]:
    """Open the exports of a data set, each content once; a process of its own does that where it is new.

    Returns:
        "exports": what `jobs.data_check` said of each, only its path where the trainers' Python lacks its libraries;
        "snapshots" and "features_of": horizon -> snapshot of the export, and of what the features were built from.

    Raises:
        Refused: when the description of the data set cannot be read.
    """
    paths = exports_in(of_dataset(settings.exports_dir, dataset))
    keys = [(dataset, horizon) for horizon in HORIZONS]
    now = look(settings.exports_dir, settings.processed_dir, keys, settings.hashes_path)
    found = inspect_exports(
        settings.interpreter_for("native"), list(map(Request, paths)), settings.checks_path, settings.hashes_path
    )
    return {
        "exports": [one.body for one in found or ()] or [{"path": str(path)} for path in paths],
        "snapshots": {horizon: now.exports.get((dataset, horizon)) for horizon in HORIZONS},
        "features_of": {horizon: now.caches.get((dataset, horizon)) for horizon in HORIZONS},
    }


def built_words(snapshot: str | None, built: str | None) -> str:
    """Say what the features of a horizon were built from, given the snapshot of its export."""
    if built is None:
        return "not built"
    return "built" if built == snapshot else f"of an earlier export, {built[:8]}"


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest forecast of one horizon, and how far its features moved since the training."""

    horizon: str
    job: str
    date: str
    """The day of the data that it was made from."""
    target: str
    """The day that it is for."""
    price: float | None
    forecast: float | None
    low: float | None
    high: float | None
    """The 95 % interval."""
    drift: str
    """In words."""
    features: tuple[tuple[str, float | None, float | None, bool], ...]
    """Name, PSI, PSI without drift, whether it is in quarantine; those that moved most come first."""


def newest_forecasts(latest: Mapping[str, Any] | None) -> Iterator[Newest]:
    """Yield the forecasts that `forecast` wrote last (`forecast.read_latest`), by horizon."""
    told = object_of((latest or {}).get("drift"))
    for each in (latest or {}).get("forecasts", ()):
        if isinstance(each, dict):
            drift = object_of(told.get(str(each.get("horizon"))))
            horizon, job, date, target = (str(each.get(key, "unknown")) for key in _TEXTS)
            price, forecast, low, high = (number_of(each.get(key)) for key in _FIGURES)
            yield Newest(
                horizon=horizon, job=job, date=date, target=target, price=price, forecast=forecast, low=low, high=high,
                drift=_drift_words(drift), features=tuple(_features(drift)),
            )  # fmt: skip


def newest_beside(latest: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Yield what `forecast` wrote last beside the price: what of, job, day of the data, target, forecast, baseline's."""
    for kind in BESIDE:
        for each in (latest or {}).get(kind, ()):
            if isinstance(each, dict):
                horizon, job, date, target = (str(each.get(key, "unknown")) for key in _TEXTS)
                words = _volatility_words(each) if kind == VOLATILITY else _regime_words(each)
                yield f"{horizon} {kind}", job, date, target, *words


def _volatility_words(told: Mapping[str, Any]) -> tuple[str, str]:
    own, ewma = (number_of(told.get(name)) for name in ("volatility_pct", "ewma_pct"))
    return _percent(own, ".1f"), f"{_percent(ewma, '.1f')} by EWMA"


def _regime_words(told: Mapping[str, Any]) -> tuple[str, str]:
    own, stays = (
        ", ".join(f"{name} {_percent(_times_100(told.get(prefix + name)), '.0f')}" for name in REGIMES)
        for prefix in ("p_", "persistence_")
    )
    return own, f"{stays} by persistence; now {told.get('regime') or 'unknown'}"


def _times_100(value: Any) -> float | None:
    number = number_of(value)
    return None if number is None else 100.0 * number


def _percent(value: float | None, form: str) -> str:
    return "unknown" if value is None else f"{value:{form}} %"


def _drift_words(drift: Mapping[str, Any]) -> str:
    if not drift:
        return "unknown"
    if drift.get("uses_features") is False:
        return "it reads no features itself, so none can drift; the members of an ensemble are not looked at"
    if not drift.get("compared_rows"):
        return f"{drift.get('live_rows', 'unknown')} rows since its training; from 63 on they are compared"
    found = list(_features(drift))
    gone = sum(is_gone for *_, is_gone in found)
    return (
        f"{gone} of {len(found)} features drifted, by the latest {drift['compared_rows']} rows against "
        f"{drift.get('reference_rows', 'unknown')} that it was trained on"
    )


def _features(drift: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float | None, bool]]:
    for each in drift.get("features") or ():
        if isinstance(each, dict):
            psi, expected = number_of(each.get("psi")), number_of(each.get("expected"))
            yield str(each.get("name")), psi, expected, each.get("quarantined") is True
