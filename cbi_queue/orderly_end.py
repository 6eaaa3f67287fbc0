"""SIGTERM and SIGHUP that end a command as Ctrl-C does, and interruptions that no finalizer swallows.

Python loses an exception that a signal handler raises in the middle of a finalizer (`__del__`, a callback of a weak
reference, as imports have them): it is handed to `sys.unraisablehook`, and the command goes on.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

AGAIN_S = 0.01
"""After which a lost interruption is repeated: longer than most finalizers take, and soon."""


class _Ended(SystemExit):
    """What a signal raises; the exit code is 128 and its number, as in a shell."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


def _end(signum: int, _frame: object) -> NoReturn:
    raise _Ended(signum)


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the body as an exception does: its processes are ended, and what was begun is removed.

    A signal that is ignored, as by nohup, stays ignored. Of use in the main thread only.
    """
    heeded = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, _end) for signum in heeded}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def repeat_lost_interruptions() -> None:
    """From now on, send a signal again whose exception was lost in a finalizer: SIGTERM and SIGHUP of above, and Ctrl-C.

    To be called in the main thread, which alone hears signals.
    """
    usual, main = sys.unraisablehook, threading.get_ident()

    def hear(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, _Ended | KeyboardInterrupt):
            usual(lost)
            return
        signum = lost.exc_value.signum if isinstance(lost.exc_value, _Ended) else signal.SIGINT
        while True:
            try:
                _thread.start_new_thread(send_again, (signum,))
            except (_Ended, KeyboardInterrupt):  # another came meanwhile, and is lost in here as well
                continue
            return

    def send_again(signum: int) -> None:
        time.sleep(AGAIN_S)
        signal.pthread_kill(main, signum)

    sys.unraisablehook = hear
