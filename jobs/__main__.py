"""`python -m jobs --report-fd N`: the trainer process, started by the slot and by nobody else."""

from __future__ import annotations

import argparse
import sys


def main() -> int:
    """Parse the one argument and run the session."""
    parser = argparse.ArgumentParser(prog="python -m jobs", description="Trainer process of cbi-queue's slot.")
    parser.add_argument("--report-fd", type=int, required=True, help="open descriptor for the reports")
    arguments = parser.parse_args()

    from jobs.session import run_session

    return int(run_session(arguments.report_fd))


if __name__ == "__main__":
    sys.exit(main())
