"""`cbi-queue data sample`: build the sample exports.

`python -m jobs.sample_data` does the work on the trainers' Python, because the command line imports no data library.
"""

from __future__ import annotations

import subprocess
import sys

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.errors import Refused
from cbi_queue.settings import load_settings


@click.command(
    epilog=examples("data sample", "data sample --json", "data sample --force      overwrite your own exports")
)
@click.option("--force", is_flag=True, help="Overwrite files that this command did not write.")
@json_option
def sample(force: bool, as_json: bool) -> None:
    """Write five sample exports from real daily series.

    The series are WTI crude, S&P 500, NASDAQ and VIX; WTI takes the place of soybean oil. They go to TrainingData/raw,
    the joined exports to TrainingData/exports, one file per horizon. Needs no network. A second run changes nothing.
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
            f"cannot start {python}: {exc.strerror}",
            hint="correct `native` in [runtimes] of the settings file (docs/operations.md)",
        ) from exc
    sys.exit(code if code >= 0 else 128 - code)
