"""The daemon's log: events with keys, in UTC, rotated by the daemon itself (launchd never rotates a log)."""

from __future__ import annotations

import logging
import sys
import time
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.settings import Settings

FORMAT = "%(asctime)sZ %(levelname)s %(name)s pid=%(process)d %(message)s"


def set_up_logging(settings: Settings, *, to_terminal: bool) -> None:
    """Log to the state folder and, with *to_terminal*, to stderr."""
    handlers: list[logging.Handler] = [
        RotatingFileHandler(
            settings.daemon_log_path, maxBytes=settings.log_max_bytes, backupCount=settings.log_keep, encoding="utf-8"
        )
    ]
    if to_terminal:
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = logging.Formatter(FORMAT, datefmt="%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.getLogger("huey").setLevel(logging.WARNING)
