"""Is the input of every job there, and good enough? Opens the exports that the plans' features jobs read.

Nothing that can be known before a claim is found out in training: a job's rows are counted as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.datasets.inspection import Request
from cbi_queue.datasets.place import DEFAULT, ROOM, export_path, of_dataset
from cbi_queue.models.kinds import HORIZON_DAYS, PREPARING, Family
from cbi_queue.models.parameters.common import MIN_TRAIN_ROWS, EvaluationParams
from cbi_queue.plan.drafting import drafts_in
from cbi_queue.values.words import did_you_mean
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cbi_queue.datasets.inspection import Inspection
    from cbi_queue.datasets.snapshots import Key
    from cbi_queue.plan.build import JobDraft
    from cbi_queue.plan.checks import Surroundings
    from cbi_queue.plan.complaints import Complaints
    from cbi_queue.plan.drafting import PlanDraft


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
    rows = _open_exports(builders, around, complaints)
    _check_rows(plans, rows, complaints)


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
    """True when the features of the job's horizon come from a job it needs, however far back."""
    pending, looked_at = list(job.needs), set[str]()
    while pending:
        name = pending.pop()
        if name in looked_at:
            continue
        looked_at.add(name)
        needed = by_name.get(name) or around.known_jobs.get(name)
        if needed is None:
            # An unmet need has its own complaint; what it would have built is not known.
            return True
        is_builder = needed.family == Family.FEATURES and needed.dataset == job.dataset
        if is_builder and needed.horizon in {job.horizon, None}:
            return True
        pending.extend(needed.needs)
    return False


def _open_exports(
    builders: Sequence[tuple[PlanDraft, JobDraft]], around: Surroundings, complaints: Complaints
) -> dict[Key, int]:
    """Complain about every fault of every export that is read, once a file; return the rows by data set and horizon."""
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
    found = around.inspect(list(wanted.values()))
    if found is None:
        around.notes.append(
            "the exports were not opened: the trainers' Python lacks its libraries (`cbi-queue doctor`)"
        )
        return {}
    rows: dict[Key, int] = {}
    for (key, request), inspection in zip(wanted.items(), found, strict=True):
        plan, job = readers[key][0]
        for fault in inspection.faults:
            plan.complain(complaints, job.place("horizon"), f"{request.path}: {_for_dataset(fault, job.dataset)}")
        for warning in inspection.warnings:
            note = f"{request.path.name}{of_dataset_words(job.dataset)}: {warning}"
            if note not in around.notes:
                around.notes.append(note)
        rows |= _rows_of(inspection, readers[key])
    return rows


def _for_dataset(fault: str, dataset: str) -> str:
    """Complete the commands that a fault names."""
    return fault if dataset == DEFAULT else fault.replace("data edit ", f"data edit --dataset {dataset} ")


def _rows_of(inspection: Inspection, readers: Sequence[tuple[PlanDraft, JobDraft]]) -> dict[Key, int]:
    if inspection.rows is None or inspection.faults:
        return {}
    return {(job.dataset, job.horizon): inspection.rows for _, job in readers if job.horizon is not None}


def _check_rows(plans: Sequence[PlanDraft], rows: Mapping[Key, int], complaints: Complaints) -> None:
    """Complain about models whose split leaves too little to train on, once for those that lack the same."""
    short: dict[tuple[str, str], list[tuple[PlanDraft, JobDraft]]] = {}
    for plan, job in drafts_in(plans):
        there = rows.get((job.dataset, job.spec.horizon)) if job.spec is not None else None
        if there is None or job.spec is None:
            continue
        params = job.spec.typed_params
        if not isinstance(params, EvaluationParams):
            continue
        needed = params.rows_needed(HORIZON_DAYS[job.spec.horizon])
        if there < needed:
            final = f"final block {params.final_block_rows}, " if params.scheme == "walk_forward" else ""
            text = (
                f"{there:,} rows{of_dataset_words(job.dataset)} are too few for {job.spec.horizon}: validation "
                f"{params.validation_rows}, backtest {params.backtest_rows}, {final}embargo {params.embargo_rows}, the "
                f"horizon and {MIN_TRAIN_ROWS} rows to train on need {needed:,}; shorten them under `evaluation` "
                "(validation_rows, windows or backtest_rows, final_block_rows), choose a shorter horizon, or import a "
                "longer history"
            )
            short.setdefault((plan.source.name, text), []).append((plan, job))
    for (_, text), found in short.items():
        plan, job = found[0]
        also = f" (so {counted(len(found) - 1, 'more job')} of this plan)" if len(found) > 1 else ""
        plan.complain(complaints, job.place("params"), text + also)
