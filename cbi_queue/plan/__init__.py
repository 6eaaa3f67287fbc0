"""Day plans: `schedules/*.yaml` -> `DayPlan`, with every complaint about every file at once.

::

    yaml_source   file -> plain values with lines; nothing trusted, everything limited
    document      the keys of a plan file as models        schema   the same as JSON Schema for editors
    drafting      keys checked, defaults filled in
    expand        matrix and placeholders -> combinations
    build         combination -> JobSpec
    checks        between jobs and plans; machine, budget
    data_checks   input: exports opened, caches, rows enough
    order         circles and execution order
    complaints    file:line: key: value seen; what is allowed

Reads plan files and has input files checked; writes nothing, and does not know the queue: the jobs already there are
an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cbi_queue.plan.order import execution_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from cbi_queue.datasets.inspection import Inspection, Request
    from cbi_queue.hardware import HardwareProfile
    from cbi_queue.hardware.memory import Peak
    from cbi_queue.spec import DayPlan, JobSpec

__all__ = ["execution_order", "read_plans"]


def read_plans(
    paths: Iterable[Path],
    *,
    profile: HardwareProfile,
    exports_dir: Path | None = None,
    processed_dir: Path | None = None,
    known_jobs: Mapping[str, JobSpec] | None = None,
    peaks: Mapping[str, Sequence[Peak]] | None = None,
    inspect: Callable[[Sequence[Request]], list[Inspection] | None] | None = None,
    notes: list[str] | None = None,
    copy_of: str | None = None,
) -> list[DayPlan]:
    """Read day plans and check them, each by itself and all together.

    Args:
        paths: the files, in the order in which their jobs are to be enqueued.
        profile: the machine, with its ceilings for batches and sequences.
        exports_dir: where a features job finds its export; None: not checked.
        processed_dir: where feature caches are; None: features are not checked.
        known_jobs: jobs already in the ledger by name; `needs` may name them.
        peaks: memory that earlier runs on each backend took, to check that every job can fit.
        inspect: opens exports (`datasets.inspection`); None: they are not opened.
        notes: takes what is worth knowing of the data, but is no complaint.
        copy_of: what the one file is called when it only carries a text here, as one pasted on a page; paths in it
            must be whole then.

    Raises:
        PlanError: with every complaint of every file; nothing was changed.
    """
    from cbi_queue.plan.checks import Surroundings, check_all  # `add` takes a module of this package without them
    from cbi_queue.plan.complaints import Complaints
    from cbi_queue.plan.drafting import draft_of

    complaints = Complaints()
    given = list(paths)
    for path in {path for path in given if given.count(path) > 1}:
        complaints.add(str(path), None, (), "this file is given twice")
    drafts = [draft_of(path, complaints, copy_of) for path in dict.fromkeys(given)]
    read = [draft for draft in drafts if draft is not None]
    around = Surroundings(
        profile=profile,
        exports_dir=exports_dir,
        processed_dir=processed_dir,
        known_jobs=known_jobs or {},
        peaks=peaks or {},
        inspect=inspect,
        notes=notes if notes is not None else [],
    )
    check_all(read, around, complaints, all_read=len(read) == len(drafts))
    complaints.raise_if_any()
    return [draft.plan() for draft in read]
