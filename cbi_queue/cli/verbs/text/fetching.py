"""`cbi-queue text fetch`: download weights from the hub, one revision, checked."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, printable
from cbi_queue.text_fetch import RECORD, STOCK_REVISION, as_plain, fetch, files_at
from cbi_queue.text_model import STOCK


@click.command(
    "fetch",
    epilog=examples(
        "text fetch --to ~/models/finbert --dry-run",
        "text fetch --to ~/models/finbert --revision COMMIT",
        "text fetch OWNER/NAME --revision COMMIT --to ~/models/other",
        more="Exit codes: 0 downloaded, 1 it failed, 2 refused. Only 0 leaves a folder.",
    ),
)
@click.argument("repository", default=STOCK, metavar="[OWNER/NAME]")
@click.option("--revision", metavar="COMMIT", help="40 hex digits; a branch may change under its name.")
@click.option("--to", type=click.Path(path_type=Path), required=True, metavar="FOLDER", help="A new folder.")
@click.option("--dry-run", is_flag=True, help="List what would be downloaded, with sizes; nothing is.")
@json_option
def fetch_weights(repository: str, revision: str | None, to: Path, *, dry_run: bool, as_json: bool) -> None:
    """Download weights of FinBERT from the hub: safetensors, configuration and tokenizer of one commit, by name.

    This is the only verb that downloads a model, and nothing calls it by itself. Sizes and checksums are compared with the
    hub's list, and written into the folder. Pickles and code are never taken. `HF_ENDPOINT` names a mirror.
    `text use FOLDER` then chooses the weights.
    """
    if revision is None and repository != STOCK:
        raise click.UsageError(f"name the commit of {repository} with --revision; only {STOCK} has a default")
    commit, target = revision or STOCK_REVISION, to.expanduser().absolute()
    source = {"repository": repository, "revision": commit}
    if dry_run:
        files = files_at(repository, commit, os.environ)
        if as_json:
            print_json({**source, "files": as_plain(files)})
            return
        for file in files:
            click.echo(printable(f"{file.size:>13,}  {file.name}"))
        click.echo(
            f"{sum(file.size for file in files):>13,}  bytes of {repository} at {commit}; nothing was downloaded"
        )
        return
    done = fetch(
        repository,
        commit,
        target,
        os.environ,
        said=lambda file: click.echo(printable(f"{file.name}, {file.size:,} bytes"), err=True),
    )
    if as_json:
        print_json({**source, "folder": str(done.folder), "sha256": done.sha256, "files": done.files})
        return
    click.echo(printable(f"Downloaded {repository} at {commit[:8]} into {done.folder}, {done.sha256[:8]} ({RECORD})"))
    click.echo(printable(f"labels {', '.join(done.model.labels)}; choose it with `cbi-queue text use {done.folder}`"))
