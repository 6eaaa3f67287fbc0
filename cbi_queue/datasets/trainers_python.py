"""Ask the trainers' Python: one request as JSON, one answer as JSON. The command line imports no data library."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from cbi_queue.errors import Refused
from cbi_queue.regular_files import plain_words


def ask(python: str, module: str, request: dict[str, Any], *, longest_s: float, attempt: str) -> dict[str, Any]:
    """Run *module* on *python* and return its answer.

    Args:
        python: the interpreter.
        module: has a `main` that reads the request from standard input and prints the answer.
        request: JSON values.
        longest_s: seconds after which it is ended.
        attempt: what is attempted, for a refusal.

    Raises:
        Refused: with the `fault` of the answer, or because there was none.
    """
    try:
        done = subprocess.run(
            [python, "-P", "-m", module],
            input=json.dumps(request), capture_output=True, text=True, timeout=longest_s, check=False,
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as exc:
        words = plain_words(exc) if isinstance(exc, OSError) else "it gave no answer"
        if isinstance(exc, subprocess.TimeoutExpired):
            words = f"it took longer than {longest_s:.0f} s"
        raise Refused(
            f"cannot {attempt} on {python}: {words}",
            hint="`cbi-queue doctor` checks the trainers' Python and its libraries",
        ) from exc
    if "fault" in answer:
        raise Refused(f"cannot {attempt}: {answer['fault']}")
    return answer
