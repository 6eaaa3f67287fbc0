"""Today's forecasts of a data set: which model each horizon has, and the process that makes them run.

The process (`python -m jobs.forecasting`) loads the libraries, which cbi-queue itself never does. One at a time: two would
write the same files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cbi_queue import clock
from cbi_queue.child_answers import answer_of
from cbi_queue.datasets.place import of_dataset
from cbi_queue.errors import CbiError, Refused
from cbi_queue.ledger.damage import check_runs
from cbi_queue.ledger.members import run_of
from cbi_queue.ledger.queries import job_numbered, scored_jobs
from cbi_queue.models.kinds import HORIZONS, forecasts_price
from cbi_queue.regular_files import check_folder, file_lock, plain_words
from cbi_queue.views.forecast import BESIDE, folder_of, what_is_forecast
from cbi_queue.views.winner import ranked_models
from cbi_queue.views.winner_beside import chosen_beside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cbi_queue.ledger import JobRow, Ledger
    from cbi_queue.settings import Settings
    from cbi_queue.views.winner import Chosen

LIMIT_S = 600.0
"""Seconds that the forecasts of a data set may take; five horizons take a few."""
WAIT_S = 120.0
"""Seconds that a forecast waits for another one to end."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What can be asked for, and why not the rest."""

    models: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)


def make_forecasts(
    settings: Settings,
    ledger: Ledger,
    dataset: str,
    horizons: Sequence[str] = (),
    *,
    old_data: bool,
    writes: bool,
    only_prices: bool = False,
) -> dict[str, Any]:
    """Forecast with the chosen models of each horizon; see `jobs.forecasting.making` for what is returned.

    Args:
        settings: where everything is.
        ledger: which models are ranked.
        dataset: name of the data set.
        horizons: which; none: every one that has a ranked model.
        old_data: data that end long before today are no reason to refuse.
        writes: write the files of the day.
        only_prices: leave volatility and regimes out.

    Raises:
        Refused: when no horizon could be forecast.
        CbiError: when the process failed, a file could not be written, or another forecast does not end.
    """
    wanted = _wanted(settings, ledger, dataset, horizons or HORIZONS, is_named=bool(horizons), only_prices=only_prices)
    if not wanted.models:
        raise _all_refused(dataset, wanted.refused)
    folder = folder_of(settings.logs, dataset)
    asked = {
        "dataset": dataset,
        "exports_dir": str(of_dataset(settings.exports_dir, dataset)),
        "processed_dir": str(of_dataset(settings.processed_dir, dataset)),
        "today": clock.local_day(),
        "made_at": clock.utc_now().isoformat(timespec="seconds"),
        "max_age": settings.forecast_max_age,
        "old_data": old_data,
        "folder": str(folder) if writes else None,
        "log_folder": str(folder),
        "models": wanted.models,
    }
    settings.make_state_dir()
    with file_lock(settings.state_dir / "forecast.lock", WAIT_S) as is_alone:
        if not is_alone:
            raise CbiError(
                f"another forecast has been running for more than {WAIT_S:.0f} s", hint="try again when it is done"
            )
        if writes:
            _make_folder(folder, settings)
        said = _run(asked, settings.interpreter_for("native"))
    said["refused"] = [*wanted.refused, *said["refused"]]
    if not any(said[kind] for kind in ("forecasts", *BESIDE)):
        raise _all_refused(dataset, said["refused"])
    return said


def _wanted(
    settings: Settings, ledger: Ledger, dataset: str, horizons: Sequence[str], *, is_named: bool, only_prices: bool
) -> Wanted:
    jobs, wanted = scored_jobs(ledger), Wanted()

    def add(number: int, where: dict[str, str], place: dict[str, Any]) -> None:
        job = job_numbered(ledger, number)  # with its whole spec
        asked, fault = _asked(settings, ledger, job)
        if fault is not None:
            wanted.refused.append({**where, "why": fault})
            return
        wanted.models.append({**asked, **where, **place, "members": _members(settings, ledger, job)})

    for horizon in horizons:
        beside = [] if only_prices else chosen_beside(jobs, horizon, dataset)
        try:
            ranked = ranked_models(jobs, horizon, dataset)
            add(ranked[0].job.id, {"horizon": horizon}, _place(ranked[0], len(ranked)))
        except Refused as exc:
            if (is_named and not beside) or any(
                job.horizon == horizon and job.dataset == dataset and forecasts_price(job.family, job.model)
                for job in jobs
            ):
                wanted.refused.append({"horizon": horizon, "why": f"{exc.message}; {exc.hint}"})
        for best in beside:
            place = {name: getattr(best, name) for name in ("place", "of", "told_apart")}
            add(best.job.id, {"horizon": horizon, "what": best.what}, {**place, "words": list(best.words)})
    return wanted


def _place(chosen: Chosen, of: int) -> dict[str, Any]:
    return {
        "place": chosen.row.place,
        "of": of,
        "told_apart": chosen.row.told_apart,
        "words": list(chosen.words),
    }


def _asked(settings: Settings, ledger: Ledger, job: JobRow) -> tuple[dict[str, Any], str | None]:
    """Return what a forecast needs to know of the run of *job*, and what is wrong with it."""
    check = next(check_runs(ledger, [job.id], settings.models), None)
    damage = "it is no longer there" if check is None else check.damage
    if check is None or damage is not None:
        return (
            {},
            f"the run of {job.name} is damaged: {damage}; `cbi-queue verify {job.name}` marks it, `retry` trains it again",
        )
    return {
        "horizon": job.horizon,
        "job": job.name,
        "job_id": job.id,
        "model": job.model,
        "backend": job.backend,
        "interpreter": settings.interpreter_for(job.backend),
        "run_dir": check.run_dir,
        "params": job.spec.get("params", {}),
        "snapshot": job.snapshot,
    }, None


def _members(settings: Settings, ledger: Ledger, job: JobRow) -> list[dict[str, Any]]:
    """Return the runs that an ensemble or a mixture combined, those that are still what they were."""
    found, metrics = [], job.metrics or {}
    for member in metrics.get("members") or metrics.get("part_runs") or ():
        number = str(member.get("run", "")).partition(".")[0]
        row = job_numbered(ledger, int(number)) if number.isdigit() else None
        if row is not None and run_of(row) == member["run"]:
            asked, fault = _asked(settings, ledger, row)
            if fault is None:
                found.append(asked)
    return found


def _all_refused(dataset: str, refused: list[dict[str, str]]) -> Refused:
    if not refused:
        return Refused(
            f"no model of the data set {dataset} is ranked, so there is nothing to forecast with",
            hint="train one first: `cbi-queue enqueue PLAN`, then `cbi-queue leaderboard`",
        )
    whys = list(dict.fromkeys(each["why"] for each in refused))
    if len(whys) == 1:
        return Refused(f"no forecast of {dataset}: {whys[0]}")
    return Refused(
        f"no forecast of {dataset}:\n" + "\n".join(f"  {what_is_forecast(each)}: {each['why']}" for each in refused)
    )


def _make_folder(folder: Path, settings: Settings) -> None:
    settings.require_volume()
    try:
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CbiError(f"cannot make the folder of the forecasts: {plain_words(exc, folder)}") from exc


def _run(asked: dict[str, Any], interpreter: str) -> dict[str, Any]:
    said = answer_of(
        "jobs.forecasting", asked, interpreter,
        within_s=LIMIT_S, to="forecast", work="the forecast", hint="try again later",
    )  # fmt: skip
    if "refused_all" in said:
        raise Refused(f"no forecast of {asked['dataset']}: {said['refused_all']}")
    if "failed" in said:
        words = f"the forecast failed: {said['failed']}; the files of earlier forecasts are as they were"
        raise CbiError(words, hint=said["hint"])
    return said
