"""Why a run forecasts what it does, as its folder says in `why.json`: read, checked, and in words. Read-only."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import open_manifest
from cbi_queue.ledger.damage import folder_inside
from cbi_queue.models.kinds import Family
from cbi_queue.regular_files import read_whole
from cbi_queue.views.forecast import figure
from cbi_queue.views.job_words import signed
from cbi_queue.views.stored_values import number_of
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

    from cbi_queue.ledger import JobRow

WHY = "why.json"
BAR_COLUMNS = 20
OF_HOW_MANY = "Of many models one always looks good: `cbi-queue leaderboard` corrects for their number."
FULL, LIGHT = "█", "░"
"""Characters of a bar: of an importance that is told apart from zero, and of one that may be luck."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a run says of its forecasts; `missing` in place of all of it where it says nothing."""

    found: dict[str, Any]
    """As stored."""
    missing: str | None = None


def explanation_of(job: JobRow, models: Path) -> Explanation:
    """Read what the run of *job* says of its forecasts; believed only below *models*, where its manifest names the file."""
    if not job.run_dir or not job.metrics:
        return Explanation({}, f"{job.name} is {job.state}: only a finished run has an explanation")
    folder, why = folder_inside(job.run_dir, models)
    manifest, why = open_manifest(folder) if folder else (None, why)
    if folder is None or manifest is None:
        return Explanation({}, why)
    if (manifest.job_id, manifest.identity) != (job.id, job.identity):
        return Explanation({}, "the run folder belongs to another job now")
    if WHY not in manifest.files:
        if job.family == Family.SCRIPT:
            why = f"{job.name} is a script of your own: what its result depends on is not known here"
        else:
            why = f"{job.model} has no features to weigh: it forecasts from the price alone, or it is an older run"
        return Explanation({}, why)
    try:
        content = read_whole(folder / WHY)
        is_its_own = hashlib.sha256(content).hexdigest() == manifest.files[WHY].get("sha256")
        found = json.loads(content) if is_its_own else None
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return Explanation({}, f"{folder / WHY} cannot be read; `cbi-queue verify {job.name}` checks the run")
    return Explanation(found)


def luck_words(job: JobRow) -> str:
    """Return what may be believed of the model at all: it stands above its bars."""
    backtest = (job.metrics or {}).get("backtest")
    scores: dict[str, Any] = backtest if isinstance(backtest, dict) else {}
    low, high = number_of(scores.get("skill_low")), number_of(scores.get("skill_high"))
    if number_of((job.metrics or {}).get("shrinkage")) == 0:
        return "It showed no skill on validation, so its forecasts are naive's: what it weighs counts for nothing."
    if low is None or high is None:
        return "Too few independent periods to tell this model apart from naive: what it weighs may be noise."
    interval = f"its skill lies between {signed(low)} and {signed(high)}"
    if low > 0:
        return f"Better than naive on the backtest, taken alone: {interval}. {OF_HOW_MANY}"
    if high < 0:
        return f"Worse than naive on the backtest: {interval}. What it weighs misleads it."
    return f"Not told apart from naive: {interval}. What it weighs may be noise."


def importance_rows(found: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return column, bar, importance, 95 % interval and judgement of each source column, largest first."""
    listed = [each for each in _listed(found.get("importance")) if number_of(each.get("importance")) is not None]
    most = max((abs(each["importance"]) for each in listed), default=0.0)
    return [
        (
            _name(each),
            _bar(each["importance"], most, FULL if each.get("told_apart") is True else LIGHT),
            _percent(each["importance"]),
            _interval(each.get("low"), each.get("high")),
            _judgement(each),
        )
        for each in listed
    ]


def importance_words(found: dict[str, Any]) -> str:
    """Return how the importance was measured, or why it was not."""
    measured = found.get("measured_on")
    if not _listed(found.get("importance")) or not isinstance(measured, dict):
        return f"Importance was not measured: {found.get('no_importance') or 'the file does not say why'}."
    return (
        f"Error of {measured.get('samples')} validation samples from {measured.get('first')} to {measured.get('last')} when a "
        f"column is shuffled, {measured.get('repeats')} times; measured on {found.get('fit')}. The columns that were "
        "engineered from one are shuffled together."
    )


def contribution_rows(found: dict[str, Any], price: float | None) -> list[tuple[str, str, str, str]]:
    """Return column, bar, what it adds to the forecast, and to the price, largest first; none where it is not known."""
    told = found.get("contributions")
    if not isinstance(told, dict):
        return []
    listed = [each for each in _listed(told.get("columns")) if number_of(each.get("adds")) is not None]
    most = max((abs(each["adds"]) for each in listed), default=0.0)
    factor = number_of(found.get("forecast_factor"))
    scale = 1.0 if factor is None else factor
    return [
        (
            _name(each),
            _bar(each["adds"], most),
            _amount(scale * each["adds"], told),
            "" if price is None or not _is_share(told) else _signed_price(scale * each["adds"] * price),
        )
        for each in listed
    ]


def contribution_words(found: dict[str, Any]) -> str:
    """Return what the contributions add up to, or why there are none."""
    told = found.get("contributions")
    if not isinstance(told, dict):
        return f"Contributions to the newest forecast: {found.get('no_contributions') or 'not recorded'}."
    factor, forecast = number_of(found.get("forecast_factor")), number_of(told.get("forecast"))
    if factor == 0 or forecast is None:
        return "The forecast was shrunk to naive's, since the model showed no skill on validation: nothing adds to it."
    scale = 1.0 if factor is None else factor
    before = number_of(told.get("before_any")) or 0.0
    shrunk = "" if scale == 1.0 else f", after shrinking to {scale:.0%}".replace("%", " %")
    return (
        f"Forecast from {told.get('date')}: {_amount(scale * forecast, told)}, of which {_amount(scale * before, told)} before any "
        f"column{shrunk}. Exact contributions of the trees, which add up to it."
    )


def noise_words(found: dict[str, Any]) -> str | None:
    """Return how many columns are not told apart from zero; None where nothing was measured."""
    listed = _listed(found.get("importance"))
    if not listed:
        return None
    used = sum(each.get("told_apart") is True for each in listed)
    few = any(each.get("told_apart") is None for each in listed)
    return (
        f"{used} of {counted(len(listed), 'column')} {'is' if used == 1 else 'are'} told apart from zero (full bars), "
        "corrected for their number" + ("; too few independent rows to say more." if few else ".")
    )


def _listed(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _name(each: dict[str, Any]) -> str:
    name, features = str(each.get("column")), number_of(each.get("features"))
    return name if features is None or features == 1 else f"{name} ({features:.0f})"


def _bar(value: float, most: float, mark: str = FULL) -> str:
    """Return a bar, of `-` for what makes the forecasts worse or lower."""
    if not most or not value:
        return ""
    return (mark if value > 0 else "-") * max(1, round(BAR_COLUMNS * abs(value) / most))


def _percent(share: float) -> str:
    return f"{100 * share:+.2f} %"


def _is_share(told: dict[str, Any]) -> bool:
    """Return True for log returns; the other label is a difference of prices."""
    return bool(told.get("unit", "log_return") == "log_return")


def _amount(value: float, told: dict[str, Any]) -> str:
    return _percent(value) if _is_share(told) else f"{value:+.4g}"


def _interval(low: Any, high: Any) -> str:
    first, last = number_of(low), number_of(high)
    return "" if first is None or last is None else f"{100 * first:+.2f} to {100 * last:+.2f} %"


def _judgement(each: dict[str, Any]) -> str:
    if each["importance"] == 0 and each.get("se_repeats") == 0:
        return "unused"
    return {True: "yes", False: "no"}.get(each.get("told_apart"), "too few")  # type: ignore[arg-type]


def _signed_price(change: float) -> str:
    return f"{'-' if change < 0 else '+'}{figure(abs(change))}"
