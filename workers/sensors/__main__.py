"""`python -m workers.sensors show|record`: what `cbi-queue sensors` and `cbi-queue doctor` run."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from cbi_queue.errors import CbiError
from cbi_queue.settings import load_settings
from cbi_queue.standard_streams import prepare_streams
from workers.sensors.recording import read_once, record


def main(arguments: list[str] | None = None) -> int:
    """Print the readings of the sensors as JSON, or record them; return 0, or 2 when refused."""
    prepare_streams()
    options = _parser().parse_args(arguments)
    try:
        settings = load_settings()
        if options.verb == "record":
            samples = record(settings, options.file, options.seconds, options.pid)
            print(f"{samples} samples in {options.file}")
        else:
            print(json.dumps([asdict(shown) for shown in read_once(settings, options.pid)], allow_nan=False))
    except CbiError as exc:
        print(f"Error: {exc.message}", file=sys.stderr)
        if exc.hint:
            print(f"Hint: {exc.hint}", file=sys.stderr)
        return exc.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.sensors", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    show = verbs.add_parser("show")
    recording = verbs.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--seconds", type=float)
    for verb in (show, recording):
        verb.add_argument("--pid", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
