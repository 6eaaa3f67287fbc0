"""`python -m cbi_queue.notifications [--since ID] [--last]`: one look, as the daemon starts it, behind everything else."""

from __future__ import annotations

import os
import sys

from cbi_queue.errors import CbiError
from cbi_queue.notifications.notifier import notify
from cbi_queue.settings import load_settings

NICENESS = 10


def main() -> int:
    """Look once; return 0 when what is still to be told is kept, 1 otherwise: `doctor` tells why."""
    options = sys.argv[1:]
    since = int(options[options.index("--since") + 1]) if "--since" in options else None
    os.nice(NICENESS)
    try:
        notify(load_settings(), since=since, last="--last" in options)
    except (CbiError, OSError):
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())
