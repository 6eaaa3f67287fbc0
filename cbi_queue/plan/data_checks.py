"""Is the input of every job there, and good enough? Opens the exports that the plans' features jobs read.

Nothing that can be known before a claim is found out in training: a job's rows are counted as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.datasets.choices import for_dataset, no_returns_words
from cbi_queue.datasets.description import read_description
from cbi_queue.datasets.inspection import Request
from cbi_queue.datasets.place import DEFAULT, ROOM, export_path, of_dataset
from cbi_queue.datasets.snapshots import rows_of
from cbi_queue.errors import Refused
from cbi_queue.models.catalogue import MODELS
from cbi_queue.models.kinds import HORIZON_DAYS, PREPARING, Family
from cbi_queue.models.parameters.common import LEAST_BLOCK_ROWS, MIN_TRAIN_ROWS, EvaluationParams
from cbi_queue.plan.drafting import drafts_in
from cbi_queue.values.words import did_you_mean
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cbi_queue.datasets.inspection import Inspection
    from cbi_queue.datasets.snapshots import Key
    from cbi_queue.plan.build import JobDraft
    from cbi_queue.plan.checks import Surroundings
    from cbi_queue.plan.complaints import Complaints
    from cbi_queue.plan.drafting import PlanDraft
    from cbi_queue.spec import JobSpec


def check_data(
    plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], around: Surroundings, complaints: Complaints
) -> None:
    """Complain about jobs whose input is neither on disk nor made by a job they need, or cannot be trained on."""
    builders: list[tuple[PlanDraft, JobDraft]] = []
    absent: dict[Key, Path | None] = {}  # looked for once for the many jobs that read one cache
    for plan, job in drafts_in(plans):
        if job.family is None or job.horizon is None:
            continue
        if job.family == Family.FEATURES:
            if around.exports_dir is not None and _has_export(plan, job, around.exports_dir, complaints):
                builders.append((plan, job))
        elif around.processed_dir is not None and job.needs_known and job.family not in PREPARING:
            key = job.dataset, job.horizon
            if key not in absent:
                path = of_dataset(around.processed_dir, job.dataset) / f"{job.horizon}_features.parquet"
                absent[key] = None if path.is_file() else path
            if (cache := absent[key]) is None or _needs_make_cache(job, by_name, around):
                continue
            of = f"{job.horizon}{of_dataset_words(job.dataset)}"
            text = f"no input for {of}: add the features job of {of} to `needs`, or build {cache} first"
            plan.complain(complaints, (*job.at, "needs") if job.needs else job.at, text)
    rows, queued = _elsewhere(plans, by_name, around)
    rows |= _open_exports(builders, queued, around, complaints)
    _check_rows(plans, rows, complaints)
    if around.exports_dir is not None:
        _check_labels(plans, around.exports_dir, complaints)


def _elsewhere(
    plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], around: Surroundings
) -> tuple[dict[Key, int], dict[Key, Request]]:
    """Return what is known of the data that no job of these plans builds features of.

    Returns:
        The rows of the caches on the disk; the exports that features jobs in the queue are to read.
    """
    rows: dict[Key, int] = {}
    queued: dict[Key, Request] = {}
    seen: set[Key] = set()
    for _, job in drafts_in(plans):
        if job.spec is None or job.family == Family.FEATURES or (key := (job.dataset, job.spec.horizon)) in seen:
            continue
        seen.add(key)
        builder = _builder(job, by_name, around)
        if builder is not None and builder.name in by_name:
            continue
        if around.processed_dir is not None and (found := rows_of(of_dataset(around.processed_dir, key[0]), key[1])):
            rows[key] = found
        elif around.exports_dir is not None and builder is not None:
            export = export_path(of_dataset(around.exports_dir, key[0]), key[1])
            queued |= {key: Request(export, builder.params)} if export.exists() else {}
    return rows, queued


def _has_export(plan: PlanDraft, job: JobDraft, exports_dir: Path, complaints: Complaints) -> bool:
    export = export_path(of_dataset(exports_dir, job.dataset), job.horizon or "")
    if export.exists():
        return True
    if job.dataset == DEFAULT:
        text = f"the input {export} is missing; export it, or build the sample with `cbi-queue data sample`"
        plan.complain(complaints, job.place("horizon"), text)
    elif not export.parent.is_dir():
        known = (folder.name for folder in exports_dir.parent.glob(f"{ROOM}/*") if folder.is_dir())
        text = f"there is no data set {job.dataset!r}{did_you_mean(job.dataset, known)}"
        hint = f"import it with `cbi-queue data import FILE --dataset {job.dataset}`"
        plan.complain(complaints, job.place("dataset"), f"{text}; {hint}")
    else:
        text = f"the data set {job.dataset} has no export for {job.horizon}: {export} is missing"
        hint = f"`cbi-queue data import FILE --dataset {job.dataset}` makes one file for every horizon"
        plan.complain(complaints, job.place("horizon"), f"{text}; {hint}")
    return False


def of_dataset_words(dataset: str) -> str:
    """Return the end of a phrase that names a data set, empty for the default one."""
    return "" if dataset == DEFAULT else f" of the data set {dataset}"


def _needs_make_cache(job: JobDraft, by_name: Mapping[str, JobDraft], around: Surroundings) -> bool:
    """True when the features of the job's horizon come from a job it waits for, however far back."""
    # An unmet need has its own complaint; what it would have built is not known.
    return any(needed is None or _builds(needed, job) for needed in _needed(job, by_name, around))


def _builder(job: JobDraft, by_name: Mapping[str, JobDraft], around: Surroundings) -> JobDraft | JobSpec | None:
    """Return the job that builds the features of *job*, however far back; None when there is none."""
    return next((needed for needed in _needed(job, by_name, around) if needed and _builds(needed, job)), None)


def _builds(needed: JobDraft | JobSpec, job: JobDraft) -> bool:
    is_builder = needed.family == Family.FEATURES and needed.dataset == job.dataset
    return is_builder and needed.horizon in {job.horizon, None}


def _needed(
    job: JobDraft, by_name: Mapping[str, JobDraft], around: Surroundings
) -> Iterator[JobDraft | JobSpec | None]:
    """Yield every job that must end before *job*, once each; None for one that is not known."""
    pending, looked_at = list(job.waits_for), set[str]()
    while pending:
        name = pending.pop()
        if name in looked_at:
            continue
        looked_at.add(name)
        needed = by_name.get(name) or around.known_jobs.get(name)
        yield needed
        pending.extend(needed.waits_for if needed else ())


def _open_exports(
    builders: Sequence[tuple[PlanDraft, JobDraft]],
    queued: Mapping[Key, Request],
    around: Surroundings,
    complaints: Complaints,
) -> dict[Key, int]:
    """Complain about every fault of every export that is read, once a file; return the rows by data set and horizon.

    Exports that only jobs in the queue read (*queued*) have been complained about: of them the rows alone are told.
    """
    if around.inspect is None or around.exports_dir is None:
        return {}
    wanted: dict[str, Request] = {}
    readers: dict[str, list[tuple[PlanDraft, JobDraft]]] = {}
    for plan, job in builders:
        path = export_path(of_dataset(around.exports_dir, job.dataset), job.horizon or "")
        request = Request(path, job.params)
        key = repr((path, sorted(job.params.items())))
        wanted[key] = request
        readers.setdefault(key, []).append((plan, job))
    found = around.inspect([*wanted.values(), *queued.values()])
    if found is None:
        around.notes.append(
            "the exports were not opened: the trainers' Python lacks its libraries (`cbi-queue doctor`)"
        )
        return {}
    rows = {key: each.rows for key, each in zip(queued, found[len(wanted) :], strict=True) if _is_known(each)}
    for (key, request), inspection in zip(wanted.items(), found[: len(wanted)], strict=True):
        plan, job = readers[key][0]
        for fault in inspection.faults:
            plan.complain(complaints, job.place("horizon"), f"{request.path}: {for_dataset(fault, job.dataset)}")
        for warning in inspection.warnings:
            note = f"{request.path.name}{of_dataset_words(job.dataset)}: {warning}"
            if note not in around.notes:
                around.notes.append(note)
        if _is_known(inspection):
            rows |= {(job.dataset, job.horizon): inspection.rows for _, job in readers[key] if job.horizon is not None}
    return {key: count for key, count in rows.items() if count is not None}


def _is_known(inspection: Inspection) -> bool:
    return inspection.rows is not None and not inspection.faults


def _check_rows(plans: Sequence[PlanDraft], rows: Mapping[Key, int], complaints: Complaints) -> None:
    """Complain about models whose split leaves too little to train on, once for those that split alike."""
    short: dict[tuple[str, str], list[tuple[PlanDraft, JobDraft, EvaluationParams]]] = {}
    for plan, job in drafts_in(plans):
        there = rows.get((job.dataset, job.spec.horizon)) if job.spec is not None else None
        if there is None or job.spec is None:
            continue
        params = job.spec.typed_params
        if isinstance(params, EvaluationParams) and there < params.rows_needed(HORIZON_DAYS[job.spec.horizon]):
            final = f"final block {params.final_block_rows}, " if params.scheme == "walk_forward" else ""
            text = (
                f"{there:,} rows{of_dataset_words(job.dataset)} are too few for {job.spec.horizon}: validation "
                f"{params.validation_rows}, backtest {params.backtest_rows}, {final}embargo {params.embargo_rows}, the "
                f"horizon and {MIN_TRAIN_ROWS} rows to train on"
            )
            short.setdefault((plan.source.name, text), []).append((plan, job, params))
    for (_, text), found in short.items():
        plan, job, _ = found[0]
        days, there = HORIZON_DAYS[str(job.horizon)], rows[job.dataset, str(job.horizon)]
        params = max((each[2] for each in found), key=lambda each: each.rows_needed(days))
        length = getattr(params, "sequence_length", 1)
        windows = f" with windows of {length}" if length > 1 else ""
        also = f" (so {counted(len(found) - 1, 'more job')} of this plan)" if len(found) > 1 else ""
        advice = f"{_shorter(params, there, days)}choose a shorter horizon, or import a longer history"
        words = f"{text}{windows} need {params.rows_needed(days):,}; {advice}{also}"
        plan.complain(complaints, job.place("params"), words)


def _shorter(params: EvaluationParams, there: int, days: int) -> str:
    """Advise blocks with which *there* rows are enough; nothing when none are."""
    least = {"validation_rows": LEAST_BLOCK_ROWS, "backtest_rows": LEAST_BLOCK_ROWS, "final_block_rows": 0}
    spare = there - params.model_copy(update=least).rows_needed(days)
    if spare < 0:
        return ""
    validation, backtest = (
        min(LEAST_BLOCK_ROWS + spare // 2, each) for each in (params.validation_rows, params.backtest_rows)
    )
    fit = f"validation_rows: {validation}, backtest_rows: {backtest} in place of windows, and final_block_rows: 0 fit"
    return f"shorten them under `evaluation` ({fit}), "


def _check_labels(plans: Sequence[PlanDraft], exports_dir: Path, complaints: Complaints) -> None:
    """Complain about models of log returns on a data set that has none, once a plan and data set."""
    found: dict[tuple[str, str], list[tuple[PlanDraft, JobDraft]]] = {}
    for plan, job in drafts_in(plans):
        if job.model is not None and MODELS[job.model].needs_returns:
            found.setdefault((plan.source.name, job.dataset), []).append((plan, job))
    for (_, dataset), of_dataset_and_plan in found.items():
        try:
            chosen = read_description(of_dataset(exports_dir, dataset))
        except Refused:
            continue  # told where the export is opened
        if chosen.label == "log_return":
            continue
        (plan, job), more = of_dataset_and_plan[0], len(of_dataset_and_plan) - 1
        also = f" (so {counted(more, 'more job')} of this plan)" if more else ""
        plan.complain(complaints, job.place("model"), no_returns_words(str(job.model), dataset) + also)
