"""What must hold between jobs, between plans, and against the machine and its data. Reads no plan file.

Names, needs and circles; batch and sequence ceilings of the hardware profile; input data; the week's budget. Each check
is a function over drafts that only adds complaints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cbi_queue import budget
from cbi_queue.datasets.place import of_dataset
from cbi_queue.hardware.fit import why_it_cannot_fit
from cbi_queue.hardware.memory import line_for
from cbi_queue.hardware.shapes import ASSUMED, shape_from_cache
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import MIXTURE, SPLIT_PARAMS, Family, forecasts_price
from cbi_queue.models.mixtures import wrong_parts
from cbi_queue.models.not_exported import NOT_EXPORTED
from cbi_queue.plan.data_checks import check_data, of_dataset_words
from cbi_queue.plan.drafting import drafts_in
from cbi_queue.plan.order import circles
from cbi_queue.plan.text_checks import check_text
from cbi_queue.values.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from cbi_queue.datasets.inspection import Inspection, Request
    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.hardware.memory import Peak
    from cbi_queue.models.memory_formulas import CorrectionLine, Shape
    from cbi_queue.plan.build import JobDraft
    from cbi_queue.plan.complaints import Complaints
    from cbi_queue.plan.drafting import PlanDraft
    from cbi_queue.spec import JobSpec

MOST_SUGGESTIONS = 20
"""Unmet needs that get a `did you mean`: comparing one with every name takes time."""


SPLIT_KEYS = ("scheme", *SPLIT_PARAMS)
"""Parameters that decide which rows are forecast in which block: those of an ensemble and of its members are equal."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What plans are checked against."""

    profile: HardwareProfile
    exports_dir: Path | None
    """Where the Parquet exports of the default data set are; None: not checked."""
    processed_dir: Path | None
    """Where its feature caches are; None: not checked."""
    known_jobs: Mapping[str, JobSpec]
    """Jobs in the ledger, by name."""
    peaks: Mapping[str, Sequence[Peak]] = field(default_factory=dict)
    """Memory that earlier runs on each backend took."""
    inspect: Callable[[Sequence[Request]], list[Inspection] | None] | None = None
    """Opens exports; None: they are not opened."""
    notes: list[str] = field(default_factory=list)
    """Takes what is worth knowing of the data, but is no complaint."""


def check_all(plans: Sequence[PlanDraft], around: Surroundings, complaints: Complaints, *, all_read: bool) -> None:
    """Run every check. *all_read*: every file could be read, so a name that is missing does not exist."""
    by_name = check_names(plans, complaints)
    if all_read and all(plan.complete for plan in plans) and all(job.name is not None for _, job in drafts_in(plans)):
        check_needs(plans, by_name, around.known_jobs, complaints)
    check_circles(plans, by_name, complaints)
    check_days(plans, complaints)
    check_members(plans, by_name, around.known_jobs, complaints)
    check_mixtures(plans, by_name, around.known_jobs, complaints)
    check_exports(plans, by_name, around.known_jobs, complaints)
    check_caches(plans, complaints)
    for plan in plans:
        check_ceilings(plan, around.profile, complaints)
        check_memory(plan, around, complaints)
    check_data(plans, by_name, around, complaints)
    check_text(plans, by_name, around, complaints)
    check_budget(plans, complaints)


def check_names(plans: Sequence[PlanDraft], complaints: Complaints) -> dict[str, JobDraft]:
    """Complain about names that are used twice; return the first job of each name."""
    first: dict[str, tuple[PlanDraft, JobDraft]] = {}
    for plan, job in drafts_in(plans):
        if job.name is None:
            continue
        other, holder = first.setdefault(job.name, (plan, job))
        if holder is job:
            continue
        key = (*job.at, "name")
        if other is plan and holder.at == job.at:
            text = f"two combinations of the matrix are both named {job.name!r}; put every matrix key into the name"
        else:
            line = other.source.line_of((*holder.at, "name"))
            text = f"the name {job.name!r} is already taken by {other.source.name}:{line}; names are unique"
        plan.complain(complaints, key, text)
    return {name: job for name, (_, job) in first.items()}


def check_needs(
    plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], known: Mapping[str, JobSpec], complaints: Complaints
) -> None:
    """Complain about needs that neither the given plans nor the queue contain."""
    suggestions = 0
    for plan, job in drafts_in(plans):
        waits = [("needs", "needs", *item) for item in job.needs.items()]
        waits += [("after", "comes after", *item) for item in job.after.items()]
        for key, verb, name, i in waits:
            if name in by_name or name in known:
                continue
            meant = did_you_mean(name, by_name, cutoff=0.8) if suggestions < MOST_SUGGESTIONS else ""
            suggestions += 1
            text = f"{verb} {name!r}, which is neither in the given plans nor in the queue{meant}"
            hint = "" if meant else "; pass the file that defines it as well, or enqueue that file first"
            plan.complain(complaints, (*job.at, key, i), text + hint)


def check_members(
    plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], known: Mapping[str, JobSpec], complaints: Complaints
) -> None:
    """Complain about jobs that an ensemble could never combine: of another horizon, data set or scheme, or ensembles."""
    for plan, job in drafts_in(plans):
        if job.family != Family.META:
            continue
        for name, i in job.after.items():
            member = by_name.get(name) or known.get(name)
            why = _why_no_member(job, member) if member is not None else None
            if why is not None:
                text = f"{job.name!r} cannot combine {name!r}: {why}; name forecasts of {job.horizon} that are judged alike"
                plan.complain(complaints, (*job.at, "after", i), text)


def _why_no_member(job: JobDraft, member: JobDraft | JobSpec) -> str | None:
    if member.family == Family.META:
        return "it is an ensemble itself"
    if member.family is not None and not forecasts_price(member.family, member.model):
        return f"{member.model or member.family} forecasts no price"
    if member.dataset != job.dataset:
        return f"it reads the data set {member.dataset}, not {job.dataset}"
    if member.horizon is not None and job.horizon is not None and member.horizon != job.horizon:
        return f"it forecasts {member.horizon}, not {job.horizon}"
    differing = [
        key
        for key in SPLIT_KEYS
        if key in job.params and key in member.params and job.params[key] != member.params[key]
    ]
    if "scheme" not in differing and job.params.get("scheme") == "holdout":
        differing = [key for key in differing if key != "final_block_rows"]
    return f"{', '.join(differing)} of the two differ" if differing else None


def check_exports(
    plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], known: Mapping[str, JobSpec], complaints: Complaints
) -> None:
    """Complain about exports of a named job whose model no package can hold."""
    for plan, job in drafts_in(plans):
        name = job.params.get("job") if job.family == Family.EXPORT else None
        exported = None if name is None else by_name.get(name) or known.get(name)
        if exported is not None and (why := NOT_EXPORTED.get(exported.model or "")) is not None:
            text = f"{job.name!r} cannot export {name!r}: {exported.model} is not exportable: {why}"
            plan.complain(complaints, (*job.at, "params", "job"), text)


def check_circles(plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], complaints: Complaints) -> None:
    """Complain about jobs that wait for themselves, showing the circle."""
    plan_of = {job.name: plan for plan, job in reversed(list(drafts_in(plans)))}
    for circle in circles({name: job.waits_for for name, job in by_name.items()}):
        job = by_name[circle[0]]
        words = " → ".join(circle if len(circle) <= 12 else (*circle[:6], "…", *circle[-6:]))
        text = f"these jobs need each other in a circle and would never start: {words}"
        plan_of[circle[0]].complain(complaints, (*job.at, "needs" if circle[1] in job.needs else "after"), text)


def check_days(plans: Sequence[PlanDraft], complaints: Complaints) -> None:
    """Complain about a job of the week that waits for one of a later day: its day could not be enqueued alone."""
    day_of = {job.name: plan.day for plan, job in drafts_in(plans)}
    for plan, job in drafts_in(plans):
        for key, names in (("needs", job.needs), ("after", job.after)):
            for name, i in names.items():
                later = day_of.get(name)
                if budget.is_in_week(plan.day) and budget.is_in_week(later) and (later or 0) > (plan.day or 0):
                    text = f"{job.name!r} of day {plan.day} waits for {name!r} of day {later}; move one of them"
                    plan.complain(complaints, (*job.at, key, i), text)


def check_mixtures(
    plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], known: Mapping[str, JobSpec], complaints: Complaints
) -> None:
    """Complain about mixtures over regimes that do not need exactly their parts."""
    for plan, job in drafts_in(plans):
        if job.model != MIXTURE:
            continue
        needed = [by_name[need].spec if need in by_name else known.get(need) for need in job.needs]
        if None not in needed and (words := wrong_parts([(n.model, n.params.get("regime")) for n in needed if n])):
            plan.complain(complaints, (*job.at, "needs"), words)


def check_caches(plans: Sequence[PlanDraft], complaints: Complaints) -> None:
    """Complain about features jobs that would build one cache differently: the later one would replace it.

    With equal parameters, the later one finds the cache and leaves it.
    """
    first: dict[tuple[str, str], tuple[PlanDraft, JobDraft]] = {}
    for plan, job in drafts_in(plans):
        if job.family != Family.FEATURES or job.horizon is None:
            continue
        other, builder = first.setdefault((job.dataset, job.horizon), (plan, job))
        if builder.params != job.params:
            line = other.source.line_of(builder.at)
            of = f"{job.horizon}{of_dataset_words(job.dataset)}"
            text = f"{builder.name!r}, {other.source.name}:{line}, builds the cache of {of} with other params"
            plan.complain(complaints, job.place("params"), f"{text}; all models of a horizon read the same cache")


def check_ceilings(plan: PlanDraft, profile: HardwareProfile, complaints: Complaints) -> None:
    """Complain about batches and sequences that are too large for the machine."""
    hero: JobDraft | None = None
    for job in plan.jobs:
        if job.model is None:
            continue
        kind = MODELS[job.model].batch_kind
        _check_batch(plan, job, kind, profile, complaints)
        length = job.params.get("sequence_length")
        if length is None or length <= profile.sequence_ceiling:
            continue
        if kind != "attention" and length <= profile.hero_sequence_ceiling and hero is None:
            hero = job
            continue
        text = _sequence_text(plan, kind, length, hero, profile)
        plan.complain(complaints, job.place("params", "sequence_length"), text)


def check_memory(plan: PlanDraft, around: Surroundings, complaints: Complaints) -> None:
    """Complain about jobs that could never fit into the machine's memory."""
    shapes: dict[tuple[str, str], Shape] = {}  # read once for the many jobs of a horizon
    lines: dict[tuple[str, str], CorrectionLine] = {}  # learned once for the many jobs of a model
    for job in plan.jobs:
        if job.spec is None:
            continue
        model, backend = job.spec.model, job.spec.backend
        if (model, backend) not in lines:
            lines[model, backend] = line_for(model, backend, around.peaks.get(backend, ()))
        key = job.dataset, job.spec.horizon
        if key not in shapes:
            folder = around.processed_dir and of_dataset(around.processed_dir, job.dataset)
            shapes[key] = (shape_from_cache(folder, job.spec.horizon) if folder else None) or ASSUMED
        text = why_it_cannot_fit(job.spec, around.profile, shapes[key], lines[model, backend])
        if text is not None:
            plan.complain(complaints, job.at, text)


def _check_batch(
    plan: PlanDraft, job: JobDraft, kind: str | None, profile: HardwareProfile, complaints: Complaints
) -> None:
    size = job.params.get("batch_size")
    ceiling = profile.batch_ceiling_for(kind)
    if size is not None and ceiling is not None and size > ceiling:
        text = f"{size} is above the ceiling of {profile.name} for {job.model}; allowed: at most {ceiling}"
        plan.complain(complaints, job.place("params", "batch_size"), text)


def _sequence_text(
    plan: PlanDraft, kind: str | None, length: int, hero: JobDraft | None, profile: HardwareProfile
) -> str:
    most = f"allowed: at most {profile.sequence_ceiling} steps on {profile.name}"
    if kind == "attention":
        return f"{length} is too long for attention; {most}"
    if length > profile.hero_sequence_ceiling or hero is None:
        return f"{length} is too long; {most}, or {profile.hero_sequence_ceiling} for one hero run per plan"
    line = plan.source.line_of(hero.at)
    return f"{length} is too long; {most}; this plan already has a hero run, {hero.name!r}, line {line}"


def check_budget(plans: Sequence[PlanDraft], complaints: Complaints) -> None:
    """Complain when the days of the week together leave the budget of models."""
    placed = [
        (plan, job)
        for plan, job in drafts_in(plans)
        if budget.is_in_week(plan.day) and job.family and job.model and budget.counts_as_model(job.family, job.model)
    ]
    overrun = budget.first_over([str(job.family) for _, job in placed])
    for index, text in overrun:
        plan, job = placed[index]
        plan.complain(complaints, job.at, text)
    days = {plan.day for plan in plans}
    if budget.is_whole_week(days) and all(plan.complete for plan in plans):
        for row, count in budget.shortfalls(str(job.family) for _, job in placed):
            complaints.add("days 1 to 7", None, (), budget.limits_words(row, count))
