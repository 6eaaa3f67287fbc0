"""`cbi-queue estimate FILE...`: the memory that each job of a plan needs, and the memory that earlier runs used."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, json_option, plan_files_argument
from cbi_queue.cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cbi_queue.hardware.detection import ChosenProfile
    from cbi_queue.ledger import Ledger
    from cbi_queue.spec import JobSpec
    from cbi_queue.views.memory_table import MemoryRow, MemoryTable


@click.command(
    epilog=examples(
        "estimate schedules/day4.yaml",
        "estimate --json schedules",
        more="Exit codes: 0 every job fits, 2 a plan has complaints or a job cannot fit.",
    )
)
@plan_files_argument()
@json_option
@click.pass_context
def command(ctx: click.Context, files: tuple[Path, ...], as_json: bool) -> None:
    """Estimate the memory that each job of a plan needs on this machine; changes nothing.

    The column "formula" is the estimate by formula (docs/hardware.md), "likely" the same corrected by what earlier runs
    used, "measured" the peak of the newest run. The verdict is whether the job fits, with which micro-batch it starts,
    or whether it would have to wait for memory now.
    """
    from cbi_queue.cli.ledger_access import existing_ledger
    from cbi_queue.hardware.detection import profile_for
    from cbi_queue.settings import load_settings
    from cbi_queue.views.memory_table import MemoryTable

    settings = load_settings()
    chosen = profile_for(settings.profile, settings.profiles_dir)
    with existing_ledger(settings) as ledger:
        table = MemoryTable(settings, chosen.profile, ledger)
        rows = [table.row(job) for job in _jobs(files, chosen, ledger)]
    if as_json:
        print_json({**_budget(chosen, table), "jobs": [asdict(row) for row in rows]})
    else:
        _print(rows, chosen, table)
    ctx.exit(2 if any(row.verdict == "cannot" for row in rows) else 0)


def _jobs(files: Sequence[Path], chosen: ChosenProfile, ledger: Ledger | None) -> list[JobSpec]:
    """Read and check the plans without the memory check, whose result is what the table shows."""
    from cbi_queue.cli.verbs.enqueue import JobsInLedger
    from cbi_queue.plan import read_plans

    without_limit = replace(chosen.profile, working_set_mib=None, accelerator_mib=None)
    plans = read_plans(files, profile=without_limit, known_jobs=JobsInLedger(ledger) if ledger else None)
    return [job for plan in plans for job in plan.jobs]


def _budget(chosen: ChosenProfile, table: MemoryTable) -> dict[str, Any]:
    profile = chosen.profile
    return {
        "profile": profile.name,
        "why": chosen.why,
        "memory_mib": profile.memory_mib,
        "working_set_mib": profile.working_set_mib,
        "accelerator_mib": profile.accelerator_mib,
        "available_mib": table.available_mib,
        "goal_mib": profile.goal_mib,
    }


def _print(rows: Sequence[MemoryRow], chosen: ChosenProfile, table: MemoryTable) -> None:
    from cbi_queue.views.memory_table import verdict_words

    columns = (
        "job", "?model", ">batch", ">formula", ">likely", "?>at most", "?>micro-batch 1", "?>starts with", "?>measured",
        "verdict",
    )  # fmt: skip
    print_table(
        "Memory in MiB",
        columns,
        (
            (
                row.name, row.model, _whole(row.batch), f"{row.formula_mib:.1f}", _whole(row.corrected_mib),
                _whole(row.safe_mib), _whole(row.smallest_mib), _whole(row.micro_batch), _whole(row.measured_mib),
                verdict_words(row),
            )
            for row in rows
        ),
    )  # fmt: skip
    click.echo()
    for line in _lines(rows, chosen, table):
        click.echo(line)


def _lines(rows: Sequence[MemoryRow], chosen: ChosenProfile, table: MemoryTable) -> list[str]:
    profile = chosen.profile
    free = "not known on this system" if table.available_mib is None else f"{table.available_mib:.0f} MiB"
    limit = "not known" if profile.working_set_mib is None else f"{profile.working_set_mib:.0f} MiB"
    card = "" if profile.accelerator_mib is None else f", a net on the GPU {profile.accelerator_mib:.0f} MiB of it"
    lines = [f"Hardware profile {profile.name} ({chosen.why}): one trainer may use {limit}{card}; free now: {free}."]
    if profile.goal_mib is not None:
        above = sum(row.corrected_mib > profile.goal_mib for row in rows)
        lines.append(
            f"Goal: at most {profile.goal_mib:.0f} MiB a job (docs/hardware.md); {above} of {len(rows)} jobs need more."
        )
    lines += [f"Data: {shape}." for shape in sorted({row.shape for row in rows})]
    lines += [f"Corrected {source}." for source in sorted({_source(row.source) for row in rows})]
    lines += [f"{row.name}: {row.words}." for row in rows if row.verdict != "fits"]
    return lines


def _source(source: str) -> str:
    return source if source.startswith("as ") else f"by {source}"


def _whole(number: float | None) -> str:
    return "" if number is None else f"{number:.0f}"
