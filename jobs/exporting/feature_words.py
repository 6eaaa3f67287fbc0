"""How each feature is computed and in which unit, in words, for programs that must compute it again.

The names are those of `jobs.data.feature_names`, in the same order; a test holds the two together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UNKNOWN = {"computed": "not recorded", "unit": "not recorded"}


def described(manifest: Mapping[str, Any], names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return position, name, dtype, unit and computation of each of *names*, as the manifest of the cache explains them."""
    known = dict(_told(manifest))
    return [
        {"position": at, "name": name, "dtype": "float32", **known.get(name, _UNKNOWN)} for at, name in enumerate(names)
    ]


def _told(manifest: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    params = manifest["params"]
    lags, windows = sorted(set(params["lags"])), sorted(set(params["windows"]))
    price, *others = manifest["series"]
    for series in manifest["series"]:
        name, is_log = series["name"], series["returns"] == "log"
        column = params["price_column"] if series is price else name
        r = f"ln(x_t / x_t-1) of {column}" if is_log else f"x_t - x_t-1 of {column}"
        unit = "log return" if is_log else f"unit of {column}"
        level = f"ln {column}" if is_log else column
        for lag in (0, *lags):
            yield (
                f"{name}_ret_{lag}",
                _entry(f"r = {r}, {lag} rows back" if lag else f"r = {r}, at the row itself", unit),
            )
        for w in windows:
            over = f"of the last {w} rows, with r = {r}"
            yield f"{name}_mean_{w}", _entry(f"mean of r {over}", unit)
            yield f"{name}_std_{w}", _entry(f"standard deviation (n - 1) of r {over}", unit)
            yield f"{name}_min_{w}", _entry(f"smallest r {over}", unit)
            yield f"{name}_max_{w}", _entry(f"largest r {over}", unit)
            yield f"{name}_mom_{w}", _entry(f"sum(r) / (std(r) * sqrt({w})) {over}", "none")
            yield (
                f"{name}_z_{w}",
                _entry(f"(level - mean(level)) / std(level) of the last {w} rows, level = {level}", "none"),
            )
    if params["interactions"]:
        for other in others:
            yield from _pairs(params["price_column"], other, windows)
    yield "month", _entry("month of the date, 1 to 12", "none")
    yield "day_of_week", _entry("day of the week of the date, 1 (Monday) to 7", "none")
    for name in manifest.get("as_is", ()):
        yield name, _entry(f"the value of {name} that is known at the close of the row's day", f"unit of {name}")


def _pairs(price: str, series: Mapping[str, str], windows: list[int]) -> Iterator[tuple[str, dict[str, str]]]:
    other = series["name"]
    for w in windows:
        over = f"of the returns of {price} and {other} over the last {w} rows"
        yield f"{other}_corr_{w}", _entry(f"correlation {over}", "none")
        yield (
            f"{other}_beta_{w}",
            _entry(f"covariance {over} / variance of the returns of {other}", "ratio of the units"),
        )
        if series["returns"] == "log":
            words = f"log return of {price} over {w} rows less that of {other}"
            yield f"{other}_spread_{w}", _entry(words, "log return")


def _entry(computed: str, unit: str) -> dict[str, str]:
    return {"computed": computed, "unit": unit}
