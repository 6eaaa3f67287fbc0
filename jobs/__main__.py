"""`python -m jobs --report-fd N`: the trainer process, started by the slot and by nobody else."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from cbi_queue.standard_streams import prepare_streams


def main() -> int:
    """Heed signals from the first moment on, parse the one argument and run the session.

    A shutdown or a logout may come while the libraries are still being imported. SIGHUP comes from the kernel when
    the daemon dies while this process is stopped. Both mean: checkpoint and leave.
    """
    prepare_streams()
    asked_to_stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda _signum, _frame: asked_to_stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    parser = argparse.ArgumentParser(prog="python -m jobs", description="Trainer process of cbi-queue's slot.")
    parser.add_argument("--report-fd", type=int, required=True, help="open descriptor for the reports")
    arguments = parser.parse_args()

    from jobs.session import run_session

    return int(run_session(arguments.report_fd, asked_to_stop))


if __name__ == "__main__":
    sys.exit(main())
