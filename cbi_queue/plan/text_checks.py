"""Can the headlines of a data set be scored, and are they when the features need them? Loads no ML library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.datasets.description import read_description
from cbi_queue.datasets.headlines import is_scored
from cbi_queue.datasets.place import DEFAULT, of_dataset
from cbi_queue.errors import Refused
from cbi_queue.models.kinds import Family
from cbi_queue.plan.drafting import drafts_in
from cbi_queue.text_model import ELSEWHERE, fault_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cbi_queue.datasets.headlines import Headlines
    from cbi_queue.plan.build import JobDraft
    from cbi_queue.plan.checks import Surroundings
    from cbi_queue.plan.complaints import Complaints
    from cbi_queue.plan.drafting import PlanDraft


def check_text(
    plans: Sequence[PlanDraft], by_name: Mapping[str, JobDraft], around: Surroundings, complaints: Complaints
) -> None:
    """Complain about finbert jobs without headlines or weights, and features jobs whose headlines nobody scores."""
    if around.exports_dir is None:
        return
    chosen: dict[str, Headlines | None] = {}
    faults: dict[str, str | None] = {}
    for plan, job in drafts_in(plans):
        if job.family not in {Family.SENTIMENT, Family.FEATURES}:
            continue
        if job.dataset not in chosen:
            chosen[job.dataset] = _headlines(around, job.dataset)
        headlines = chosen[job.dataset]
        if job.family == Family.FEATURES:
            if headlines is not None and not _scored_before(job, headlines, by_name, around):
                text = (
                    "the headlines of its data set have no score yet; add a finbert job of that data set "
                    "(family: sentiment, "
                    "model: finbert) to its `needs`"
                )
                plan.complain(complaints, (*job.at, "needs") if job.needs else job.at, text)
            continue
        if job.dataset not in faults:
            faults[job.dataset] = _fault(headlines, job.dataset)
        if (fault := faults[job.dataset]) is not None:
            plan.complain(complaints, job.at, fault)


def _headlines(around: Surroundings, dataset: str) -> Headlines | None:
    try:
        return read_description(of_dataset(around.exports_dir, dataset)).headlines if around.exports_dir else None
    except Refused:
        return None  # opening the export complains about the description


def _fault(headlines: Headlines | None, dataset: str) -> str | None:
    option = "" if dataset == DEFAULT else f" --dataset {dataset}"
    if headlines is None:
        return f"the data set {dataset} has no headlines; `cbi-queue text import FILE{option}` brings them in"
    if headlines.model is None:
        return f"no model is chosen for the headlines of {dataset}; `cbi-queue text use FOLDER{option}` chooses one"
    fault = fault_in(headlines.model)
    return None if fault is None else f"{fault}; {ELSEWHERE}"


def _scored_before(job: JobDraft, headlines: Headlines, by_name: Mapping[str, JobDraft], around: Surroundings) -> bool:
    """Return True when the scores are there, or a job that is needed, however far back, makes them."""
    if around.processed_dir is not None and is_scored(of_dataset(around.processed_dir, job.dataset), headlines):
        return True
    if not job.needs_known:
        return True
    pending, looked_at = list(job.needs), set[str]()
    while pending:
        name = pending.pop()
        if name in looked_at:
            continue
        looked_at.add(name)
        needed = by_name.get(name) or around.known_jobs.get(name)
        if needed is None or (needed.family == Family.SENTIMENT and needed.dataset == job.dataset):
            return True  # an unmet need has its own complaint
        pending.extend(needed.needs)
    return False
