"""The figures of the user's own scripts, a board a project: never beside forecasts. Pure: rows in, rows out.

A project is the folder that a script runs in, or the name that its plan gives. Runs are ranked by one figure, and only
when somebody has declared whether lower or higher is better. Repeats, runs that differ in nothing but a seed, are one row
with their mean, lowest and highest value. Nothing is tested and nothing called better: places are the order of the means.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from cbi_queue.lifecycle import JobState
from cbi_queue.models.kinds import Family
from cbi_queue.views.stored_values import number_of, object_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cbi_queue.ledger import JobRow

HIGHER, LOWER = "higher", "lower"
OURS = frozenset({"exit_status", "fit_s"})
"""Figures that every script has."""
_SEED_NAME = r"(?:[a-z]+[_-])?(?:seed|random[_-]state)"
_OPTION = re.compile(r"--?[a-z]", re.IGNORECASE)
_SEED = re.compile(rf"^-{{0,2}}{_SEED_NAME}(=.*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RankBy:
    """What a board is ranked by."""

    figure: str
    better: str
    """higher | lower."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over the repeats of a row; mean, lowest and highest are equal for a single run."""

    mean: float
    lowest: float
    highest: float
    runs: int
    """Runs that have it."""


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """One run, or several that differ in nothing but their seed."""

    project: str
    place: int | None
    """1 comes first; equal means share a place; None: not ranked."""
    name: str
    """The first run's."""
    job_ids: tuple[int, ...]
    names: tuple[str, ...]
    figures: dict[str, Figure]
    ranked_by: str | None
    better: str | None
    """higher | lower; None: nobody has declared it, and nothing is ranked."""
    code: str | None
    """Which state of the code and the inputs it ran; None: not known."""
    fit_s: float | None
    """Working seconds, the mean."""
    damage: str | None = None
    """What the last check of its run folder found wrong; it is then not ranked."""
    former: str | None = None
    """Why these are the figures of its former run; None: they are those of its last."""


def project_of(job: JobRow) -> str | None:
    """Return the project of a script: the one it names, else the name of its folder; None for models of ours."""
    if job.family != Family.SCRIPT:
        return None
    params = object_of(job.spec.get("params"))
    return text_of(params.get("project")) or PurePath(text_of(params.get("workdir")) or "").name or None


def rank_projects(jobs: Iterable[JobRow], by: RankBy | None = None) -> dict[str, list[ProjectRow]]:
    """Return project -> its rows, ranked ones first; projects by their name.

    Args:
        jobs: any, with their specs; scripts that have figures count, of each name the newest, former ones too.
        by: ranks every project so; None: as the newest job of a project that declares it.
    """
    newest: dict[tuple[str, str], JobRow] = {}
    for job in sorted(jobs, key=lambda job: job.id):
        project = project_of(job)
        if project is not None and job.state is not JobState.VETOED and figures_of(job):
            newest[project, job.name] = job
    projects: dict[str, list[JobRow]] = {}
    for (project, _), job in newest.items():
        projects.setdefault(project, []).append(job)
    return {project: _ranked(project, projects[project], by) for project in sorted(projects)}


def figures_of(job: JobRow) -> dict[str, float]:
    """Return the figures that a script reported itself: name -> finite number."""
    found = {name: number_of(value) for name, value in (job.metrics or {}).items() if name not in OURS}
    return {name: value for name, value in found.items() if value is not None}


def declared(jobs: Sequence[JobRow]) -> RankBy | None:
    """Return what the newest of *jobs* that declares it is ranked by."""
    for job in sorted(jobs, key=lambda job: -job.id):
        for figure, better in object_of(object_of(job.spec.get("params")).get("rank_by")).items():
            if better in {HIGHER, LOWER}:
                return RankBy(figure, better)
    return None


def sentences(rows: Sequence[ProjectRow]) -> list[str]:
    """Say what the rows of one project are ranked by, and what cannot be read off them."""
    first = rows[0]
    if first.ranked_by is None:
        said = ["Not ranked: nobody has declared whether lower or higher is better (--rank-by NAME=lower)."]
    else:
        said = [f"Ranked by {first.ranked_by}, {first.better} first. No difference here was tested."]
    without = [row.name for row in rows if first.ranked_by and row.damage is None and row.place is None]
    said += [f"Without {first.ranked_by}, so not ranked: {', '.join(without)}."] if without else []
    said += [f"Damaged, so not ranked: {row.name}: {row.damage}." for row in rows if row.damage is not None]
    said += [f"Former result: {row.name}, {row.former}." for row in rows if row.former is not None]
    states = {row.code for row in rows if row.former is None}
    said += [f"They ran {len(states)} states of code and inputs."] if len(states) > 1 else []
    return said


def shown_figures(rows: Sequence[ProjectRow], most: int | None = None) -> list[str]:
    """Return the figures that columns are for: the ranking one first, then those that most rows have, at most *most*."""
    counts: dict[str, int] = {}
    for row in rows:
        for name in row.figures:
            counts[name] = counts.get(name, 0) + 1
    return sorted(counts, key=lambda name: (name != rows[0].ranked_by, -counts[name], name))[:most]


def _ranked(project: str, jobs: list[JobRow], by: RankBy | None) -> list[ProjectRow]:
    by = by or declared(jobs)
    groups: dict[str, list[JobRow]] = {}
    for job in jobs:
        groups.setdefault(_repeats_key(job), []).append(job)
    rows = [_row(project, group, by) for group in groups.values()]

    def value(row: ProjectRow) -> float | None:
        return row.figures[by.figure].mean if by and row.damage is None and by.figure in row.figures else None

    sign = -1.0 if by and by.better == HIGHER else 1.0
    rows.sort(key=lambda row: (value(row) is None, sign * (value(row) or 0.0), row.name))
    means = [value(row) for row in rows]
    return [
        replace(row, place=None if mean is None else means.index(mean) + 1)
        for row, mean in zip(rows, means, strict=True)
    ]


def _row(project: str, jobs: list[JobRow], by: RankBy | None) -> ProjectRow:
    names = {name: None for job in jobs for name in figures_of(job)}
    values = {name: [found[name] for job in jobs if name in (found := figures_of(job))] for name in names}
    times = [time for job in jobs if (time := number_of((job.metrics or {}).get("fit_s"))) is not None]
    return ProjectRow(
        project=project,
        place=None,
        name=jobs[0].name,
        job_ids=tuple(job.id for job in jobs),
        names=tuple(job.name for job in jobs),
        figures={name: Figure(_mean(all_), min(all_), max(all_), len(all_)) for name, all_ in values.items()},
        ranked_by=by.figure if by else None,
        better=by.better if by else None,
        code=jobs[0].snapshot if former_words(jobs[0]) is None else None,
        fit_s=_mean(times) if times else None,
        damage=next((job.damage for job in jobs if job.damage is not None), None),
        former=former_words(jobs[0]),
    )


def former_words(job: JobRow) -> str | None:
    """Return why the result of *job* is that of its former run; None when it is that of its last."""
    if job.state is JobState.SUCCEEDED:
        return None
    words = {JobState.FAILED: "which failed when it ran again", JobState.CANCELLED: "whose next run was cancelled"}
    words |= dict.fromkeys((JobState.RUNNING, JobState.PAUSED), "which runs again")
    return words.get(job.state, f"which is {job.state} to run again")


def _mean(values: Sequence[float]) -> float:
    """Return the mean, inside the range of *values* also where their sum would be too large."""
    return min(max(sum(value / len(values) for value in values), min(values)), max(values))


def _repeats_key(job: JobRow) -> str:
    """Return what repeats have in common: all that is run and the code, without the seed; damaged, former: alone."""
    params = object_of(job.spec.get("params"))
    kept = {key: params.get(key) for key in ("workdir", "inputs", "environment_file")}
    kept["command"] = _without_seed(params.get("command") or ())
    for key in ("environment", "values"):
        kept[key] = {name: value for name, value in object_of(params.get(key)).items() if not _SEED.match(name)}
    is_alone = job.damage is not None or former_words(job) is not None
    return json.dumps([kept, job.snapshot, job.id if is_alone else None], sort_keys=True)


def _without_seed(command: Iterable[Any]) -> list[str]:
    kept: list[str] = []
    is_value = False
    for part in map(str, command):
        match = _SEED.match(part)
        if match is None and not (is_value and not _OPTION.match(part)):
            kept.append(part)
        is_value = match is not None and match[1] is None and part.startswith("-")
    return kept


def titled(boards: Mapping[str, list[ProjectRow]]) -> dict[str, list[ProjectRow]]:
    """Return the boards under titles that no board of forecasts has."""
    return {f"project {project}": rows for project, rows in boards.items()}
