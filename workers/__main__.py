"""`python -m workers`: the daemon, as launchd, systemd or `cbi-queue worker` start it."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from cbi_queue.errors import CbiError, LedgerBusy, LedgerLost
from cbi_queue.models.catalogue import outside
from cbi_queue.regular_files import in_words
from cbi_queue.settings import load_settings, unknown_variables
from cbi_queue.standard_streams import leave, prepare_streams
from workers.daemon import STOPPED_BY_CTRL_C, Daemon, install_signals
from workers.logs import set_up_logging

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon; return 0 after an orderly end, 1 when a job failed (--until-empty) or the daemon failed, 2 or 75
    when refused.

    75 means that another daemon runs: a service manager then does not start this one again. After any other it does.
    """
    parser = argparse.ArgumentParser(prog="python -m workers", description="The daemon of cbi-queue: one slot.")
    parser.add_argument("--until-empty", action="store_true", help="end when nothing is left to train")
    parser.add_argument("--quiet", action="store_true", help="log to the daemon's log file only")
    prepare_streams()
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        settings.make_state_dir()
        set_up_logging(settings, to_terminal=not options.quiet)
        for words in unknown_variables():
            logger.warning("event=settings.ignored why=%r", words)
        for fault in outside().faults:  # loaded here, in the main thread, where a package that hangs can be interrupted
            logger.warning("event=package.refused why=%r", str(fault))
        daemon = Daemon(settings, until_empty=options.until_empty)
        install_signals(daemon)
        code = daemon.run()
    except LedgerLost as exc:
        logger.error("event=daemon.ended why=%r", exc.message)  # noqa: TRY400 - no fault of ours
        print(f"Error: {exc.message}\nHint: {exc.hint}", file=sys.stderr, flush=True)
        logging.shutdown()
        os._exit(1)  # closing the ledger would remove the write-ahead log of whatever lies at its path now
    except CbiError as exc:
        return _refused(exc)
    except OSError as exc:
        if exc.filename is None:
            raise
        return _refused(in_words(exc))
    return STOPPED_BY_CTRL_C if daemon.was_interrupted else code


def _refused(exc: CbiError) -> int:
    print(f"Error: {exc.message}", file=sys.stderr)
    if exc.hint:
        print(f"Hint: {exc.hint}", file=sys.stderr)
    return 1 if isinstance(exc, LedgerBusy) else exc.exit_code


if __name__ == "__main__":
    leave(main())
