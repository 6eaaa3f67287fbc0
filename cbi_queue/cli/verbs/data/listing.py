"""`cbi-queue data list`: every data set."""

from __future__ import annotations

from typing import Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, print_table
from cbi_queue.cli.verbs.data.options import jobs_of, names_of, settled


@click.command(name="list", epilog=examples("data list", "data list --json"))
@json_option
def list_sets(as_json: bool) -> None:
    """List the data sets: their exports, their size, and how many jobs use them."""
    from cbi_queue.datasets.place import exports_in, of_dataset

    settings = settled()
    rows: list[dict[str, Any]] = []
    for name in names_of(settings):
        paths = exports_in(of_dataset(settings.exports_dir, name))
        sizes = sum(path.stat().st_size for path in paths if path.is_file())
        jobs = jobs_of(settings, name)
        live = sum(not job.state.is_final for job in jobs)
        rows.append({"dataset": name, "exports": len(paths), "bytes": sizes, "jobs": len(jobs), "live_jobs": live})
    if as_json:
        print_json(rows)
        return
    cells = [
        (row["dataset"], str(row["exports"]), f"{row['bytes'] / 1e6:.1f}", str(row["jobs"]), str(row["live_jobs"]))
        for row in rows
    ]
    print_table("Data sets", ("name", ">exports", ">MB", ">jobs", ">not ended"), cells)
