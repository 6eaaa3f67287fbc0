"""How planned jobs will be split and walked forward, with dates, before anything is trained. Read-only.

`cbi-queue plan show --splits` prints it. The dates are read on the trainers' Python (`jobs.split_plan`).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import export_path, of_dataset
from cbi_queue.errors import Refused
from cbi_queue.models.kinds import Family
from cbi_queue.models.parameters.common import EvaluationParams
from cbi_queue.models.parameters.meta import EnsembleParams, LearnedEnsembleParams
from cbi_queue.models.parameters.statistical import RollingFitParams
from cbi_queue.regular_files import plain_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cbi_queue.settings import Settings
    from cbi_queue.spec import JobSpec

LONGEST_S = 300.0
_SHARED = ("validation_rows", "backtest_rows", "embargo_rows", "scheme", "final_block_rows")
"""Parameters that decide the blocks."""


@dataclass(frozen=True, slots=True)
class Fits:
    """Jobs of one split that are fitted at the same rows."""

    jobs: tuple[str, ...]
    way: str
    """once, walk_forward, alone: the model walks forward by itself, or members: it learns from others' forecasts."""
    refit_every_rows: int | None = None
    history_rows: int | None = None
    """Rows that each fit sees; None: all that are known by then."""


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Jobs with equal blocks."""

    dataset: str
    horizon: str
    path: str
    """File whose dates these are."""
    fits: tuple[Fits, ...]
    body: dict[str, Any]
    """What `jobs.split_plan` said: blocks and windows, or {"error": words}."""

    @property
    def jobs(self) -> tuple[str, ...]:
        """Names of all jobs."""
        return tuple(name for fits in self.fits for name in fits.jobs)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; every way of fitting has its own windows."""
        said = {key: value for key, value in self.body.items() if key != "windows"}
        windows = self.body.get("windows", {})
        return {
            "dataset": self.dataset,
            "horizon": self.horizon,
            "path": self.path,
            **said,
            "fits": [
                {
                    "jobs": list(fits.jobs),
                    "way": fits.way,
                    "refit_every_rows": fits.refit_every_rows,
                    "history_rows": fits.history_rows,
                    "windows": windows.get(str(fits.refit_every_rows), []) if fits.way == "walk_forward" else [],
                }
                for fits in self.fits
            ],
        }


def split_plans(settings: Settings, jobs: Sequence[JobSpec]) -> list[SplitPlan]:
    """Return the splits of the forecasting models among *jobs*, those with equal blocks together, in their order.

    Raises:
        Refused: when the trainers' Python cannot say.
    """
    groups: dict[str, list[JobSpec]] = {}
    requests: dict[str, dict[str, Any]] = {}
    for job in jobs:
        if isinstance(job.typed_params, EvaluationParams):
            request = _request(settings, job, jobs)
            key = json.dumps([job.dataset, request], sort_keys=True)
            requests[key] = request
            groups.setdefault(key, []).append(job)
    fits = {key: _fits(members) for key, members in groups.items()}
    for key, request in requests.items():
        request["refit_every_rows"] = [each.refit_every_rows for each in fits[key] if each.way == "walk_forward"]
    answers = _ask(settings.interpreter_for("native"), list(requests.values())) if requests else []
    return [
        SplitPlan(groups[key][0].dataset, request["horizon"], request["path"], fits[key], answer)
        for (key, request), answer in zip(requests.items(), answers, strict=True)
    ]


def _request(settings: Settings, job: JobSpec, jobs: Iterable[JobSpec]) -> dict[str, Any]:
    builders = [each for each in jobs if each.family == Family.FEATURES and each.dataset == job.dataset]
    features = next((each.params for each in builders if each.horizon == job.horizon), None)
    path, is_export = _file(settings, job, is_built=features is not None)
    shared = {name: job.params[name] for name in _SHARED}
    if shared["scheme"] != "walk_forward":
        del shared["final_block_rows"]
    return {
        "path": str(path),
        "is_export": is_export,
        "features": features or {},
        "horizon": job.horizon,
        "evaluation": shared,
    }


def _file(settings: Settings, job: JobSpec, *, is_built: bool) -> tuple[Path, bool]:
    """Return the file whose rows *job* will see, and whether it is the export: it is where the plan builds features."""
    cache = of_dataset(settings.processed_dir, job.dataset) / f"{job.horizon}_features.parquet"
    if not is_built and cache.is_file():
        return cache, False
    return export_path(of_dataset(settings.exports_dir, job.dataset), job.horizon), True


def _fits(jobs: Iterable[JobSpec]) -> tuple[Fits, ...]:
    ways: dict[tuple[str, int | None, int | None], list[str]] = {}
    for job in jobs:
        params = job.typed_params
        if isinstance(params, RollingFitParams):
            way: tuple[str, int | None, int | None] = ("alone", params.refit_every_rows, params.history_rows)
        elif isinstance(params, LearnedEnsembleParams):
            way = ("members", params.refit_every_rows, params.history_rows)
        elif isinstance(params, EnsembleParams):
            way = ("members", None, None)
        elif isinstance(params, EvaluationParams) and params.scheme == "walk_forward":
            way = ("walk_forward", params.refit_every_rows, None)
        else:
            way = ("once", None, None)
        ways.setdefault(way, []).append(job.name)
    return tuple(Fits(tuple(names), *way) for way, names in ways.items())


def _ask(interpreter: str, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        done = subprocess.run(
            [interpreter, "-P", "-m", "jobs.split_plan"],
            input=json.dumps(requests),
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        answers: list[dict[str, Any]] = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
        raise Refused(
            f"cannot read the dates of the exports on {interpreter}: {plain_words(exc) if isinstance(exc, OSError) else 'no answer'}",
            hint="`cbi-queue doctor` checks the trainers' Python and its libraries",
        ) from exc
    return answers
