"""`cbi-queue data sample`: build the sample exports.

The work is done by `python -m jobs.sample_data` in the trainers' interpreter: the command line imports no data library.
"""

from __future__ import annotations

import subprocess
import sys

import click

from cbi_queue.errors import Refused
from cbi_queue.settings import load_settings


@click.group(epilog="Examples:\n\n\b\n  cbi-queue data sample")
def command() -> None:
    """Build the data that models are trained on."""


@command.command(
    epilog="Examples:\n\n\b\n"
    "  cbi-queue data sample\n"
    "  cbi-queue data sample --json\n"
    "  cbi-queue data sample --force      overwrite exports of your own",
)
@click.option("--force", is_flag=True, help="Overwrite files that did not come from this command.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sample(force: bool, as_json: bool) -> None:
    """Write five sample exports from real daily series: WTI crude, S&P 500, NASDAQ, VIX.

    The raw series go to TrainingData/raw, the joined exports to TrainingData/exports, one per horizon. WTI stands in
    for soybean oil. Needs no network. Doing it again changes nothing.
    """
    settings = load_settings()
    settings.make_layout()
    folders = ["--raw", str(settings.training_data / "raw"), "--exports", str(settings.exports_dir)]
    flags = ["--force"] * force + ["--json"] * as_json
    python = settings.interpreter_for("native")
    try:
        code = subprocess.run([python, "-m", "jobs.sample_data", *folders, *flags], check=False).returncode
    except OSError as exc:
        raise Refused(
            f"cannot start {python}: {exc.strerror}", hint="check `native` in the settings' [runtimes]"
        ) from exc
    sys.exit(code if code >= 0 else 128 - code)
