"""Ask a process of its own, on the trainers' Python: JSON in, JSON out. It loads the libraries that cbi-queue never does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from typing import Any

from cbi_queue.errors import CbiError

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1"
)  # fmt: skip
LONGEST_COMPLAINT = 400
_ERRNO = re.compile(r"^\w*Error: \[Errno \d+\] ")
"""What Python writes before an error of the file system: it says nothing to a person."""


def answer_of(
    module: str,
    asked: dict[str, Any],
    interpreter: str,
    *,
    within_s: float,
    to: str,
    work: str,
    hint: str,
    left: str = "",
) -> dict[str, Any]:
    """Give *asked* to `python -m module` and return what it answers; it is ended when it takes too long.

    Args:
        module: of `jobs`.
        asked: JSON values.
        interpreter: Python that has the trainers' libraries.
        within_s: seconds that it may take.
        to: what it does, as in `cannot {to}`.
        work: the same as a noun, with its article.
        hint: what to do when it took too long.
        left: what a failure leaves, for the end of its sentence.

    Raises:
        CbiError: when it cannot be started, fails or takes too long.
    """
    try:
        child = subprocess.Popen(
            [interpreter, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **ONE_THREAD, "OMP_WAIT_POLICY": "passive"},
        )
    except OSError as exc:
        raise CbiError(f"cannot {to}: {interpreter} cannot be started: {exc.strerror}") from exc
    try:
        answer, complaint = child.communicate(json.dumps(asked), timeout=within_s)
    except subprocess.TimeoutExpired as exc:
        raise CbiError(f"{work} took longer than {within_s:.0f} s and was ended{left}", hint=hint) from exc
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode != 0:
        raise CbiError(f"{work} failed: {ending_words(child.returncode, complaint)}{left}")
    return dict(json.loads(answer))


def ending_words(code: int, complaint: str) -> str:
    """Say how a process ended that failed: by which signal, or its last words."""
    if code < 0:
        out_of_memory = ", as when memory runs out" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{out_of_memory}"
    lines = complaint.strip().splitlines() or [f"its process ended with {code} and no word of why"]
    return _ERRNO.sub("", lines[-1])[:LONGEST_COMPLAINT]
