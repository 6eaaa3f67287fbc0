"""Forecasts and drift as tables: what a forecaster looks at in the morning."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.output import console, print_table, printable
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.models.kinds import REGIMES as KINDS
from cbi_queue.views.forecast import BESIDE, REGIMES, VOLATILITY, figure, flags_of, monitor_words, what_is_forecast
from cbi_queue.views.leaderboard import BETTER, DIFFERENCE, WORSE
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = ("horizon", "target", ">forecast", ">move", "80 %", "95 %")
VOLATILITY_COLUMNS = ("horizon", "target", ">forecast", ">EWMA", ">last 63 days")
REGIME_COLUMNS = ("horizon", "target", "now", *(f">{name}" for name in KINDS))
_BASELINES = {"": "Naive, that the price stays,", VOLATILITY: "EWMA", REGIMES: "Persistence"}
PLOT_COLUMNS = 60
DRIFT_COLUMNS = (">PSI", ">expected", "state", "feature")
FEATURES_SHOWN = 10
_IN_ASCII = str.maketrans("─━●│", "-=o|")


def print_forecasts(said: Mapping[str, Any], dataset: str) -> None:
    """Print the forecasts of one data set, why these models, and what is known of their errors since."""
    forecasts = said["forecasts"]
    beside = [{**told, "what": kind} for kind in BESIDE for told in said.get(kind, ())]
    newest = max([*forecasts, *beside], key=lambda each: str(each["date"]))
    of = "" if dataset == DEFAULT else f" of {dataset}"
    click.secho(f"Price{of} on {newest['date']}: {figure(newest['price'])}", bold=True)
    if forecasts:
        print_table("", COLUMNS, map(_row, forecasts))
    for line in _plot(forecasts) if forecasts else ():
        click.echo(line if _is_utf8() else line.translate(_IN_ASCII))
    click.echo()
    _print_beside(beside)
    all_told: list[Mapping[str, Any]] = [*forecasts, *beside]
    everywhere = [remark for remark in all_told[0]["remarks"] if all(remark in told["remarks"] for told in all_told)]
    for remark in everywhere:
        _say(f"{remark}.", fg="yellow")
    for told in all_told:
        own = [f"{remark}." for remark in told["remarks"] if remark not in everywhere]
        for sentence in (_why(told), *own):
            _say(f"{what_is_forecast(told)}: {sentence}")
        monitor = None if "what" in told else said.get("monitor", {}).get(told["horizon"])
        if monitor and monitor.get("realised"):
            _say(f"{told['horizon']}: {monitor_words(monitor)}.")
    for each in said.get("refused", ()):
        _say(f"{what_is_forecast(each)}: no forecast: {each['why']}", fg="yellow")
    flags = flags_of(said, dataset)
    for flag in flags:
        _say(f"{flag.words}.", fg="yellow")
    if flags:
        named = "" if dataset == DEFAULT else f" --dataset {dataset}"
        _say(f"`cbi-queue forecast{named} --retrain` queues these models again on the present data.")


def _print_beside(beside: Sequence[Mapping[str, Any]]) -> None:
    """Print the volatility and the regimes, a table each, where there are any."""
    rows = {kind: [told for told in beside if told["what"] == kind] for kind in BESIDE}
    if rows[VOLATILITY]:
        print_table("Volatility until then, annualised", VOLATILITY_COLUMNS, map(_volatility, rows[VOLATILITY]))
        click.echo()
    if rows[REGIMES]:
        print_table("Regime: now, and the probability of each then", REGIME_COLUMNS, map(_regimes, rows[REGIMES]))
        click.echo()


def _volatility(told: Mapping[str, Any]) -> tuple[str, ...]:
    figures = (f"{told[name]:.1f} %" for name in ("volatility_pct", "ewma_pct", "rolling_pct"))
    return (told["horizon"], told["target_date"], *figures)


def _regimes(told: Mapping[str, Any]) -> tuple[str, ...]:
    shares = (f"{told[f'p_{name}']:.0%}".replace("%", " %") for name in KINDS)
    return (told["horizon"], told["target_date"], told["regime"] or UNKNOWN, *shares)


def _row(told: Mapping[str, Any]) -> tuple[str, ...]:
    price, middle = told["price"], told["predicted_price"]
    share = None if told["label"] == DIFFERENCE else middle / price - 1
    moved = f"{middle - price:+.4g}" if share is None else f"{share:+.1%}".replace("%", " %")
    bounds = (_interval(told[f"lower_{p}"], told[f"upper_{p}"]) for p in ("80", "95"))
    return (told["horizon"], told["target_date"], figure(middle), moved, *bounds)


def _interval(low: float | None, high: float | None) -> str:
    return "too few misses known" if low is None or high is None else f"{figure(low)} to {figure(high)}"


def _plot(forecasts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Draw the intervals on one scale: 95 % thin, 80 % thick, the forecast a dot, the present price a bar."""
    ends = [told[f"{end}_{p}"] for told in forecasts for end in ("lower", "upper") for p in ("80", "95")]
    known = [end for end in ends if end is not None]
    points = known + [told[name] for told in forecasts for name in ("price", "predicted_price")]
    low, high = min(points), max(points)
    if not known or high <= low or console().width < PLOT_COLUMNS + 10:
        return []

    def column(price: float) -> int:
        return int(0.5 + (price - low) / (high - low) * (PLOT_COLUMNS - 1))

    lines = []
    for told in forecasts:
        cells = [" "] * PLOT_COLUMNS
        for percent, mark in (("95", "─"), ("80", "━")):
            lower, upper = told[f"lower_{percent}"], told[f"upper_{percent}"]
            if lower is not None and upper is not None:
                for at in range(column(lower), column(upper) + 1):
                    cells[at] = mark
        cells[column(told["price"])] = "│"
        cells[column(told["predicted_price"])] = "●"
        lines.append(f"{told['horizon']:<8} {''.join(cells).rstrip()}")
    left, right = figure(low), figure(high)
    return ["", *lines, f"{'':<8} {left}{right:>{PLOT_COLUMNS - len(left)}}"]


def _why(told: Mapping[str, Any]) -> str:
    """Say why this model, and what may be believed of it."""
    what, of = told.get("what", ""), told["of"]
    first = f"has the least log loss of {of} models on the validation block"  # their board is in the backtest's order
    rank = first if what == REGIMES else f"ranks first of {of} models on its board"
    rank = "is the only model of its board" if of == 1 else rank
    bar = _BASELINES[what]
    is_known = {BETTER: [], WORSE: [f"{bar} is better."]}
    simple = is_known.get(told["told_apart"], [f"{bar} is as good as far as is known."])
    return " ".join([f"{told['job']} ({told['model']}) {rank}.", *told["words"], *simple])


def print_drift(drift: Mapping[str, Any], jobs: Mapping[str, str], *, every: bool) -> None:
    """Print how far the features of each model moved since its training."""
    for horizon, found in drift.items():
        click.secho(f"{horizon}: {printable(jobs[horizon])}", bold=True)
        live, features = found["live_rows"], found["features"]
        if not found["uses_features"]:
            _say("It reads no features itself, so none can drift; the members of an ensemble are not looked at.")
        elif not found["compared_rows"]:
            _say(f"{live} rows since its training; from 63 on they are compared with those that it was trained on.")
        else:
            gone = sum(each["quarantined"] for each in features)
            _say(
                f"The latest {found['compared_rows']} of {live} rows since its training against {found['reference_rows']:,} that it "
                f"was trained on: {gone} of {len(features)} features drifted."
            )
            print_table("", DRIFT_COLUMNS, map(_feature, features if every else features[: max(FEATURES_SHOWN, gone)]))
        click.echo()
    _say(
        "A feature is in quarantine while its PSI is above 0.25 and above 3 times what is expected of as many rows without "
        "drift; it leaves by itself when it is not. Training with `quarantine_psi: 0.25` does without such features and "
        "judges them anew at each fit."
    )


def _feature(each: Mapping[str, Any]) -> tuple[str, ...]:
    state = "quarantine" if each["quarantined"] else ""
    return f"{each['psi']:.3f}", f"{each['expected']:.3f}", state, each["name"]


def _is_utf8() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _say(line: str, **style: Any) -> None:
    text = printable(line)
    folded = textwrap.fill(text, console().width, subsequent_indent="  ") if sys.stdout.isatty() else text
    click.secho(folded, **style)
