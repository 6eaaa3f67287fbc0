"""`python -m jobs --report-fd N`: the trainer process, started only by the slot."""

from __future__ import annotations

import argparse
import gc
import signal

from cbi_queue.standard_streams import leave, prepare_streams


def main() -> int:
    """Parse the one argument and run the session.

    Until there is something to save, SIGTERM and SIGHUP end this process at once, even inside a library that is being
    imported; the session handles them from then on.
    """
    gc.disable()  # while libraries are imported: a fifth of that time, and nothing of them is to be collected
    prepare_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    parser = argparse.ArgumentParser(prog="python -m jobs", description="Trainer process of cbi-queue's slot.")
    parser.add_argument("--report-fd", type=int, required=True, help="open descriptor for the reports")
    arguments = parser.parse_args()

    from jobs.session import run_session

    return int(run_session(arguments.report_fd))


if __name__ == "__main__":
    leave(main())
